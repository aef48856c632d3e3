//! A zip archive of stored entries as a list of these, and back. Headers, checksums and the directory are written as they have to
//! be (PKWARE's APPNOTE, sections 4.3.7, 4.3.12 and 4.3.16).

/// An entry of an archive.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: Vec<u8>,
    pub data: Vec<u8>,
}

/// Lengths of a header, a record of the directory and the end without their names.
const HEADER_LEN: usize = 30;
const RECORD_LEN: usize = 46;
const END_LEN: usize = 22;

/// Reads the entries that the directory of the archive `bytes` lists; `None` if there is no such directory.
pub fn read(bytes: &[u8]) -> Option<Vec<Entry>> {
    let last = bytes.len().checked_sub(END_LEN)?;
    let end = (0..=last).rev().find(|&at| bytes[at..].starts_with(b"PK\x05\x06"))?;
    let [len, mut at] = [12, 16].map(|field| number::<4>(bytes, end + field));
    let directory_end = at?.checked_add(len?)?;
    let mut entries = Vec::new();
    while at? < directory_end {
        let record = bytes.get(at?..directory_end)?;
        let [name, extra, comment] = [28, 30, 32].map(|field| number::<2>(record, field));
        let header = number::<4>(record, 42)?;
        let data = header + HEADER_LEN + number::<2>(bytes, header + 26)? + number::<2>(bytes, header + 28)?;
        let name = record.get(RECORD_LEN..RECORD_LEN + name?)?.to_vec();
        at = at.map(|at| at + RECORD_LEN + name.len() + extra.unwrap_or(0) + comment.unwrap_or(0));
        let data = bytes.get(data..data.checked_add(number::<4>(record, 20)?)?)?.to_vec();
        entries.push(Entry { name, data });
    }
    Some(entries)
}

/// The little-endian number of `N` bytes at `at`.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(N)?)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
}

/// The archive of `entries`.
pub fn write(entries: &[Entry]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    let zeros = |bytes: &mut Vec<u8>, count: usize| bytes.resize(bytes.len() + count, 0);
    for Entry { name, data } in entries {
        let start = out.len() as u32;
        let mut described = crc32fast::hash(data).to_le_bytes().to_vec();
        described.extend([data.len() as u32; 2].map(u32::to_le_bytes).concat());
        described.extend((name.len() as u16).to_le_bytes());
        // Neither flags, method, time nor extra fields.
        out.extend(b"PK\x03\x04");
        zeros(&mut out, 10);
        out.extend(&described);
        zeros(&mut out, 2);
        out.extend(name);
        out.extend(data);
        directory.extend(b"PK\x01\x02");
        zeros(&mut directory, 12);
        directory.extend(&described);
        zeros(&mut directory, 12);
        directory.extend(start.to_le_bytes());
        directory.extend(name);
    }
    let (start, count) = (out.len() as u32, (entries.len() as u16).to_le_bytes());
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count, count].concat());
    out.extend([directory.len() as u32, start].map(u32::to_le_bytes).concat());
    zeros(&mut out, 2);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_were_written() {
        let entry = |name: &str, data: &[u8]| Entry { name: name.into(), data: data.to_vec() };
        let entries = [entry("x/data.pkl", b"pickle"), entry("", b""), entry("x/data/0", &[7; 300])];
        for count in 0..=entries.len() {
            let bytes = write(&entries[..count]);
            assert_eq!(read(&bytes).unwrap(), entries[..count]);
            // Some byte of the directory is missing.
            assert_eq!(read(&bytes[..bytes.len() - 1]), None);
        }
    }
}
