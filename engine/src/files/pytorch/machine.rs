//! The stack machine of pickle protocols 2 to 5, which Python's `pickletools` documents.
//!
//! Each opcode takes constant time and memory apart from the items that it takes off the stack, and the number of opcodes
//! is limited: memory is bounded by the length of the pickle, whatever it claims.

use super::value::{Id, Pickle, Storage, Value};
use crate::memory;
use std::collections::HashMap;
use std::ops::Range;

/// Most opcodes: far more than a state dict has, about thirty a tensor.
const MOST_STEPS: u64 = 1 << 22;

/// Bytes that an opcode takes at most: its value, and its places on the stack, in a container and in the memo.
const STEP_BYTES: u64 = 192;

/// A machine that reads the pickle at `at`.
pub(super) struct Machine<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) values: Vec<Value>,
    pub(super) stack: Vec<Id>,
    /// The heights of the stack at open marks.
    pub(super) marks: Vec<usize>,
    pub(super) storages: Vec<Storage<'a>>,
    /// The index of each storage.
    pub(super) keys: HashMap<&'a str, usize>,
    memo: HashMap<u64, Id>,
    steps: u64,
}

/// Reads the pickle in `bytes` at `at`. It may end anywhere in `bytes`.
pub(super) fn read(bytes: &[u8], at: usize) -> Result<Pickle<'_>, String> {
    let mut machine = Machine {
        bytes,
        at,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        storages: Vec::new(),
        keys: HashMap::new(),
        memo: HashMap::new(),
        steps: most_steps(bytes.len() - at),
    };
    let root = machine.run()?;
    let Machine { values, storages, at, .. } = machine;
    Ok(Pickle { bytes, values, storages, root, end: at })
}

