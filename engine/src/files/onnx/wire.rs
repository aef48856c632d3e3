//! The wire format of Protocol Buffers, as far as ONNX uses it.
//!
//! A message is a sequence of fields. Each starts with a varint, `number << 3 | kind`:
//!
//! | kind | the value |
//! | --- | --- |
//! | 0 | a varint: seven bits a byte, the lowest first; the top bit marks that more bytes follow |
//! | 1, 5 | eight or four bytes, little-endian |
//! | 2 | a varint, and as many bytes: text, a message, or packed numbers |
//!
//! Both directions work on slices rather than on generated structures: a reader borrows its weights from the file's
//! bytes, so that nothing is allocated because a file claims it, and a writer makes the weights one by one, when their
//! turn comes.

use std::io::{self, Write};

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    /// A varint.
    Number(u64),
    /// Four bytes.
    Four([u8; 4]),
    /// Eight bytes.
    Eight([u8; 8]),
    /// Text, a message, or packed numbers.
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    /// The integer of a varint field.
    pub fn int(self) -> Result<i64, String> {
        match self {
            Self::Number(value) => Ok(value.cast_signed()),
            other => Err(format!("expected an integer, found {}", other.kind())),
        }
    }

    /// The number of a field of four bytes.
    pub fn float(self) -> Result<f32, String> {
        match self {
            Self::Four(bytes) => Ok(f32::from_le_bytes(bytes)),
            other => Err(format!("expected a number of four bytes, found {}", other.kind())),
        }
    }

    /// The bytes of a field with a length.
    pub fn bytes(self) -> Result<&'a [u8], String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(format!("expected text or a message, found {}", other.kind())),
        }
    }

    /// The text of a field with a length.
    pub fn text(self) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a name is not UTF-8".to_string())
    }

    /// Appends the integers of a field that may repeat, packed or not, to `values`.
    pub fn ints(self, values: &mut Vec<i64>) -> Result<(), String> {
        let Self::Bytes(mut bytes) = self else {
            values.push(self.int()?);
            return Ok(());
        };
        while !bytes.is_empty() {
            values.push(varint(&mut bytes)?.cast_signed());
        }
        Ok(())
    }

    /// Appends the bytes of numbers of `N` bytes that may repeat, packed or not, to `values`.
    pub fn fixed<const N: usize>(self, values: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::Four(bytes) if N == 4 => values.extend(bytes),
            Self::Eight(bytes) if N == 8 => values.extend(bytes),
            Self::Bytes(bytes) if bytes.len().is_multiple_of(N) => values.extend(bytes),
            other => return Err(format!("expected numbers of {N} bytes, found {}", other.kind())),
        }
        Ok(())
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Number(_) => "an integer",
            Self::Four(_) => "four bytes",
            Self::Eight(_) => "eight bytes",
            Self::Bytes(_) => "bytes of another length",
        }
    }
}

/// The fields of a message, in order, with their numbers.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = field(&mut self.0);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn field<'a>(bytes: &mut &'a [u8]) -> Result<(u64, Field<'a>), String> {
    let key = varint(bytes)?;
    let value = match key & 7 {
        0 => Field::Number(varint(bytes)?),
        1 => Field::Eight(*bytes.split_off(..8).and_then(|b| b.first_chunk()).ok_or_else(ends)?),
        2 => {
            let length = varint(bytes)?;
            let length = usize::try_from(length).map_err(|_| ends())?;
            Field::Bytes(bytes.split_off(..length).ok_or_else(ends)?)
        }
        5 => Field::Four(*bytes.split_off(..4).and_then(|b| b.first_chunk()).ok_or_else(ends)?),
        kind => return Err(format!("a field of the unknown kind {kind}: this is no ONNX file")),
    };
    Ok((key >> 3, value))
}

fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first().ok_or_else(ends)?;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("an integer has more than ten bytes: this is no ONNX file".into())
}

fn ends() -> String {
    "it ends in the middle of a field".into()
}

/// Bytes that are made when they are written.
pub(super) trait Content {
    /// The number of bytes.
    fn len(&self) -> usize;

    /// Writes the bytes to `file`.
    fn write(&self, file: &mut dyn Write) -> io::Result<()>;
}

/// A message to write: a list of pieces, of which weights are the large ones.
#[derive(Clone, Default)]
pub(super) struct Message<'a> {
    pieces: Vec<Piece<'a>>,
    len: usize,
}

#[derive(Clone)]
enum Piece<'a> {
    Bytes(Vec<u8>),
    Content(&'a dyn Content),
}

impl<'a> Message<'a> {
    /// Adds an integer.
    pub fn int(mut self, number: u64, value: i64) -> Self {
        self.key(number, 0);
        self.varint(value.cast_unsigned());
        self
    }

    /// Adds a number of four bytes.
    pub fn float(mut self, number: u64, value: f32) -> Self {
        self.key(number, 5);
        self.append(&value.to_le_bytes());
        self
    }

    /// Adds text or bytes.
    pub fn bytes(mut self, number: u64, bytes: &[u8]) -> Self {
        self.key(number, 2);
        self.varint(bytes.len() as u64);
        self.append(bytes);
        self
    }

    /// Adds integers, packed.
    pub fn ints(self, number: u64, values: &[i64]) -> Self {
        let mut packed = Message::default();
        values.iter().for_each(|value| packed.varint(value.cast_unsigned()));
        self.message(number, packed)
    }

