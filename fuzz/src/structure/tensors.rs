//! Mutations of constants that keep their numbers as many as their shape says, or move them to another file.

use super::fields::{element, entry, tensor};
use super::schema::Message;
use super::tree::{Field, Value};
use super::words::{EXTENTS, LOCATIONS};
use crate::mutate::Random;

/// Sizes of an axis.
const SIZES: [u64; 10] = [0, 1, 2, 3, 4, 5, 8, 9, 16, 64];

/// The largest number of elements that a constant is filled up to.
const MOST: usize = 1 << 11;

/// Changes, adds or removes an axis of the constant `fields`, and fits its numbers to the new shape.
pub fn resize(fields: &mut Vec<Field>, random: &mut Random) {
    let size = SIZES[random.below(SIZES.len())];
    let axes = fields.iter().filter(|field| field.number == tensor::DIMS).count();
    match random.below(8) {
        0 => fields.insert(0, Field { number: tensor::DIMS, value: Value::Varint(size) }),
        1 if axes > 0 => {
            let first = fields.iter().position(|field| field.number == tensor::DIMS);
            first.into_iter().for_each(|i| drop(fields.remove(i)));
        }
        _ => {
            let mut sizes = sizes(fields);
            let axis = random.below(sizes.len().max(1));
            sizes.get_mut(axis).into_iter().for_each(|place| **place = size);
        }
    }
    fit(fields);
}

/// The sizes of all axes, packed or not.
fn sizes(fields: &mut [Field]) -> Vec<&mut u64> {
    let dims = fields.iter_mut().filter(|field| field.number == tensor::DIMS);
    dims.flat_map(|field| match &mut field.value {
        Value::Varint(size) => std::slice::from_mut(size).iter_mut(),
        Value::Varints(sizes) => sizes.iter_mut(),
        _ => Default::default(),
    })
    .collect()
}

/// Repeats or cuts the numbers of a constant, so that they are as many as its shape says.
fn fit(fields: &mut [Field]) {
    let len = sizes(fields).iter().fold(1usize, |len, size| len.saturating_mul(**size as usize)).min(MOST);
    let element = fields.iter().find_map(|field| match (field.number, &field.value) {
        (tensor::TYPE, Value::Varint(element)) => Some(element.cast_signed()),
        _ => None,
    });
    let raw = match element.unwrap_or(element::FLOAT) {
        element::UINT4 | element::INT4 => len.div_ceil(2),
        element::UINT8 | element::INT8 | element::BOOL => len,
        element::FLOAT16 | element::BFLOAT16 | element::INT16 | element::UINT16 => 2 * len,
        element::INT64 | element::DOUBLE => 8 * len,
        _ => 4 * len,
    };
    for Field { number, value } in fields {
        match (*number, value) {
            (tensor::RAW, Value::Bytes(bytes)) => repeat(bytes, raw),
            (tensor::FLOATS, Value::Bytes(bytes)) => repeat(bytes, 4 * len),
            (tensor::DOUBLES, Value::Bytes(bytes)) => repeat(bytes, 8 * len),
            (tensor::INT32S | tensor::INT64S, Value::Varints(values)) => repeat(values, len),
            _ => {}
        }
    }
}

fn repeat<T: Copy + Default>(list: &mut Vec<T>, len: usize) {
    let again = if list.is_empty() { vec![T::default()] } else { std::mem::take(list) };
    list.extend(again.iter().cycle().take(len));
}

/// Puts the numbers of the constant `fields` into another file: mostly into one that exists, and as many as they were.
pub fn move_out(fields: &mut Vec<Field>, random: &mut Random) {
    let raw = fields.iter().find(|field| field.number == tensor::RAW).and_then(Field::text);
    let len = raw.map_or(0, <[u8]>::len).to_string();
    let mut set = |key: &str, value: &str| {
        let texts = [(entry::KEY, key), (entry::VALUE, value)];
        let texts = texts.map(|(number, text)| Field::bytes(number, text.as_bytes()));
        fields.push(Field::message(tensor::EXTERNAL, Message::Entry, texts.into()));
    };
    set("location", LOCATIONS[random.below(LOCATIONS.len())]);
    if random.below(3) > 0 {
        set("offset", EXTENTS[random.below(EXTENTS.len())]);
    }
    match random.below(3) {
        0 => set("length", &len),
        1 => set("length", EXTENTS[random.below(EXTENTS.len())]),
        _ => {}
    }
    fields.retain(|field| field.number != tensor::RAW);
    fields.push(Field::int(tensor::LOCATION, 1));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(dims: &[i64], element: i64) -> Vec<Field> {
        let mut fields: Vec<Field> = dims.iter().map(|&dim| Field::int(tensor::DIMS, dim)).collect();
        fields.push(Field::int(tensor::TYPE, element));
        fields.push(Field::bytes(tensor::RAW, &[1, 2, 3]));
        fields
    }

    /// The bytes of a constant of this shape and type, behind its type.
    fn fitted(dims: &[i64], element: i64) -> Vec<u8> {
        let mut fields = constant(dims, element);
        fit(&mut fields);
        fields.last().unwrap().text().unwrap().to_vec()
    }

    #[test]
    fn numbers_are_as_many_as_the_shape_says() {
        assert_eq!(fitted(&[2, 1], element::FLOAT), [1, 2, 3, 1, 2, 3, 1, 2]);
        assert_eq!(fitted(&[5], element::UINT8), [1, 2, 3, 1, 2]);
        assert_eq!(fitted(&[3], element::INT4), [1, 2]);
        assert!(fitted(&[3, 0], element::INT64).is_empty());
        assert_eq!(fitted(&[], element::FLOAT16), [1, 2]);
        assert_eq!(fitted(&[i64::MAX, i64::MAX], element::BOOL).len(), MOST);
    }

    #[test]
    fn an_axis_changes_with_its_numbers() {
        for seed in 0..50 {
            let mut fields = constant(&[3, 2], element::UINT8);
            resize(&mut fields, &mut Random::new(seed));
            let len: u64 = sizes(&mut fields).iter().map(|size| **size).product();
            assert_eq!(fields.last().unwrap().text().unwrap().len() as u64, len, "seed {seed}");
        }
    }

    #[test]
    fn numbers_move_to_another_file() {
        let mut fields = constant(&[3], element::UINT8);
        move_out(&mut fields, &mut Random::new(1));
        assert!(fields.iter().all(|field| field.number != tensor::RAW));
        assert_eq!(fields.iter().filter(|field| field.number == tensor::LOCATION).count(), 1);
        let external = fields.iter().filter(|field| field.number == tensor::EXTERNAL).count();
        assert!((1..=3).contains(&external));
    }
}