/// Most opcodes of a pickle in `len` bytes. Asking for the available memory takes longer than reading a small one.
fn most_steps(len: usize) -> u64 {
    const SMALL: usize = 1 << 16;
    if len <= SMALL { MOST_STEPS } else { MOST_STEPS.min(memory::available() / STEP_BYTES) }
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Id, String> {
        loop {
            let (start, op) = (self.at, self.byte()?);
            if op == b'.' {
                return self.pop();
            }
            self.spend(1)?;
            self.step(op).map_err(|problem| format!("{problem} (byte {start} of the file)"))?;
        }
    }

    /// Counts `steps` steps.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), String> {
        let left = self.steps.checked_sub(steps as u64);
        self.steps = left.ok_or("its pickle has too many opcodes for the limit or the memory")?;
        Ok(())
    }

    fn step(&mut self, op: u8) -> Result<(), String> {
        match op {
            // PROTO, FRAME
            0x80 => match self.byte()? {
                0..=5 => Ok(()),
                version => Err(format!("its pickle has protocol {version}, expected 2 to 5")),
            },
            0x95 => self.take(8).map(drop),
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool(op == 0x88)),
            b'J' | b'K' | b'M' | 0x8a | 0x8b => self.integer(op),
            b'G' => self.take(8).and_then(|_| self.push(Value::Opaque)),
            b'X' | 0x8c | 0x8d | b'T' | b'U' | b'B' | b'C' | 0x8e | 0x96 => self.characters(op),
            b'(' | b'0' | b'1' | b'2' => self.shuffle(op),
            b']' | b')' | b'}' | 0x8f | b't' | b'l' | 0x91 | b'd' | 0x85..=0x87 => self.container(op),
            b'a' | b'e' | 0x90 | b's' | b'u' => self.fill(op),
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memory(op),
            b'c' | 0x93 | b'R' | 0x81 | b'b' | b'Q' => self.object(op),
            _ => Err(format!("its pickle has the opcode {op:#04x}, which no file of PyTorch has")),
        }
    }

    /// BININT, BININT1, BININT2, LONG1, LONG4.
    fn integer(&mut self, op: u8) -> Result<(), String> {
        let range = match op {
            b'J' => self.take(4)?,
            b'K' => self.take(1)?,
            b'M' => self.take(2)?,
            0x8a => self.counted(1)?,
            _ => self.counted(4)?,
        };
        let bytes = &self.bytes[range.clone()];
        if bytes.len() > 8 {
            return self.push(Value::Long(range));
        }
        // BININT1 and BININT2 have no sign.
        let negative = !matches!(op, b'K' | b'M') && bytes.last().is_some_and(|&last| last >= 0x80);
        let mut wide = if negative { [0xFF; 8] } else { [0; 8] };
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(wide)))
    }

    /// Texts, and byte strings, which are inert.
    fn characters(&mut self, op: u8) -> Result<(), String> {
        let width = match op {
            0x8c | b'U' | b'C' => 1,
            0x8d | 0x8e | 0x96 => 8,
            _ => 4,
        };
        let range = self.counted(width)?;
        match op {
            b'B' | b'C' | 0x8e | 0x96 => self.push(Value::Opaque),
            _ if std::str::from_utf8(&self.bytes[range.clone()]).is_ok() => self.push(Value::Text(range)),
            _ => Err("a text of its pickle is not UTF-8".into()),
        }
    }

    /// MARK, POP, POP_MARK, DUP.
    fn shuffle(&mut self, op: u8) -> Result<(), String> {
        match op {
            b'(' => self.marks.push(self.stack.len()),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            _ if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            _ => drop(self.pop()?),
        }
        Ok(())
    }

    /// Empty containers, and those of the items on the stack.
    fn container(&mut self, op: u8) -> Result<(), String> {
        let value = match op {
            b'}' => Value::Dict(Vec::new()),
            b'd' => Value::Dict(pairs(&self.pop_mark()?)?),
            b't' | b'l' | 0x91 => Value::List(self.pop_mark()?),
            0x85..=0x87 => {
                let mut items = Vec::with_capacity(3);
                for _ in 0x85..=op {
                    items.push(self.pop()?);
                }
                items.reverse();
                Value::List(items)
            }
            _ => Value::List(Vec::new()),
        };
        self.push(value)
    }

    /// APPEND, APPENDS, ADDITEMS, SETITEM, SETITEMS.
    fn fill(&mut self, op: u8) -> Result<(), String> {
        let items = match op {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_mark()?,
        };
        let target = self.top()?;
        match (&mut self.values[target], op) {
            (Value::List(list), b'a' | b'e' | 0x90) => list.extend(items),
            (Value::Dict(entries), b's' | b'u') => entries.extend(pairs(&items)?),
            _ => return Err("its pickle adds items to something that is no container".into()),
        }
        Ok(())
    }

    /// BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET.
    fn memory(&mut self, op: u8) -> Result<(), String> {
        let index = match op {
            0x94 => self.memo.len() as u64,
            b'q' | b'h' => self.number(1)?,
            _ => self.number(4)?,
        };
        if matches!(op, b'h' | b'j') {
            let id =
                self.memo.get(&index).ok_or("its pickle refers to a value that it has not remembered")?;
            self.stack.push(*id);
        } else {
            let top = self.top()?;
            self.memo.insert(index, top);
        }
        Ok(())
    }

    /// Adds a value and pushes it.
    pub(super) fn push(&mut self, value: Value) -> Result<(), String> {
        self.stack.push(self.values.len());
        self.values.push(value);
        Ok(())
    }

    /// The value on top of the stack. Values below a mark are out of reach.
    pub(super) fn top(&self) -> Result<Id, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..]
            .last()
            .copied()
            .ok_or_else(|| "its pickle takes a value off an empty stack".into())
    }

    pub(super) fn pop(&mut self) -> Result<Id, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Takes everything above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("its pickle closes a mark that it has not set")?;
        Ok(self.stack.drain(mark..).collect())
    }

    pub(super) fn byte(&mut self) -> Result<u8, String> {
        Ok(self.bytes[self.take(1)?][0])
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: u64) -> Result<Range<usize>, String> {
        let left = self.bytes.len() - self.at;
        if count > left as u64 {
            return Err(format!("the file is truncated: its pickle claims {count} bytes, {left} are left"));
        }
        let start = self.at;
        self.at += count as usize;
        Ok(start..self.at)
    }

    /// An unsigned little-endian number of `width` ≤ 8 bytes.
    fn number(&mut self, width: u64) -> Result<u64, String> {
        let range = self.take(width)?;
        Ok(self.bytes[range].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// Bytes behind their count, which has `width` bytes.
    fn counted(&mut self, width: u64) -> Result<Range<usize>, String> {
        let count = self.number(width)?;
        self.take(count)
    }
}

/// The entries of a dictionary from alternating keys and values.
fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    let (pairs, rest) = items.as_chunks::<2>();
    match rest.is_empty() {
        true => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        false => Err("its pickle has a key without a value".into()),
    }
}
