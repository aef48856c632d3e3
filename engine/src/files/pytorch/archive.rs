//! The zip archive that `torch.save` writes since PyTorch 1.6: stored entries `NAME/data.pkl`, the pickle, and
//! `NAME/data/KEY`, the numbers of each storage.
//!
//! The directory at the end of the file lists the entries (PKWARE's APPNOTE, sections 4.3.12 to 4.3.16). An entry is a
//! range of the file, so that nothing grows by being read.

use std::collections::HashMap;
use std::ops::Range;

/// The entries of an archive.
pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    entries: HashMap<&'a str, Entry>,
}

pub(super) struct Entry {
    /// Position of its header.
    pub header: u64,
    pub len: u64,
    pub crc: u32,
    /// Why it cannot be read, if so: scripts of TorchScript are compressed.
    pub problem: Option<&'static str>,
}

/// Signatures of a file's header, a directory's record, and the ends of the directory.
const HEADER: &[u8] = b"PK\x03\x04";
const RECORD: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";

/// Bytes of a header, a record and an end without their names and comments.
const HEADER_LEN: usize = 30;
pub(super) const RECORD_LEN: usize = 46;
const END_LEN: usize = 22;

impl<'a> Archive<'a> {
    /// Whether a file that starts with `bytes` is an archive.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(HEADER)
    }

    /// Reads the directory.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let [count, len, start] = end(bytes)?;
        let directory =
            part(bytes, start, len).ok_or("the directory of the archive lies outside the file")?;
        let (mut entries, mut at) = (HashMap::new(), 0);
        while at < directory.len() {
            let record = &directory[at..];
            if record.len() < RECORD_LEN || !record.starts_with(RECORD) {
                return Err("the directory of the archive is damaged".into());
            }
            let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(u16_at(record, at)));
            let total = RECORD_LEN + name + extra + comment;
            if record.len() < total {
                return Err("the directory of the archive is damaged".into());
            }
            let (name, extra) = record[RECORD_LEN..].split_at(name);
            let name = std::str::from_utf8(name).map_err(|_| "a name in the archive is not UTF-8")?;
            let entry = entry(record, &extra[..u16_at(record, 30).into()])?;
            if entries.insert(name, entry).is_some() {
                return Err(format!("the archive has two entries `{name}`"));
            }
            at += total;
        }
        if entries.len() as u64 != count {
            return Err(format!("the archive claims {count} entries and has {}", entries.len()));
        }
        apart(&entries, start)?;
        Ok(Self { bytes, entries })
    }

    /// The names of the entries.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.entries.keys().copied()
    }

    /// The place of an entry in the file, whose checksum is checked; `None` if there is no such entry.
    pub fn find(&self, name: &str) -> Result<Option<Range<usize>>, String> {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        if let Some(problem) = entry.problem {
            return Err(format!("entry `{name}` of the archive is {problem}"));
        }
        let outside = || format!("entry `{name}` of the archive lies outside the file");
        let header = part(self.bytes, entry.header, HEADER_LEN as u64).ok_or_else(outside)?;
        if !header.starts_with(HEADER) {
            return Err(format!("entry `{name}` of the archive has no header"));
        }
        let names = u64::from(u16_at(header, 26)) + u64::from(u16_at(header, 28));
        let start = entry.header + HEADER_LEN as u64 + names;
        let data = part(self.bytes, start, entry.len).ok_or_else(outside)?;
        match crc32fast::hash(data) == entry.crc {
            true => Ok(Some(start as usize..start as usize + data.len())),
            false => Err(format!("entry `{name}` of the archive is damaged: its checksum is wrong")),
        }
    }
}

/// Refuses entries that share bytes with each other or with the directory at `directory`: together they would be far more
/// than the file.
fn apart(entries: &HashMap<&str, Entry>, directory: u64) -> Result<(), String> {
    let readable = entries.iter().filter(|(_, entry)| entry.problem.is_none());
    let mut places: Vec<_> = readable.map(|(&name, entry)| (entry.header, entry.len, name)).collect();
    places.sort_unstable();
    let nexts = places.iter().skip(1).map(|&(header, ..)| header).chain([directory]);
    for (&(header, len, name), next) in places.iter().zip(nexts) {
        if header.saturating_add(HEADER_LEN as u64).saturating_add(len) > next {
            return Err(format!("entry `{name}` of the archive overlaps what follows it"));
        }
    }
    Ok(())
}

/// Number of entries, length and start of the directory.
fn end(bytes: &[u8]) -> Result<[u64; 3], String> {
    let missing = "the file is truncated: it has no directory at its end";
    // A comment of up to 65,535 bytes may follow.
    let last = bytes.len().checked_sub(END_LEN).ok_or(missing)?;
    let mut places = (last.saturating_sub(usize::from(u16::MAX))..=last).rev();
    let at = places.find(|&at| bytes[at..].starts_with(END)).ok_or(missing)?;
    let short = &bytes[at..];
    let locator = at.checked_sub(20).map(|at| &bytes[at..]).filter(|locator| locator.starts_with(LOCATOR_64));
    let Some(locator) = locator else {
        return Ok([u16_at(short, 10).into(), u32_at(short, 12).into(), u32_at(short, 16).into()]);
    };
    let long = part(bytes, u64_at(locator, 8), 56).filter(|long| long.starts_with(END_64));
    let long = long.ok_or("the directory of the archive is damaged")?;
    Ok([32, 40, 48].map(|at| u64_at(long, at)))
}

/// The entry that a record describes.
pub(super) fn entry(record: &[u8], mut extra: &[u8]) -> Result<Entry, String> {
    let [mut packed, mut len, mut header] = [20, 24, 42].map(|at| u64::from(u32_at(record, at)));
    while extra.len() >= 4 {
        let (kind, size) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let (field, rest) = extra[4..].split_at_checked(size).ok_or("a name in the archive is damaged")?;
        if kind == 1 {
            // The sizes that do not fit into 32 bits, in this order.
            let mut fields = field.as_chunks().0.iter().map(|&bytes| u64::from_le_bytes(bytes));
            for value in
                [&mut len, &mut packed, &mut header].into_iter().filter(|value| **value == 0xFFFF_FFFF)
            {
                *value = fields.next().ok_or("a size in the archive is damaged")?;
            }
        }
        extra = rest;
    }
    let problem = match (u16_at(record, 8) & 1, u16_at(record, 10)) {
        (0, 0) if packed == len => None,
        (0, 0) => Some("stored with another size than its own"),
        (0, _) => Some("compressed, which the weights of PyTorch never are"),
        _ => Some("encrypted"),
    };
    Ok(Entry { header, len, crc: u32_at(record, 16), problem })
}

/// `len` bytes from `start` on, if the file has them.
fn part(bytes: &[u8], start: u64, len: u64) -> Option<&[u8]> {
    let end = start.checked_add(len)?;
    bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
