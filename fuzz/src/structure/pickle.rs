//! A pickle as a list of opcodes, and back. Counts of bytes are not part of the list: they are written as they have to be.
//!
//! `pickletools` of Python documents the opcodes.

/// An opcode and its argument, without the count before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    pub code: u8,
    pub argument: Vec<u8>,
}

/// The form of an opcode's argument.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// So many bytes.
    Fixed(usize),
    /// A count of so many bytes, and as many bytes as it says.
    Counted(usize),
    /// So many lines.
    Lines(usize),
}

/// The end of a pickle, which is no part of the list.
const STOP: u8 = b'.';

fn form(code: u8) -> Form {
    match code {
        0x80 | b'K' | b'q' | b'h' | 0x82 => Form::Fixed(1),
        b'M' | 0x83 => Form::Fixed(2),
        b'J' | b'r' | b'j' | 0x84 => Form::Fixed(4),
        b'G' | 0x95 => Form::Fixed(8),
        0x8a | 0x8c | b'U' | b'C' => Form::Counted(1),
        0x8b | b'X' | b'T' | b'B' => Form::Counted(4),
        0x8d | 0x8e | 0x96 => Form::Counted(8),
        b'I' | b'L' | b'S' | b'V' | b'F' | b'p' | b'g' | b'P' => Form::Lines(1),
        b'c' | b'i' => Form::Lines(2),
        _ => Form::Fixed(0),
    }
}

impl Op {
    pub fn new(code: u8, argument: &[u8]) -> Self {
        Self { code, argument: argument.to_vec() }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.code);
        match form(self.code) {
            Form::Fixed(len) => out.extend(self.argument.iter().chain(std::iter::repeat(&0)).take(len)),
            Form::Counted(width) => {
                let most = if width == 1 { u8::MAX.into() } else { self.argument.len() };
                let argument = &self.argument[..self.argument.len().min(most)];
                out.extend(&(argument.len() as u64).to_le_bytes()[..width]);
                out.extend(argument);
            }
            Form::Lines(count) => {
                let lines = self.argument.split(|&byte| byte == b'\n');
                for line in lines.chain(std::iter::repeat(&b""[..])).take(count) {
                    out.extend(line);
                    out.push(b'\n');
                }
            }
        }
    }
}

/// Takes a pickle off `bytes`; `None` if it does not end.
pub fn read(bytes: &mut &[u8]) -> Option<Vec<Op>> {
    let (mut rest, mut ops) = (*bytes, Vec::new());
    loop {
        let code = *rest.split_off_first()?;
        if code == STOP {
            *bytes = rest;
            return Some(ops);
        }
        let len = match form(code) {
            Form::Fixed(len) => len,
            Form::Counted(width) => {
                let count = rest.split_off(..width)?;
                let count = count.iter().rev().fold(0, |count: u64, &byte| count << 8 | u64::from(byte));
                usize::try_from(count).ok()?
            }
            Form::Lines(count) => {
                let ends = rest.iter().enumerate().filter(|&(_, &byte)| byte == b'\n');
                ends.map(|(i, _)| i + 1).nth(count - 1)?
            }
        };
        ops.push(Op::new(code, rest.split_off(..len)?));
    }
}

/// Appends the pickle of `ops` to `out`.
pub fn write(ops: &[Op], out: &mut Vec<u8>) {
    ops.iter().filter(|op| op.code != STOP).for_each(|op| op.write(out));
    out.push(STOP);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pickle_is_written_as_it_was_read() {
        let text = b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x8a\x03\x01\x02\x03q\x07\x85R.rest";
        let mut bytes = &text[..];
        let ops = read(&mut bytes).unwrap();
        assert_eq!(bytes, b"rest");
        assert_eq!(ops[1], Op::new(b'c', b"os\nsystem\n"));
        assert_eq!(ops[2], Op::new(b'X', b"ls"));
        assert_eq!(ops[3], Op::new(0x8a, &[1, 2, 3]));
        assert_eq!(ops.len(), 7);
        let mut written = Vec::new();
        write(&ops, &mut written);
        assert_eq!(written, text[..text.len() - 4]);
        for end in [0, 1, 5, 15, 20, text.len() - 5] {
            assert_eq!(read(&mut &text[..end]), None, "{end}");
        }
    }

    #[test]
    fn whatever_the_argument_is_the_pickle_can_be_read() {
        let argument = vec![b'x'; 300];
        let ops: Vec<Op> = (0..=255).map(|code| Op::new(code, &argument)).collect();
        let mut written = Vec::new();
        write(&ops, &mut written);
        let mut bytes = &written[..];
        let codes: Vec<u8> = read(&mut bytes).unwrap().iter().map(|op| op.code).collect();
        assert!(bytes.is_empty());
        assert!(codes.into_iter().eq((0..=255).filter(|&code| code != STOP)));
    }
}
