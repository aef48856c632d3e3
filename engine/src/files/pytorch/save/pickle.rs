//! The opcodes of pickle protocol 2 that describe a dictionary of tensors, as Python's `pickletools` documents them.

use std::collections::BTreeMap;

/// A pickle that is being written.
pub(super) struct Pickle {
    bytes: Vec<u8>,
    /// The places in the reader's memo of what was written before.
    memo: BTreeMap<&'static str, u8>,
}

impl Pickle {
    pub fn new() -> Self {
        // PROTO
        Self { bytes: vec![0x80, 2], memo: BTreeMap::new() }
    }

    /// The whole pickle, whose value is the only one on the stack.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(b'.');
        self.bytes
    }

    /// MARK, where the items of a tuple or the entries of a dictionary begin.
    pub fn mark(&mut self) {
        self.bytes.push(b'(');
    }

    /// TUPLE of the items behind the last mark.
    pub fn tuple(&mut self) {
        self.bytes.push(b't');
    }

    /// SETITEMS: adds the keys and values behind the last mark to the dictionary before it.
    pub fn set_items(&mut self) {
        self.bytes.push(b'u');
    }

    /// BINPERSID: the data that the tuple on the stack describes.
    pub fn persistent(&mut self) {
        self.bytes.push(b'Q');
    }

    /// REDUCE: calls the function below the tuple of its arguments.
    pub fn call(&mut self) {
        self.bytes.push(b'R');
    }

    /// EMPTY_TUPLE and REDUCE: calls the function on the stack without arguments.
    pub fn call_plain(&mut self) {
        self.bytes.extend(b")R");
    }

    /// NEWFALSE.
    pub fn no(&mut self) {
        self.bytes.push(0x89);
    }

    /// GLOBAL: the class or function `name`, such as `torch.FloatStorage`.
    pub fn global(&mut self, name: &'static str) {
        self.remembered(name, |pickle| {
            let (module, name) = name.rsplit_once('.').expect("a module and a name");
            pickle.bytes.extend([b"c", module.as_bytes(), b"\n", name.as_bytes(), b"\n"].concat());
        });
    }

    /// BINUNICODE of a text that is written often.
    pub fn constant(&mut self, text: &'static str) {
        self.remembered(text, |pickle| pickle.text(text));
    }

    /// BINUNICODE.
    pub fn text(&mut self, text: &str) {
        let len = u32::try_from(text.len()).expect("names are shorter than 4 GiB");
        self.bytes.push(b'X');
        self.bytes.extend(len.to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    /// BININT1, BININT2, BININT or LONG1, the shortest one that holds `value`.
    pub fn integer(&mut self, value: usize) {
        match value {
            0..=0xFF => self.bytes.extend([b'K', value as u8]),
            0x100..=0xFFFF => {
                self.bytes.push(b'M');
                self.bytes.extend((value as u16).to_le_bytes());
            }
            0x1_0000..=0x7FFF_FFFF => {
                self.bytes.push(b'J');
                self.bytes.extend((value as u32).to_le_bytes());
            }
            _ => {
                // Eight bytes with a sign: no length of a slice needs the last bit.
                self.bytes.extend([0x8A, 8]);
                self.bytes.extend((value as u64).to_le_bytes());
            }
        }
    }

    /// A tuple of sizes.
    pub fn sizes(&mut self, sizes: &[usize]) {
        self.mark();
        sizes.iter().for_each(|&size| self.integer(size));
        self.tuple();
    }

    /// Writes `what` by `write` and BINPUT the first time, and by BINGET from then on.
    fn remembered(&mut self, what: &'static str, write: impl FnOnce(&mut Self)) {
        if let Some(&place) = self.memo.get(what) {
            return self.bytes.extend([b'h', place]);
        }
        write(self);
        let place = u8::try_from(self.memo.len()).expect("a handful of names");
        self.memo.insert(what, place);
        self.bytes.extend([b'q', place]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::pytorch::machine;
    use crate::files::pytorch::value::Value;

    #[test]
    fn integers_of_every_width_are_read_back() {
        for value in [0, 1, 0xFF, 0x100, 0xFFFF, 0x1_0000, 0x7FFF_FFFF, 0x8000_0000, 1 << 40] {
            let mut pickle = Pickle::new();
            pickle.integer(value);
            let bytes = pickle.finish();
            let read = machine::read(&bytes, 0).unwrap();
            assert!(
                matches!(read.values[read.root], Value::Int(found) if found == value as i64),
                "{value}: {:?}",
                read.values
            );
        }
    }

    #[test]
    fn what_is_written_again_is_remembered() {
        let mut pickle = Pickle::new();
        pickle.constant("cpu");
        let once = pickle.bytes.len();
        pickle.constant("cpu");
        assert_eq!(&pickle.bytes[once..], [b'h', 0]);
    }
}
