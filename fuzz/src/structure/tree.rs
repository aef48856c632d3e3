//! A protobuf message as a tree of fields, and back. Lengths are not part of the tree: they are written as they have to be.

use super::schema::{Kind, Message, kind};

/// A field, with its number in the message around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub number: u64,
    pub value: Value,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Varint(u64),
    /// Four bytes.
    Four(u32),
    /// Eight bytes.
    Eight(u64),
    /// Text, packed numbers, or a message that is damaged.
    Bytes(Vec<u8>),
    /// Packed varints.
    Varints(Vec<u64>),
    Message(Message, Vec<Field>),
}

/// Where a field is: the index to follow in each message from the outermost on, and the type of the innermost.
#[derive(Clone, Debug)]
pub struct Place {
    path: Vec<usize>,
    pub of: Message,
}

impl Field {
    /// A text or other bytes.
    pub fn bytes(number: u64, bytes: &[u8]) -> Self {
        Self { number, value: Value::Bytes(bytes.to_vec()) }
    }

    /// An integer.
    pub fn int(number: u64, value: i64) -> Self {
        Self { number, value: Value::Varint(value.cast_unsigned()) }
    }

    /// A message.
    pub fn message(number: u64, message: Message, fields: Vec<Self>) -> Self {
        Self { number, value: Value::Message(message, fields) }
    }

    /// The bytes, if it has any.
    pub fn text(&self) -> Option<&[u8]> {
        match &self.value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Reads the fields of `message`; `None` if they are damaged.
pub fn read(mut bytes: &[u8], message: Message) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let number = key >> 3;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => Value::Eight(u64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?)),
            2 => {
                let len = usize::try_from(varint(&mut bytes)?).ok()?;
                counted(bytes.split_off(..len)?, kind(message, number))
            }
            5 => Value::Four(u32::from_le_bytes(*bytes.split_off(..4)?.first_chunk()?)),
            _ => return None,
        };
        fields.push(Field { number, value });
    }
    Some(fields)
}

fn counted(bytes: &[u8], kind: Kind) -> Value {
    let found = match kind {
        Kind::Message(message) => read(bytes, message).map(|fields| Value::Message(message, fields)),
        Kind::Varints => varints(bytes).map(Value::Varints),
        Kind::Text(_) | Kind::Bytes => None,
    };
    found.unwrap_or_else(|| Value::Bytes(bytes.to_vec()))
}

fn varints(mut bytes: &[u8]) -> Option<Vec<u64>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(varint(&mut bytes)?);
    }
    Some(values)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The bytes of `fields`.
pub fn write(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for Field { number, value } in fields {
        let key = |wire: u64| number << 3 | wire;
        match value {
            Value::Varint(value) => [key(0), *value].iter().for_each(|&value| put(value, &mut out)),
            Value::Four(bits) => {
                put(key(5), &mut out);
                out.extend(bits.to_le_bytes());
            }
            Value::Eight(bits) => {
                put(key(1), &mut out);
                out.extend(bits.to_le_bytes());
            }
            Value::Bytes(bytes) => put_counted(key(2), bytes, &mut out),
            Value::Varints(values) => {
                let mut packed = Vec::new();
                values.iter().for_each(|&value| put(value, &mut packed));
                put_counted(key(2), &packed, &mut out);
            }
            Value::Message(_, fields) => put_counted(key(2), &write(fields), &mut out),
        }
    }
    out
}

fn put_counted(key: u64, bytes: &[u8], out: &mut Vec<u8>) {
    put(key, out);
    put(bytes.len() as u64, out);
    out.extend(bytes);
}

