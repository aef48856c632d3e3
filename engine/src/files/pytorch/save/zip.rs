//! A zip archive of stored entries whose data start at multiples of 64 bytes, as PyTorch aligns storages, so that it can
//! map them into memory.
//!
//! ```text
//!   header name [sizes of 64 bits] FB ZZZZ │data│ header name … │data│ directory [its end in 64 bits] its end
//!                                  padding └── at a multiple of 64
//! ```
//!
//! Numbers that need more than 32 bits have places of their own (PKWARE's APPNOTE, sections 4.3.14, 4.3.15 and 4.5.3).

use std::io::{self, Write};

/// The multiple at which data start.
const ALIGNMENT: u64 = 64;

/// Bytes of a header without its name.
const HEADER_LEN: u64 = 30;

/// A number in a field of 32 bits that says that the real one is elsewhere.
const ELSEWHERE: u32 = u32::MAX;

/// The versions of the format that have stored entries, and numbers of 64 bits.
const VERSIONS: [u16; 2] = [20, 45];

/// The first of January 1980, the earliest day: the same network gives the same bytes.
const DATE: u16 = 1 << 5 | 1;

/// An archive that is being written.
pub(super) struct Zip<'w> {
    out: &'w mut dyn Write,
    /// Bytes written.
    at: u64,
    directory: Vec<u8>,
    count: u64,
}

/// Writes the data of an entry.
pub(super) type Data<'a> = &'a dyn Fn(&mut dyn Write) -> io::Result<()>;

impl<'w> Zip<'w> {
    pub fn new(out: &'w mut dyn Write) -> Self {
        Self { out, at: 0, directory: Vec::new(), count: 0 }
    }

    /// Adds the entry `name`. `data` is called twice and must write the same bytes: the checksum comes before them.
    pub fn add(&mut self, name: &str, data: Data) -> io::Result<()> {
        let mut tally = Tally { hasher: crc32fast::Hasher::new(), len: 0 };
        data(&mut tally)?;
        let entry = Entry { name, crc: tally.hasher.finalize(), len: tally.len, header: self.at };
        let header = entry.header();
        self.out.write_all(&header)?;
        data(self.out)?;
        self.at += header.len() as u64 + entry.len;
        self.directory.extend(entry.record());
        self.count += 1;
        Ok(())
    }

    /// Writes the directory.
    pub fn finish(self) -> io::Result<()> {
        self.out.write_all(&self.directory)?;
        self.out.write_all(&end(self.count, self.directory.len() as u64, self.at))
    }
}

/// Counts and sums the bytes that are written to it.
struct Tally {
    hasher: crc32fast::Hasher,
    len: u64,
}

impl Write for Tally {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An entry, whose header starts at `header`.
struct Entry<'a> {
    name: &'a str,
    crc: u32,
    len: u64,
    header: u64,
}

impl Entry<'_> {
    /// The header, and padding up to the data.
    fn header(&self) -> Vec<u8> {
        let large = if is_large(self.len) { wide(&[self.len; 2]) } else { Vec::new() };
        let start = self.header + HEADER_LEN + (self.name.len() + large.len() + 4) as u64;
        let padding = (start.next_multiple_of(ALIGNMENT) - start) as u16;
        let mut extra = large;
        extra.extend(b"FB");
        extra.extend(padding.to_le_bytes());
        extra.extend(std::iter::repeat_n(b'Z', padding.into()));
        let mut header = b"PK\x03\x04".to_vec();
        header.extend(self.described(is_large(self.len), extra.len()));
        header.extend(self.name.as_bytes());
        header.extend(extra);
        header
    }

    /// The entry of the directory.
    fn record(&self) -> Vec<u8> {
        // The length is that of the data, and that of the data as they are stored.
        let numbers: Vec<u64> =
            [self.len, self.len, self.header].into_iter().filter(|&number| is_large(number)).collect();
        let extra = if numbers.is_empty() { Vec::new() } else { wide(&numbers) };
        let mut record = b"PK\x01\x02".to_vec();
        record.extend(VERSIONS[usize::from(!extra.is_empty())].to_le_bytes());
        record.extend(self.described(!extra.is_empty(), extra.len()));
        // No comment, on the first disk, without attributes.
        record.extend([0; 10]);
        record.extend(narrow(self.header).to_le_bytes());
        record.extend(self.name.as_bytes());
        record.extend(extra);
        record
    }

    /// What header and record have in common: version, flags, method, time, date, checksum, lengths.
    fn described(&self, large: bool, extra: usize) -> Vec<u8> {
        let mut bytes = VERSIONS[usize::from(large)].to_le_bytes().to_vec();
        [0, 0, 0, DATE].iter().for_each(|field| bytes.extend(field.to_le_bytes()));
        [self.crc, narrow(self.len), narrow(self.len)]
            .iter()
            .for_each(|field| bytes.extend(field.to_le_bytes()));
        [self.name.len(), extra].iter().for_each(|&len| bytes.extend((len as u16).to_le_bytes()));
        bytes
    }
}

