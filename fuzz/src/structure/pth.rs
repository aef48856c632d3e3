//! Mutates files of PyTorch: the opcodes of their pickles and the entries of their archives. An archive holds one pickle, an old
//! file five in a row before its storages.

use super::archive::{self, Entry};
use super::pickle::{self, Op};
use crate::mutate::{ByBytes, Random, scramble, store};

/// The pickle of an archive, behind its folder.
const PICKLE: &[u8] = b"data.pkl";

/// The pickle of an old file that describes its tensors. Before it are a number, a version and a system, behind it keys.
const OBJECT: usize = 3;

/// Other entries of an archive.
const ENTRIES: [&str; 8] =
    ["data/0", "data/1", "data/2", "data/10", "byteorder", "constants.pkl", "version", "data.pkl"];

/// Names of Python that are known, and others.
const GLOBALS: [&str; 20] = [
    "collections\nOrderedDict",
    "torch._utils\n_rebuild_tensor_v2",
    "torch._utils\n_rebuild_tensor",
    "torch._utils\n_rebuild_parameter",
    "torch._utils\n_rebuild_parameter_with_state",
    "torch\nSize",
    "torch\ndevice",
    "torch\nfloat32",
    "torch\nDoubleStorage",
    "torch\nFloatStorage",
    "torch\nHalfStorage",
    "torch\nBFloat16Storage",
    "torch\nLongStorage",
    "torch\nShortStorage",
    "torch.storage\nByteStorage",
    "torch.cuda\nBoolStorage",
    "torch.storage\n_load_from_bytes",
    "__torch__.m\nNet",
    "builtins\neval",
    "\n",
];

/// Texts of pickles.
const TEXTS: [&str; 20] = [
    "",
    "0",
    "1",
    "storage",
    "module",
    "cpu",
    "cuda:0",
    "little_endian",
    "state_dict",
    "model",
    "ema",
    "features.0.weight",
    "bn.running_var",
    "fc.bias",
    "module.fc.bias",
    "collections",
    "OrderedDict",
    "torch",
    "FloatStorage",
    "torch._utils",
];

/// Opcodes that may stand for each other.
const KINDS: [&[u8]; 8] = [
    b"JKM\x8a\x8b",
    b"XTUBC\x8c\x8d\x8e\x96",
    b"tld1\x85\x86\x87\x91",
    b"aesu\x90b",
    b"])}\x8fN\x88\x89",
    b"qr\x94",
    b"hj2",
    b"RQ\x81\x93(0",
];

/// A file in parts.
struct File {
    /// The entries, if it is an archive, and which of them holds the pickle.
    archive: Option<(Vec<Entry>, usize)>,
    pickles: Vec<Vec<Op>>,
    /// What follows the pickles.
    rest: Vec<u8>,
}

impl File {
    fn read(bytes: &[u8]) -> Option<Self> {
        let archive = archive::read(bytes).and_then(|entries| {
            let place = entries.iter().position(|entry| entry.name.ends_with(PICKLE))?;
            Some((entries, place))
        });
        let mut rest = archive.as_ref().map_or(bytes, |(entries, place)| &entries[*place].data[..]);
        let most = if archive.is_some() { 1 } else { OBJECT + 2 };
        let pickles: Vec<_> = std::iter::from_fn(|| pickle::read(&mut rest)).take(most).collect();
        let rest = rest.to_vec();
        (!pickles.is_empty()).then_some(Self { archive, pickles, rest })
    }

    fn write(self) -> Vec<u8> {
        let mut content = Vec::new();
        self.pickles.iter().for_each(|ops| pickle::write(ops, &mut content));
        content.extend(self.rest);
        let Some((mut entries, place)) = self.archive else { return content };
        entries[place].data = content;
        archive::write(&entries)
    }

    /// The opcodes that describe the tensors.
    fn object(&mut self) -> &mut Vec<Op> {
        let last = self.pickles.len() - 1;
        &mut self.pickles[OBJECT.min(last)]
    }

    fn change(&mut self, random: &mut Random, by_bytes: ByBytes) {
        match (random.below(8), &mut self.archive) {
            (0, Some((entries, place))) => change_entries(entries, place, random, by_bytes),
            (0, None) => scramble(&mut self.rest, by_bytes),
            (1, None) => {
                let i = random.below(self.pickles.len());
                change_ops(&mut self.pickles[i], random, by_bytes);
            }
            _ => change_ops(self.object(), random, by_bytes),
        }
    }
}

