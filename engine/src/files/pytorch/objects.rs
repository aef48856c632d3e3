//! The opcodes that name, call and build objects of Python: here they describe dictionaries, storages and tensors.

use super::globals::{Global, lookup, refusal};
use super::machine::Machine;
use super::value::{Id, Storage, Value};
use super::view::{MOST_AXES, View};
use safetensors::Dtype;

impl<'a> Machine<'a> {
    /// GLOBAL, STACK_GLOBAL, REDUCE, NEWOBJ, BUILD, BINPERSID.
    pub(super) fn object(&mut self, op: u8) -> Result<(), String> {
        match op {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id| self.text(id).ok_or("its pickle has a global without a name");
                let (module, name) = (text(module)?, text(name)?);
                self.global(module, name)
            }
            b'b' => {
                // The attributes of an object: a state dict's metadata.
                self.pop()?;
                match self.values[self.top()?] {
                    Value::Dict(_) | Value::Tensor(_) | Value::Opaque => Ok(()),
                    _ => Err("its pickle sets attributes of something that has none".into()),
                }
            }
            b'Q' => {
                let id = self.pop()?;
                self.persistent(id)
            }
            _ => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)
            }
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), String> {
        let whole = self.stack.is_empty() && self.marks.is_empty();
        let global = lookup(module, name).ok_or_else(|| refusal(module, name, whole))?;
        self.push(Value::Global(global))
    }

    fn call(&mut self, callable: Id, arguments: Id) -> Result<(), String> {
        let (Value::Global(global), Value::List(arguments)) =
            (&self.values[callable], &self.values[arguments])
        else {
            return Err("its pickle calls something that is no function".into());
        };
        match (global, &arguments[..]) {
            (Global::OrderedDict, []) => self.push(Value::Dict(Vec::new())),
            (Global::OrderedDict, &[items]) => self.ordered_dict(items),
            (Global::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                let view = self.view(storage, offset, shape, strides)?;
                self.push(Value::Tensor(view))
            }
            (Global::RebuildParameter | Global::Size, &[inner, ..]) => {
                self.stack.push(inner);
                Ok(())
            }
            (Global::Inert, _) => self.push(Value::Opaque),
            (global, arguments) => {
                Err(format!("its pickle calls {global:?} with {} arguments", arguments.len()))
            }
        }
    }

    /// A dictionary from a list of pairs.
    fn ordered_dict(&mut self, items: Id) -> Result<(), String> {
        let Value::List(items) = &self.values[items] else {
            return Err("its pickle builds a dictionary of something that is no list".into());
        };
        let pair = |&id: &Id| match &self.values[id] {
            Value::List(pair) => <[Id; 2]>::try_from(&pair[..]).ok().map(|[key, value]| (key, value)),
            _ => None,
        };
        let entries: Vec<_> = items.iter().map_while(pair).collect();
        if entries.len() < items.len() {
            return Err("its pickle builds a dictionary of something that is no pair".into());
        }
        // Calls may share one list.
        self.spend(entries.len())?;
        self.push(Value::Dict(entries))
    }

    fn view(&self, storage: Id, offset: Id, shape: Id, strides: Id) -> Result<View, String> {
        let Value::Storage { storage, offset: start, len } = self.values[storage] else {
            return Err("a tensor has no storage".into());
        };
        let offset = self.size(offset)?;
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        if shape.len() != strides.len() {
            return Err(format!("a tensor of the shape {shape:?} has the strides {strides:?}"));
        }
        let view = View { storage, offset, shape, strides };
        if view.len().is_none() || view.end().is_none_or(|end| end > len) {
            let View { shape, strides, .. } = view;
            return Err(format!(
                "a tensor of the shape {shape:?}, strides {strides:?} and offset {offset} extends beyond its storage of \
                 {len} elements"
            ));
        }
        // The part of a storage was checked against the whole.
        Ok(View { offset: start + offset, ..view })
    }

    /// A storage: `('storage', class, key, device, elements[, (key, offset, elements)])`.
    fn persistent(&mut self, id: Id) -> Result<(), String> {
        let Value::List(parts) = &self.values[id] else {
            return Err("its pickle refers to data without a description".into());
        };
        let kind = parts.first().and_then(|&kind| self.text(kind));
        if kind == Some("module") {
            return Err(refusal("torch.nn", "Module", true));
        }
        let (Some("storage"), &[_, class, key, _, len, ref part @ ..]) = (kind, &parts[..]) else {
            return Err("its pickle refers to data that is no storage".into());
        };
        let (Value::Global(Global::Storage(dtype)), Some(key)) = (&self.values[class], self.text(key)) else {
            return Err("its pickle refers to a storage of an unknown type".into());
        };
        let (dtype, len) = (*dtype, self.size(len)?);
        let (offset, part) = match part.first().map(|&id| &self.values[id]) {
            None | Some(Value::None) => (0, len),
            Some(Value::List(part)) => match part[..] {
                [_, offset, part] => (self.size(offset)?, self.size(part)?),
                _ => return Err("its pickle refers to a part of a storage without its place".into()),
            },
            Some(_) => return Err("its pickle refers to a part of a storage without its place".into()),
        };
        if offset.checked_add(part).is_none_or(|end| end > len) {
            return Err(format!(
                "a part of a storage of {len} elements has {part} elements from {offset} on"
            ));
        }
        let storage = self.storage(key, dtype, len)?;
        self.push(Value::Storage { storage, offset, len: part })
    }

    /// The index of the storage `key`.
    fn storage(&mut self, key: &'a str, dtype: Dtype, len: u64) -> Result<usize, String> {
        let next = self.storages.len();
        let index = *self.keys.entry(key).or_insert(next);
        if index == next {
            self.storages.push(Storage { key, dtype, len });
        }
        let known = &self.storages[index];
        match known.dtype == dtype && known.len == len {
            true => Ok(index),
            false => Err(format!("storage `{key}` is described in two ways")),
        }
    }

    /// A list of sizes.
    fn sizes(&self, id: Id) -> Result<Vec<u64>, String> {
        match &self.values[id] {
            Value::List(items) if items.len() <= MOST_AXES => items.iter().map(|&id| self.size(id)).collect(),
            Value::List(items) => {
                Err(format!("a tensor has {} axes, expected at most {MOST_AXES}", items.len()))
            }
            _ => Err("a tensor has no shape or no strides".into()),
        }
    }

    fn size(&self, id: Id) -> Result<u64, String> {
        match self.values[id] {
            Value::Int(value) => {
                u64::try_from(value).map_err(|_| format!("expected a size of at least 0, found {value}"))
            }
            _ => Err("expected a size, found something else".into()),
        }
    }

    fn text(&self, id: Id) -> Option<&'a str> {
        match &self.values[id] {
            Value::Text(range) => std::str::from_utf8(&self.bytes[range.clone()]).ok(),
            _ => None,
        }
    }

    /// The text up to the end of the line.
    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or("the file is truncated in a name")?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| "a name of its pickle is not UTF-8".into())
    }
}