/// The end of a directory of `count` entries, whose `len` bytes start at `start`.
fn end(count: u64, len: u64, start: u64) -> Vec<u8> {
    let mut end = Vec::new();
    if count >= u64::from(u16::MAX) || is_large(len) || is_large(start) {
        end.extend(b"PK\x06\x06");
        end.extend(44u64.to_le_bytes());
        // Made by, and needed by.
        [VERSIONS[1]; 2].iter().for_each(|version| end.extend(version.to_le_bytes()));
        end.extend([0; 8]);
        [count, count, len, start].iter().for_each(|number| end.extend(number.to_le_bytes()));
        end.extend(b"PK\x06\x07");
        end.extend([0; 4]);
        end.extend((start + len).to_le_bytes());
        end.extend(1u32.to_le_bytes());
    }
    end.extend(b"PK\x05\x06");
    end.extend([0; 4]);
    let entries = u16::try_from(count).unwrap_or(u16::MAX);
    [entries, entries].iter().for_each(|number| end.extend(number.to_le_bytes()));
    [narrow(len), narrow(start)].iter().for_each(|number| end.extend(number.to_le_bytes()));
    end.extend([0; 2]);
    end
}

/// Whether `number` has no place in 32 bits.
fn is_large(number: u64) -> bool {
    number >= ELSEWHERE.into()
}

/// `number` in a field of 32 bits.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(ELSEWHERE)
}

/// The extra field of `numbers` in 64 bits.
fn wide(numbers: &[u64]) -> Vec<u8> {
    let mut field = 1u16.to_le_bytes().to_vec();
    field.extend((8 * numbers.len() as u16).to_le_bytes());
    numbers.iter().for_each(|number| field.extend(number.to_le_bytes()));
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::pytorch::archive::{self, Archive};

    fn written(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut zip = Zip::new(&mut bytes);
        for (name, data) in entries {
            zip.add(name, &|out| out.write_all(data)).unwrap();
        }
        zip.finish().unwrap();
        bytes
    }

    #[test]
    fn entries_are_aligned_and_read_back() {
        for count in [0, 1, 5] {
            let entries: Vec<(String, Vec<u8>)> =
                (0..count).map(|i| (format!("x/{}", "n".repeat(i * 31)), vec![i as u8; i * 70])).collect();
            let bytes = written(&entries);
            let archive = Archive::parse(&bytes).unwrap();
            assert_eq!(archive.names().count(), count);
            for (name, data) in &entries {
                let place = archive.find(name).unwrap().unwrap();
                assert_eq!((place.start % 64, &bytes[place]), (0, &data[..]), "{name}");
            }
        }
    }

    #[test]
    fn more_entries_than_sixteen_bits_count_are_read_back() {
        let entries: Vec<(String, Vec<u8>)> = (0..70_000).map(|i| (i.to_string(), Vec::new())).collect();
        for count in [65_534, 65_535, 65_536, 70_000] {
            let bytes = written(&entries[..count]);
            assert_eq!(Archive::parse(&bytes).unwrap().names().count(), count);
        }
    }

    #[test]
    fn numbers_of_more_than_32_bits_are_read_back() {
        let edge = u64::from(u32::MAX);
        for (len, header) in
            [(7, 9), (edge - 1, edge - 1), (edge, 5), (5, edge), (edge + 1, 1 << 40), (1 << 50, 3)]
        {
            let entry = Entry { name: "n", crc: 77, len, header };
            let record = entry.record();
            let extra = &record[archive::RECORD_LEN + 1..];
            assert_eq!(usize::from(u16::from_le_bytes([record[30], record[31]])), extra.len());
            let read = archive::entry(&record, extra).unwrap();
            assert_eq!((read.len, read.header, read.crc, read.problem), (len, header, 77, None));
            let header_bytes = entry.header();
            assert_eq!((header + header_bytes.len() as u64) % 64, 0);
            let fields =
                [26, 28].map(|at| usize::from(u16::from_le_bytes([header_bytes[at], header_bytes[at + 1]])));
            assert_eq!(30 + fields[0] + fields[1], header_bytes.len());
        }
    }
}
