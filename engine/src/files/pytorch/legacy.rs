//! The format that `torch.save` wrote before PyTorch 1.6, and still writes on request: five pickles in a row, a magic
//! number, a version, the system, the object and the keys of its storages, then each storage: the number of its elements,
//! in eight bytes, and the elements.

use super::machine;
use super::value::{Pickle, Value};
use super::view::width;
use std::collections::HashMap;
use std::ops::Range;

/// `0x1950a86a20f9469cfc6c`.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: i64 = 1001;

/// The object and the place of each storage in the file, by the storage's key.
pub(super) struct Legacy<'a> {
    pub pickle: Pickle<'a>,
    pub data: HashMap<&'a str, Range<usize>>,
}

impl<'a> Legacy<'a> {
    /// Whether a file that starts with `bytes` is a pickle. A safetensors file may start with the same byte, but its header
    /// starts at the ninth.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.first() == Some(&0x80) && bytes.get(8) != Some(&b'{')
    }

    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let magic = machine::read(bytes, 0)?;
        let Value::Long(range) = &magic.values[magic.root] else {
            return Err("a pickle, but not one that torch.save wrote".into());
        };
        if bytes[range.clone()] != MAGIC {
            return Err("a pickle, but not one that torch.save wrote".into());
        }
        let version = machine::read(bytes, magic.end)?;
        match version.values[version.root] {
            Value::Int(VERSION) => {}
            _ => return Err(format!("its format is not version {VERSION}, the only one of its kind")),
        }
        let system = machine::read(bytes, version.end)?;
        if !is_little_endian(&system) {
            return Err("it was written on a big-endian machine".into());
        }
        let pickle = machine::read(bytes, system.end)?;
        let keys = machine::read(bytes, pickle.end)?;
        let data = storages(&pickle, &keys)?;
        Ok(Self { pickle, data })
    }
}

fn is_little_endian(system: &Pickle) -> bool {
    let entries = system.dict(system.root).unwrap_or_default();
    let entry = entries.iter().find(|(key, _)| system.text(*key) == Some("little_endian"));
    entry.is_some_and(|&(_, value)| matches!(system.values[value], Value::Bool(true)))
}

/// The place of each storage, behind the pickle of their `keys`.
fn storages<'a>(pickle: &Pickle<'a>, keys: &Pickle<'a>) -> Result<HashMap<&'a str, Range<usize>>, String> {
    let Value::List(list) = &keys.values[keys.root] else {
        return Err("it does not list its storages".into());
    };
    let known: HashMap<&str, _> = pickle.storages.iter().map(|storage| (storage.key, storage)).collect();
    let (mut places, mut at) = (HashMap::new(), keys.end);
    for &key in list {
        let key = keys.text(key).ok_or("it lists a storage without a name")?;
        let storage =
            known.get(key).ok_or_else(|| format!("it lists storage `{key}`, which no tensor has"))?;
        let truncated = || format!("the file is truncated in storage `{key}`");
        let rest = keys.bytes.get(at..).ok_or_else(truncated)?;
        let (count, rest) = rest.split_first_chunk::<8>().ok_or_else(truncated)?;
        let found = u64::from_le_bytes(*count);
        if found != storage.len {
            return Err(format!("storage `{key}` has {found} elements, expected {}", storage.len));
        }
        let len =
            storage.len.checked_mul(width(storage.dtype) as u64).filter(|&len| len <= rest.len() as u64);
        let (start, len) = (at + 8, len.ok_or_else(truncated)? as usize);
        if places.insert(key, start..start + len).is_some() {
            return Err(format!("it lists storage `{key}` twice"));
        }
        at = start + len;
    }
    Ok(places)
}