/// Changes the file of PyTorch `data[..size]`, and returns its new size.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32, by_bytes: ByBytes) -> Option<usize> {
    let mut random = Random::new(seed.into());
    // Bytes reach what is written as it has to be.
    if random.below(8) == 0 {
        return None;
    }
    let mut file = File::read(&data[..size])?;
    for _ in 0..1 + random.below(3) {
        file.change(&mut random, by_bytes);
    }
    store(&file.write(), data, size, max_size)
}

/// Writes the file `data` to `out` with opcodes of the file `other`, and returns its size; 0 if it has none that fit.
pub fn cross(data: &[u8], other: &[u8], out: &mut [u8], seed: u32) -> usize {
    let mut random = Random::new(seed.into());
    let (Some(mut file), Some(mut donor)) = (File::read(data), File::read(other)) else { return 0 };
    take_over(file.object(), donor.object(), &mut random);
    let max_size = out.len();
    store(&file.write(), out, 0, max_size).unwrap_or(0)
}

/// Changes the numbers of an entry of an archive, drops, doubles or renames it. The entry of the pickle, at `place`, stays.
fn change_entries(entries: &mut Vec<Entry>, place: &mut usize, random: &mut Random, by_bytes: ByBytes) {
    let (i, other) = (random.below(entries.len()), random.below(entries.len()));
    match random.below(6) {
        0 if i != *place => {
            entries.remove(i);
            *place -= usize::from(i < *place);
        }
        1 => entries.push(entries[i].clone()),
        2 => entries[i].name = entries[other].name.clone(),
        3 => {
            let folder = entries[i].name.iter().position(|&byte| byte == b'/').map_or(0, |at| at + 1);
            entries[i].name.truncate(folder);
            entries[i].name.extend(ENTRIES[random.below(ENTRIES.len())].bytes());
        }
        4 => entries[i].data = entries[other].data.clone(),
        _ => scramble(&mut entries[i].data, by_bytes),
    }
}

/// Copies a few opcodes of `donor` into `ops`.
fn take_over(ops: &mut Vec<Op>, donor: &[Op], random: &mut Random) {
    const MOST: usize = 40;
    let from = random.below(donor.len().max(1));
    let len = random.below(MOST.min(donor.len() - from) + 1);
    let to = random.below(ops.len() + 1);
    let replaced = if random.below(2) == 0 { 0 } else { random.below(len + 1).min(ops.len() - to) };
    ops.splice(to..to + replaced, donor[from..from + len].iter().cloned());
}

/// Changes the opcodes of a pickle.
fn change_ops(ops: &mut Vec<Op>, random: &mut Random, by_bytes: ByBytes) {
    if ops.is_empty() {
        return ops.push(Op::new(b'}', &[]));
    }
    let (i, other) = (random.below(ops.len()), random.below(ops.len()));
    match random.below(12) {
        0 => drop(ops.remove(i)),
        1 => ops.insert(i, ops[other].clone()),
        2 => ops.swap(i, other),
        3 => {
            let donor = ops.clone();
            take_over(ops, &donor, random);
        }
        4 => {
            let kind = KINDS.into_iter().find(|codes| codes.contains(&ops[i].code));
            ops[i].code = *random.pick(kind.unwrap_or(KINDS[2])).unwrap_or(&b'N');
        }
        5 => {
            let codes = KINDS.concat();
            ops.insert(i, Op::new(codes[random.below(codes.len())], &[2, 0, 0, 0]));
        }
        _ => {
            // Each kind of argument as often, though most opcodes store in the memo.
            let kinds: [&[u8]; 4] = [b"JKM\x8a\x8b", b"XTUBC\x8c\x8d\x8e\x96", b"qrhj", b"c"];
            let codes = kinds[random.below(kinds.len())];
            let some: Vec<usize> = (0..ops.len()).filter(|&i| codes.contains(&ops[i].code)).collect();
            let op = random.pick(&some).copied().unwrap_or(i);
            let others: Vec<Vec<u8>> = some.iter().map(|&i| ops[i].argument.clone()).collect();
            change_argument(&mut ops[op], &others, random, by_bytes);
        }
    }
}