    /// Adds the bytes of `content`.
    pub fn content(mut self, number: u64, content: &'a dyn Content) -> Self {
        self.key(number, 2);
        self.varint(content.len() as u64);
        self.len += content.len();
        self.pieces.push(Piece::Content(content));
        self
    }

    /// Adds a message.
    pub fn message(mut self, number: u64, message: Message<'a>) -> Self {
        self.key(number, 2);
        self.varint(message.len as u64);
        self.then(message)
    }

    /// Adds the fields of `message`.
    pub fn then(mut self, message: Message<'a>) -> Self {
        self.len += message.len;
        for piece in message.pieces {
            match (self.pieces.last_mut(), piece) {
                (Some(Piece::Bytes(last)), Piece::Bytes(bytes)) => last.extend(bytes),
                (_, piece) => self.pieces.push(piece),
            }
        }
        self
    }

    /// Adds messages under the same number.
    pub fn messages(self, number: u64, messages: Vec<Message<'a>>) -> Self {
        messages.into_iter().fold(self, |whole, message| whole.message(number, message))
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Writes the bytes to `file`.
    pub fn write(&self, file: &mut dyn Write) -> io::Result<()> {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Bytes(bytes) => file.write_all(bytes),
            Piece::Content(content) => content.write(file),
        })
    }

    fn key(&mut self, number: u64, kind: u64) {
        self.varint(number << 3 | kind);
    }

    fn varint(&mut self, mut value: u64) {
        let mut bytes = [0; 10];
        let mut len = 0;
        loop {
            bytes[len] = value as u8 & 0x7F | if value >= 0x80 { 0x80 } else { 0 };
            (value, len) = (value >> 7, len + 1);
            if value == 0 {
                break;
            }
        }
        self.append(&bytes[..len]);
    }

    fn append(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        match self.pieces.last_mut() {
            Some(Piece::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.pieces.push(Piece::Bytes(bytes.to_vec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Content for Vec<f32> {
        fn len(&self) -> usize {
            4 * self.as_slice().len()
        }

        fn write(&self, file: &mut dyn Write) -> io::Result<()> {
            self.iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))
        }
    }

    fn written(message: &Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.write(&mut bytes).unwrap();
        assert_eq!(bytes.len(), message.len());
        bytes
    }

    /// The examples of Protocol Buffers' documentation.
    #[test]
    fn messages_are_as_documented() {
        assert_eq!(written(&Message::default().int(1, 150)), [0x08, 0x96, 0x01]);
        assert_eq!(written(&Message::default().bytes(2, b"testing")), b"\x12\x07testing");
        let inner = Message::default().int(1, 150);
        assert_eq!(written(&Message::default().message(3, inner)), [0x1A, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(
            written(&Message::default().ints(6, &[3, 270, 86_942])),
            b"\x32\x06\x03\x8E\x02\x9E\xA7\x05"
        );
        let minus = written(&Message::default().int(1, -2));
        assert_eq!(minus, [0x08, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]);
    }

    #[test]
    fn damaged_fields_are_refused() {
        for (bytes, words) in [
            (&b"\x08"[..], "middle of a field"),
            (b"\x08\x96", "middle of a field"),
            (b"\x12\x07test", "middle of a field"),
            (b"\x12\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", "middle of a field"),
            (b"\x0D\0\0\0", "middle of a field"),
            (b"\x09\0\0\0\0", "middle of a field"),
            (b"\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", "more than ten bytes"),
            (b"\x0B", "unknown kind 3"),
        ] {
            let found: Vec<_> = Fields(bytes).collect();
            assert_eq!(found.len(), 1, "{bytes:?}");
            assert!(found[0].clone().unwrap_err().contains(words), "{bytes:?}: {found:?}");
        }
    }

    proptest! {
        #[test]
        fn fields_are_read_as_they_were_written(
            int in any::<i64>(),
            float in any::<u32>(),
            text in ".{0,20}",
            ints in prop::collection::vec(any::<i64>(), 0..9),
            floats in prop::collection::vec(any::<f32>(), 0..9),
        ) {
            let inner = Message::default().content(9, &floats).bytes(1, text.as_bytes());
            let whole = Message::default().int(1, int).float(1000, f32::from_bits(float)).ints(3, &ints);
            let bytes = written(&whole.message(4, inner));
            let fields: Vec<_> = Fields(&bytes).map(Result::unwrap).collect();
            prop_assert_eq!(fields[0].1.int().unwrap(), int);
            prop_assert_eq!((fields[1].0, fields[1].1.float().unwrap().to_bits()), (1000, float));
            let mut read = Vec::new();
            fields[2].1.ints(&mut read).unwrap();
            prop_assert_eq!(read, ints);
            let inner: Vec<_> = Fields(fields[3].1.bytes().unwrap()).map(Result::unwrap).collect();
            let mut read = Vec::new();
            inner[0].1.fixed::<4>(&mut read).unwrap();
            let expected: Vec<u8> = floats.iter().flat_map(|v| v.to_le_bytes()).collect();
            prop_assert_eq!(read, expected);
            prop_assert_eq!(inner[1].1.text().unwrap(), text);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let fields = Fields(&bytes).count();
            prop_assert!(fields <= bytes.len());
        }
    }
}
