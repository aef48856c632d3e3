//! Mutates ONNX files as trees of fields: fields are dropped, doubled, swapped and replaced by others of their kind, nodes are
//! added, names redirected, shapes changed together with their numbers.

use super::nodes::{self, FLOATS, names};
use super::schema::{Kind, Message, Topic, kind};
use super::tensors;
use super::tree::{Field, Place, Value, places, read, write};
use super::words::{ATTRIBUTES, DOMAINS, EXTENTS, LOCATIONS, OPERATORS, TEXTS};
use crate::mutate::{ByBytes, Random, scramble, store};

/// Changes the ONNX file `data[..size]`, and returns its new size.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32, by_bytes: ByBytes) -> Option<usize> {
    let mut random = Random::new(seed.into());
    // Bytes reach what has no structure.
    if random.below(8) == 0 {
        return None;
    }
    let mut tree = read(&data[..size], Message::Model)?;
    for _ in 0..1 + random.below(3) {
        change(&mut tree, &mut random, by_bytes);
    }
    store(&write(&tree), data, size, max_size)
}

/// Writes the ONNX file `data` to `out` with parts of the file `other`, and returns its size; 0 if it has none that fit.
pub fn cross(data: &[u8], other: &[u8], out: &mut [u8], seed: u32) -> usize {
    let mut random = Random::new(seed.into());
    let (Some(mut tree), Some(donor)) = (read(data, Message::Model), read(other, Message::Model)) else {
        return 0;
    };
    for _ in 0..1 + random.below(3) {
        take_over(&mut tree, &donor, &mut random);
    }
    let max_size = out.len();
    store(&write(&tree), out, 0, max_size).unwrap_or(0)
}

/// Makes one change, if `tree` has what it is about.
fn change(tree: &mut Vec<Field>, random: &mut Random, by_bytes: ByBytes) {
    let a_constant = |_: Message, field: &Field| matches!(field.value, Value::Message(Message::Tensor, _));
    let done = match random.below(16) {
        0 | 1 => arrange(tree, random),
        2..=4 => {
            let donor = tree.clone();
            take_over(tree, &donor, random)
        }
        5 => nodes::add_attribute(tree, random),
        6 | 7 => any(tree, random, &a_constant).and_then(|place| {
            let constant = place.fields_mut(tree)?;
            match random.below(3) {
                0 => tensors::move_out(constant, random),
                _ => tensors::resize(constant, random),
            }
            Some(())
        }),
        8 => reword(tree, Topic::Operator, random, by_bytes),
        9 | 10 => reword(tree, Topic::Name, random, by_bytes),
        _ => None,
    };
    if done.is_none() {
        let names = names(tree);
        let a_leaf = |_: Message, field: &Field| !matches!(field.value, Value::Message(..));
        if let Some(place) = any(tree, random, &a_leaf)
            && let Some(field) = place.field_mut(tree)
        {
            change_value(place.of, field, &names, random, by_bytes);
        }
    }
}

/// The place of one of the fields that are `chosen`.
fn any(tree: &[Field], random: &mut Random, chosen: &dyn Fn(Message, &Field) -> bool) -> Option<Place> {
    random.pick(&places(tree, chosen)).cloned()
}

/// Drops, doubles or swaps a field.
fn arrange(tree: &mut Vec<Field>, random: &mut Random) -> Option<()> {
    let (list, i) = any(tree, random, &|_, _| true)?.list(tree)?;
    let other = random.below(list.len());
    match random.below(3) {
        0 => drop(list.remove(i)),
        1 => list.insert(other, list[i].clone()),
        _ => list.swap(i, other),
    }
    Some(())
}

/// Copies a node or another field of `donor` into `tree`.
fn take_over(tree: &mut Vec<Field>, donor: &[Field], random: &mut Random) -> Option<()> {
    match random.below(3) {
        0 => graft(tree, donor, random),
        _ => nodes::insert(tree, donor, random),
    }
}

/// Copies a field of `donor` over or beside one of the same kind in `tree`.
fn graft(tree: &mut Vec<Field>, donor: &[Field], random: &mut Random) -> Option<()> {
    let from = any(donor, random, &|_, _| true)?;
    let copy = from.field(donor)?.clone();
    let to = any(tree, random, &|of, field| (of, field.number) == (from.of, copy.number))?;
    let (list, i) = to.list(tree)?;
    match random.below(2) {
        0 => list[i] = copy,
        _ => list.insert(i, copy),
    }
    Some(())
}

/// Replaces a text about `topic`.
fn reword(tree: &mut Vec<Field>, topic: Topic, random: &mut Random, by_bytes: ByBytes) -> Option<()> {
    let names = names(tree);
    let place = any(tree, random, &|of, field| kind(of, field.number) == Kind::Text(topic))?;
    change_value(place.of, place.field_mut(tree)?, &names, random, by_bytes);
    Some(())
}