/// Changes the argument of `op` among `others` of its kind.
fn change_argument(op: &mut Op, others: &[Vec<u8>], random: &mut Random, by_bytes: ByBytes) {
    let choice = random.below(6);
    match op.code {
        _ if choice == 0 => scramble(&mut op.argument, by_bytes),
        _ if choice == 1 => op.argument = random.pick(others).cloned().unwrap_or_default(),
        b'J' | b'K' | b'M' | 0x8a | 0x8b => {
            let value = if choice == 2 { random.below(8) as i64 } else { random.integer() };
            let wide = value.to_le_bytes();
            *op = match value {
                0..=255 => Op::new(b'K', &wide[..1]),
                _ if i32::try_from(value).is_ok() => Op::new(b'J', &wide[..4]),
                _ => Op::new(0x8a, &wide),
            };
        }
        b'c' => op.argument = GLOBALS[random.below(GLOBALS.len())].into(),
        b'q' | b'r' | b'h' | b'j' => op.argument = vec![random.below(32) as u8, 0, 0, 0],
        _ => op.argument = TEXTS[random.below(TEXTS.len())].into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: [&[u8]; 5] = [
        include_bytes!("../../corpus/pth/seed-legacy"),
        include_bytes!("../../corpus/pth/seed-legacy4"),
        include_bytes!("../../corpus/pth/seed-zip"),
        include_bytes!("../../corpus/pth/seed-checkpoint"),
        include_bytes!("../../corpus/pth/seed-call"),
    ];

    /// Stands for libFuzzer's mutation of bytes.
    fn reversed(bytes: &mut [u8], size: usize, _: usize) -> usize {
        bytes[..size].reverse();
        size
    }

    #[test]
    fn a_file_is_written_as_it_was_read() {
        for seed in SEEDS {
            let written = File::read(seed).unwrap().write();
            match archive::read(seed) {
                Some(entries) => assert_eq!(archive::read(&written), Some(entries)),
                None => assert_eq!(written, seed),
            }
            assert_eq!(File::read(&written).unwrap().write(), written);
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
                assert!(File::read(&data[..size]).is_some() && data[..size] != *seed, "{i}");
                mutated += 1;
            }
            let size = cross(seed, SEEDS[(i as usize + 1) % SEEDS.len()], &mut data, i);
            assert!(size == 0 || File::read(&data[..size]).is_some(), "{i}");
            crossed += u32::from(size > 0);
        }
        assert!(mutated > 400 && crossed > 400, "{mutated} mutated, {crossed} crossed");
    }

    fn pickle(code: u8) -> Vec<u8> {
        vec![0x80, 2, code, b'.']
    }

    #[test]
    fn an_old_file_has_five_pickles_and_a_rest() {
        let bytes: Vec<u8> = b"]}N])".iter().flat_map(|&code| pickle(code)).chain(*b"rest.").collect();
        let mut file = File::read(&bytes).unwrap();
        assert_eq!((file.pickles.len(), &file.rest[..]), (5, &b"rest."[..]));
        assert_eq!(file.object()[1], Op::new(b']', &[]));
        assert_eq!(file.write(), bytes);
    }

    #[test]
    fn the_pickle_of_an_archive_stays_in_it() {
        let entry = |name: &str, data: &[u8]| Entry { name: name.into(), data: data.to_vec() };
        let bytes = archive::write(&[entry("x/data/0", b"1234"), entry("x/data.pkl", &pickle(b'}'))]);
        let mut file = File::read(&bytes).unwrap();
        assert_eq!(file.object(), &[Op::new(0x80, &[2]), Op::new(b'}', &[])]);
        file.object()[1].code = b']';
        let entries = archive::read(&file.write()).unwrap();
        assert_eq!(entries[1], entry("x/data.pkl", &pickle(b']')));
        let by_bytes = |_: &mut [u8], size: usize, _: usize| size;
        for seed in 0..200 {
            let (mut entries, mut place) = (archive::read(&bytes).unwrap(), 1);
            change_entries(&mut entries, &mut place, &mut Random::new(seed), &by_bytes);
            let mut file = File::read(&bytes).unwrap();
            file.archive = Some((entries, place));
            let written = archive::read(&file.write()).unwrap();
            assert!(written.iter().any(|entry| entry.data == pickle(b'}')), "seed {seed}");
        }
    }
}