fn put(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The places of all fields of the file `tree` that are `chosen`, in order.
pub fn places(tree: &[Field], chosen: &dyn Fn(Message, &Field) -> bool) -> Vec<Place> {
    let mut found = Vec::new();
    collect(tree, Message::Model, &mut Vec::new(), chosen, &mut found);
    found
}

fn collect(
    fields: &[Field],
    of: Message,
    path: &mut Vec<usize>,
    chosen: &dyn Fn(Message, &Field) -> bool,
    found: &mut Vec<Place>,
) {
    for (i, field) in fields.iter().enumerate() {
        path.push(i);
        if chosen(of, field) {
            found.push(Place { path: path.clone(), of });
        }
        if let Value::Message(message, fields) = &field.value {
            collect(fields, *message, path, chosen, found);
        }
        path.pop();
    }
}

impl Place {
    /// The list that the field is in, and its index.
    pub fn list<'t>(&self, tree: &'t mut Vec<Field>) -> Option<(&'t mut Vec<Field>, usize)> {
        let (&last, outer) = self.path.split_last()?;
        let mut list = tree;
        for &i in outer {
            let Value::Message(_, fields) = &mut list.get_mut(i)?.value else { return None };
            list = fields;
        }
        (last < list.len()).then_some((list, last))
    }

    /// The field.
    pub fn field<'t>(&self, tree: &'t [Field]) -> Option<&'t Field> {
        let (&last, outer) = self.path.split_last()?;
        let mut list = tree;
        for &i in outer {
            let Value::Message(_, fields) = &list.get(i)?.value else { return None };
            list = fields;
        }
        list.get(last)
    }

    /// The field, to be changed.
    pub fn field_mut<'t>(&self, tree: &'t mut Vec<Field>) -> Option<&'t mut Field> {
        self.list(tree).map(|(list, i)| &mut list[i])
    }

    /// The fields of the message that the field is.
    pub fn fields_mut<'t>(&self, tree: &'t mut Vec<Field>) -> Option<&'t mut Vec<Field>> {
        match &mut self.field_mut(tree)?.value {
            Value::Message(_, fields) => Some(fields),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with the operators of version 13, and an empty graph behind a field of each other kind.
    const FILE: &[u8] = b"\x08\x0A\x42\x02\x10\x0D\x95\x06\0\0\x80\x3F\x91\x06\0\0\0\0\0\0\xF0\x3F\x3A\0";

    #[test]
    fn a_tree_is_written_as_it_was_read() {
        let tree = read(FILE, Message::Model).unwrap();
        assert_eq!(tree[0], Field::int(1, 10));
        assert_eq!(tree[1], Field::message(8, Message::Opset, vec![Field::int(2, 13)]));
        assert_eq!(tree[2], Field { number: 98, value: Value::Four(1f32.to_bits()) });
        assert_eq!(tree[3], Field { number: 98, value: Value::Eight(1f64.to_bits()) });
        assert_eq!(tree[4], Field::message(7, Message::Graph, Vec::new()));
        assert_eq!(write(&tree), FILE);
        for end in [1, 3, 5, 10, 20, FILE.len() - 1] {
            assert_eq!(read(&FILE[..end], Message::Model), None, "{end}");
        }
    }

    #[test]
    fn lengths_follow_a_change() {
        let mut tree = read(FILE, Message::Model).unwrap();
        let place = places(&tree, &|of, field| (of, field.number) == (Message::Opset, 2)).remove(0);
        assert_eq!(place.field(&tree), Some(&Field::int(2, 13)));
        place.list(&mut tree).unwrap().0.push(Field::bytes(1, b"ai.onnx"));
        let written = write(&tree);
        assert_eq!(written[2..6], *b"\x42\x0B\x10\x0D");
        assert_eq!(read(&written, Message::Model), Some(tree));
    }

    #[test]
    fn what_is_no_message_stays_bytes() {
        // A graph that ends in the middle of a field.
        let file = b"\x3A\x02\x0A\x05";
        let tree = read(file, Message::Model).unwrap();
        assert_eq!(tree, [Field::bytes(7, b"\x0A\x05")]);
        assert_eq!(write(&tree), file);
    }
}