/// Changes the value of a field of a message `of`, which is no message itself.
fn change_value(of: Message, field: &mut Field, names: &[Vec<u8>], random: &mut Random, by_bytes: ByBytes) {
    match &mut field.value {
        Value::Varint(value) => change_integer(value, random),
        Value::Varints(values) => change_list(values, random),
        Value::Four(bits) => *bits = FLOATS[random.below(FLOATS.len())].to_bits(),
        Value::Eight(bits) => *bits = f64::from(FLOATS[random.below(FLOATS.len())]).to_bits(),
        Value::Bytes(bytes) => match kind(of, field.number) {
            Kind::Text(topic) if random.below(8) > 0 => *bytes = word(topic, names, random),
            Kind::Bytes if random.below(2) == 0 && bytes.len() >= 4 => {
                let at = random.below(bytes.len() / 4);
                let float = FLOATS[random.below(FLOATS.len())];
                bytes[4 * at..][..4].copy_from_slice(&float.to_le_bytes());
            }
            _ => scramble(bytes, by_bytes),
        },
        Value::Message(..) => {}
    }
}

fn change_integer(value: &mut u64, random: &mut Random) {
    *value = match random.below(5) {
        0 => value.wrapping_add(1),
        1 => value.wrapping_sub(1),
        2 => *value ^ 1 << random.below(8),
        3 => random.below(8) as u64,
        _ => random.integer().cast_unsigned(),
    }
}

/// Changes, drops, doubles or swaps elements.
fn change_list(values: &mut Vec<u64>, random: &mut Random) {
    if values.is_empty() {
        return values.push(random.integer().cast_unsigned());
    }
    let (i, other) = (random.below(values.len()), random.below(values.len()));
    match random.below(6) {
        0 => drop(values.remove(i)),
        1 => values.insert(other, values[i]),
        2 => values.swap(i, other),
        _ => change_integer(&mut values[i], random),
    }
}

/// A text about `topic` in a file whose values have these `names`.
fn word(topic: Topic, names: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut of = |words: &[&str]| random.pick(words).map_or(Vec::new(), |word| word.as_bytes().to_vec());
    match topic {
        Topic::Name => random.pick(names).cloned().unwrap_or_default(),
        Topic::Operator => of(&OPERATORS),
        Topic::Domain => of(&DOMAINS),
        Topic::AttributeName => of(&ATTRIBUTES.map(|(name, _)| name)),
        Topic::AttributeText => of(&TEXTS),
        Topic::EntryKey => of(&["location", "offset", "length", "checksum"]),
        Topic::EntryText => of(&[&LOCATIONS[..], &EXTENTS].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: [&[u8]; 4] = [
        include_bytes!("../../corpus/onnx/seed-mix"),
        include_bytes!("../../corpus/onnx/seed-gates"),
        include_bytes!("../../corpus/onnx/case-torch-shapes"),
        include_bytes!("../../corpus/onnx/case-edges"),
    ];

    /// Stands for libFuzzer's mutation of bytes.
    fn reversed(bytes: &mut [u8], size: usize, _: usize) -> usize {
        bytes[..size].reverse();
        size
    }

    #[test]
    fn a_file_is_written_as_it_was_read() {
        for seed in SEEDS {
            let tree = read(seed, Message::Model).unwrap();
            assert_eq!(write(&tree), seed);
            assert!(places(&tree, &nodes::is_node).len() > 3 && names(&tree).len() > 10);
        }
    }

    #[test]
    fn mutated_and_crossed_files_can_be_read_and_repeat() {
        let (mut mutated, mut crossed) = (0, 0);
        for (i, seed) in (0..500).map(|i: u32| (i, SEEDS[i as usize % SEEDS.len()])) {
            let [mut data, mut again] = [[seed, &[0; 4096]].concat(), [seed, &[0; 4096]].concat()];
            let (size, room) = (seed.len(), data.len());
            let found = mutate(&mut data, size, room, i, &reversed);
            assert_eq!((found, &data), (mutate(&mut again, size, room, i, &reversed), &again), "{i}");
            if let Some(size) = found {
                assert!(read(&data[..size], Message::Model).is_some() && data[..size] != *seed, "{i}");
                mutated += 1;
            }
            let size = cross(seed, SEEDS[(i as usize + 1) % SEEDS.len()], &mut data, i);
            assert!(size == 0 || read(&data[..size], Message::Model).is_some(), "{i}");
            crossed += u32::from(size > 0);
        }
        assert!(mutated > 400 && crossed > 400, "{mutated} mutated, {crossed} crossed");
    }
}
