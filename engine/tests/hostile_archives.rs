//! Archives of PyTorch that claim far more than they hold: each is refused at once. Alone in its binary: the counter of memory
//! sees every thread of the process.

use lopper_engine::{Graph, torchvision};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What reading a file may allocate in all: this many times its bytes, and a megabyte.
const FACTOR: usize = 8;

/// How long a refusal may take, on a busy machine.
const LONGEST: Duration = Duration::from_secs(10);

/// A line of the directory at the end of an archive.
#[derive(Clone)]
struct Record {
    name: String,
    method: u16,
    packed: u32,
    len: u32,
    crc: u32,
    header: u32,
    extra: Vec<u8>,
}

impl Record {
    fn bytes(&self) -> Vec<u8> {
        let [name, extra] = [self.name.len(), self.extra.len()].map(|len| (len as u16).to_le_bytes());
        let sizes = [self.crc, self.packed, self.len].map(u32::to_le_bytes).concat();
        let start = [b"PK\x01\x02", &[0; 6][..], &self.method.to_le_bytes(), &[0; 4], &sizes].concat();
        let place = [&name[..], &extra, &[0; 10], &self.header.to_le_bytes()].concat();
        [start, place, self.name.clone().into_bytes(), self.extra.clone()].concat()
    }
}

/// The sizes and the place of an entry that do not fit into 32 bits.
fn long(values: &[u64]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    [&1u16.to_le_bytes()[..], &(values.len() as u16).to_le_bytes(), &values].concat()
}

/// The bytes of `entries` behind their headers, and the directory that describes them.
fn stored(entries: &[(&str, &[u8])]) -> (Vec<u8>, Vec<Record>) {
    let (mut file, mut records) = (Vec::new(), Vec::new());
    for &(name, data) in entries {
        let (header, len) = (file.len() as u32, data.len() as u32);
        file.extend([b"PK\x03\x04", &[0; 22][..], &(name.len() as u16).to_le_bytes(), &[0; 2]].concat());
        file.extend(name.as_bytes());
        file.extend(data);
        let crc = crc32fast::hash(data);
        let name = name.to_string();
        records.push(Record { name, method: 0, packed: len, len, crc, header, extra: Vec::new() });
    }
    (file, records)
}

/// The archive of `file` and `records`, whose last bytes say `count` records of `len` bytes, where it is not what they are.
fn archive((mut file, records): (Vec<u8>, Vec<Record>), [count, len, start]: [Option<u32>; 3]) -> Vec<u8> {
    let directory: Vec<u8> = records.iter().flat_map(Record::bytes).collect();
    let count = count.unwrap_or(records.len() as u32) as u16;
    let place = [len.unwrap_or(directory.len() as u32), start.unwrap_or(file.len() as u32)];
    file.extend(directory);
    file.extend([b"PK\x05\x06", &[0; 4][..], &count.to_le_bytes(), &count.to_le_bytes()].concat());
    file.extend(place.map(u32::to_le_bytes).concat());
    file.extend([0; 2]);
    file
}

/// A file whose directory is described in 64 bits.
fn archive_of_64_bits((mut file, records): (Vec<u8>, Vec<Record>), [count, len, start]: [u64; 3]) -> Vec<u8> {
    file.extend(records.iter().flat_map(Record::bytes));
    let end = file.len() as u64;
    file.extend([b"PK\x06\x06", &[0; 28][..]].concat());
    file.extend([count, len, start].map(u64::to_le_bytes).concat());
    file.extend([b"PK\x06\x07", &[0; 4][..], &end.to_le_bytes(), &[0; 4]].concat());
    file.extend([b"PK\x05\x06", &[0xFF; 16][..], &[0; 2]].concat());
    file
}

/// A deflated block that becomes almost four gigabytes of zeros. Its codes take a bit for a run of 258 bytes, and a bit for the
/// distance 1; both are 0, so that each byte of the block is 1032 bytes.
fn bomb() -> Vec<u8> {
    let codes = *b"\xed\xc0\x81\x00\x00\x00\x00\x80\xa0\xfd\xa9\x17\xa9\x00";
    [&codes[..], &vec![0; RUNS], &[6]].concat()
}

const RUNS: usize = 3_900_000;

/// What [`bomb`] becomes.
const INFLATED: u32 = 1032 * RUNS as u32 + 1033;

/// The pickle of a tensor of four numbers in the entry `data/0`.
fn pickle() -> Vec<u8> {
    view(b"K\x04", 1)
}

/// The pickle of a tensor of `len` numbers, an opcode, with the step `step` in the four of the entry `data/0`.
fn view(len: &[u8], step: u8) -> Vec<u8> {
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let storage =
        [b"(", &text("storage")[..], b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), b"K\x04tQ"];
    let place = [b"K\0(", len, b"t(K", &[step], b"t\x89}tR"].concat();
    let tensor = [b"ctorch._utils\n_rebuild_tensor_v2\n(", &storage.concat()[..], &place];
    [b"\x80\x02}", &text("fc.bias")[..], &tensor.concat(), b"s."].concat()
}

/// Asserts that `file` is refused with `words`.
#[track_caller]
fn assert_refused(name: &str, file: &[u8], words: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.pth");
    std::fs::write(&path, file).unwrap();
    let mut graph = Graph::new(1);
    graph.info.input = [1, 1, 1];
    let (region, start) = (Region::new(ALLOCATOR), Instant::now());
    let result = torchvision::import_weights(&mut graph, &path);
    let (allocated, took) = (region.change().bytes_allocated, start.elapsed());
    let message = result.expect_err(name).to_string();
    assert!(message.starts_with(&format!("{}: ", path.display())), "{name}: {message}");
    assert!(message.contains(words) && !message.contains('\n'), "{name}: {message}");
    assert!(allocated <= FACTOR * file.len() + (1 << 20), "{name}: {allocated} bytes for {}", file.len());
    assert!(took <= LONGEST, "{name}: {took:?}");
}

