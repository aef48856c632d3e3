//! The values that a pickle describes. They refer to each other by index, so a value that is used many times, or holds
//! itself, takes no more memory than the opcodes that describe it.

use super::globals::Global;
use super::view::View;
use safetensors::Dtype;
use std::ops::Range;

/// The index of a value.
pub(super) type Id = usize;

/// A value without behavior.
#[derive(Debug, Clone)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than 64 bits: its little-endian bytes in the file.
    Long(Range<usize>),
    /// The bytes of a text in the file, which are UTF-8.
    Text(Range<usize>),
    /// A tuple, list or set.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// A part of a storage.
    Storage {
        storage: usize,
        offset: u64,
        len: u64,
    },
    Tensor(View),
    /// Anything that no tensor needs: a float, bytes, a device.
    Opaque,
}

/// A typed array of numbers, which tensors view.
#[derive(Debug, Clone)]
pub(super) struct Storage<'a> {
    /// The name of its data in the file.
    pub key: &'a str,
    pub dtype: Dtype,
    /// Number of elements.
    pub len: u64,
}

/// A pickle that was read: `root` is the object, and `end` the position behind its last opcode.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub bytes: &'a [u8],
    pub values: Vec<Value>,
    pub storages: Vec<Storage<'a>>,
    pub root: Id,
    pub end: usize,
}

impl<'a> Pickle<'a> {
    /// The text `id`, if it is one.
    pub fn text(&self, id: Id) -> Option<&'a str> {
        match &self.values[id] {
            Value::Text(range) => std::str::from_utf8(&self.bytes[range.clone()]).ok(),
            _ => None,
        }
    }

    /// The entries of the dictionary `id`, if it is one.
    pub fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match &self.values[id] {
            Value::Dict(entries) => Some(entries),
            _ => None,
        }
    }
}