#[test]
fn an_archive_that_claims_more_than_it_holds_is_refused() {
    assert_refused("no tensors, but read", &archive(stored(&two()), [None; 3]), "`fc.bias`");
    compressed_entries();
    sizes_and_places();
    shared_bytes();
    repeated_numbers();
    directories();
}

/// A pickle and the numbers of its tensor.
fn two() -> [(&'static str, &'static [u8]); 2] {
    [("x/data.pkl", pickle().leak()), ("x/data/0", &[0; 16])]
}

/// [`two`] with a directory that `change` changes.
fn changed(change: impl Fn(&mut [Record])) -> Vec<u8> {
    let (file, mut records) = stored(&two());
    change(&mut records);
    archive((file, records), [None; 3])
}

fn compressed_entries() {
    let bomb = bomb();
    for (place, entries) in
        [[("x/data.pkl", &bomb[..]), two()[1]], [two()[0], ("x/data/0", &bomb)]].iter().enumerate()
    {
        let (file, mut records) = stored(entries);
        (records[place].method, records[place].len) = (8, INFLATED);
        let words = "of the archive is compressed, which the weights of PyTorch never are";
        assert_refused("a bomb", &archive((file, records), [None; 3]), words);
    }
}

fn sizes_and_places() {
    const FAR: u64 = 1 << 63;
    let two_sizes = changed(|records| records[0].len = 4_000_000_000);
    assert_refused("two sizes", &two_sizes, "is stored with another size than its own");
    let [most, overlaps] = [u32::MAX, 4_000_000_000]
        .map(|len| changed(|records| (records[1].len, records[1].packed) = (len, len)));
    assert_refused("4 GB", &overlaps, "overlaps what follows it");
    assert_refused("a size of 32 bits that is all ones", &most, "overlaps what follows it");
    let far = changed(|records| {
        (records[1].len, records[1].packed, records[1].extra) = (u32::MAX, u32::MAX, long(&[FAR, FAR]));
    });
    assert_refused("2⁶³ bytes", &far, "overlaps what follows it");
    let behind = changed(|records| (records[1].header, records[1].extra) = (u32::MAX, long(&[u64::MAX])));
    assert_refused("an entry at 2⁶⁴", &behind, "overlaps what follows it");
    let missing = changed(|records| (records[1].len, records[1].extra) = (u32::MAX, long(&[])));
    assert_refused("no size of 64 bits", &missing, "a size in the archive is damaged");
    let elsewhere = changed(|records| records[0].header += 1);
    assert_refused("no header", &elsewhere, "entry `x/data.pkl` of the archive has no header");
}

/// Entries that are small each, but are the same bytes of the file.
fn shared_bytes() {
    let numbers = vec![0; 1 << 20];
    let (file, mut records) = stored(&[two()[0], ("x/data/0", &numbers)]);
    let last = records[1].clone();
    records.extend((1..20_000).map(|i| Record { name: format!("x/data/{i}"), ..last.clone() }));
    assert_refused(
        "20,000 names of one place",
        &archive((file, records), [None; 3]),
        "overlaps what follows it",
    );
    let (file, mut records) = stored(&two());
    let rest = [&file[records[1].header as usize + 38..], &Record::bytes(&records[0])].concat();
    let last = &mut records[1];
    (last.len, last.packed, last.crc) = (rest.len() as u32, rest.len() as u32, crc32fast::hash(&rest));
    assert_refused(
        "numbers in the directory",
        &archive((file, records), [None; 3]),
        "overlaps what follows it",
    );
}

/// A tensor that has one number a hundred million times.
fn repeated_numbers() {
    let repeated = view(&[b"J", &100_000_000u32.to_le_bytes()[..]].concat(), 0);
    let file = archive(stored(&[("x/data.pkl", &repeated), two()[1]]), [None; 3]);
    assert_refused(
        "one number",
        &file,
        "tensor `fc.bias` repeats its numbers more often than the file has bytes",
    );
}

fn directories() {
    let outside = "the directory of the archive lies outside the file";
    let file = || stored(&two());
    assert_refused("a long directory", &archive(file(), [None, Some(u32::MAX), None]), outside);
    assert_refused("a far directory", &archive(file(), [None, None, Some(u32::MAX - 1)]), outside);
    let many = archive(file(), [Some(65_535), None, None]);
    assert_refused("many entries", &many, "the archive claims 65535 entries and has 2");
    for (len, start) in [(1 << 40, 0), (100, u64::MAX - 50), (u64::MAX, u64::MAX)] {
        assert_refused("64 bits", &archive_of_64_bits(file(), [2, len, start]), outside);
    }
    let (content, records) = file();
    let (start, len) = (content.len() as u64, records.iter().map(|record| record.bytes().len() as u64).sum());
    let many = archive_of_64_bits(file(), [u64::MAX, len, start]);
    assert_refused("2⁶⁴ entries", &many, "the archive claims 18446744073709551615 entries and has 2");
    let twice = changed(|records| records[1].name.clone_from(&records[0].name.clone()));
    assert_refused("two of a name", &twice, "the archive has two entries `x/data.pkl`");
}
