//! Mutations with some knowledge of the formats: most bugs are triggered by a single number.

/// Numbers in text form that are at or just beyond some limit.
const NUMBERS: [&str; 28] = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "7",
    "8",
    "9",
    "16",
    "17",
    "31",
    "64",
    "100",
    "255",
    "1000",
    "65535",
    "65536",
    "65537",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "-1",
    "1e39",
    "1e-300",
    "nan",
    "inf",
];

/// Such numbers in binary form.
const FIELDS: [u32; 14] =
    [0, 1, 2, 3, 8, 64, 255, 256, 4096, 65_535, 65_536, 1 << 20, i32::MAX as u32, u32::MAX];

/// Integers that are at or just beyond some limit, or count axes from the last.
pub const INTEGERS: [i64; 28] = [
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    16,
    17,
    64,
    255,
    256,
    1000,
    65_535,
    65_536,
    65_537,
    1 << 20,
    i32::MAX as i64,
    u32::MAX as i64,
    1 << 32,
    1 << 40,
    i64::MAX,
    i64::MIN,
    -1,
    -2,
    -4,
];

/// Changes the bytes `data[..size]`, which may become `max_size`, and returns their number: `fuzzer_mutate` of libFuzzer, or
/// what stands for it in a test.
pub type ByBytes<'a> = &'a dyn Fn(&mut [u8], usize, usize) -> usize;

/// Deterministic random number generator (xorshift64).
pub struct Random(u64);

impl Random {
    /// Creates a generator with the given seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Returns a number below `end`, which must not be 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }

    /// Returns an element of `list`, if it has any.
    pub fn pick<'t, T>(&mut self, list: &'t [T]) -> Option<&'t T> {
        list.get(self.below(list.len().max(1)))
    }

    /// Returns one of [`INTEGERS`].
    pub fn integer(&mut self) -> i64 {
        INTEGERS[self.below(INTEGERS.len())]
    }
}

/// Changes `data` by its bytes. A few may be added.
pub fn scramble(data: &mut Vec<u8>, by_bytes: ByBytes) {
    const ROOM: usize = 16;
    let (size, max_size) = (data.len(), data.len() + ROOM);
    data.resize(max_size, 0);
    let size = by_bytes(data, size, max_size);
    data.truncate(size);
}

/// Writes `file` in place of `data[..size]` and returns its size. Returns `None` if nothing has changed, or if it exceeds
/// `max_size`.
pub fn store(file: &[u8], data: &mut [u8], size: usize, max_size: usize) -> Option<usize> {
    if file.is_empty() || file.len() > max_size || *file == data[..size] {
        return None;
    }
    data.get_mut(..file.len())?.copy_from_slice(file);
    Some(file.len())
}

/// In three of four cases, replaces a number in the text `data[..size]` by one of [`NUMBERS`] and returns the new size.
/// Otherwise, or if there is no number or the result would exceed `max_size`, returns `None`.
pub fn number(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> Option<usize> {
    let mut random = Random::new(seed.into());
    if random.below(4) == 0 {
        return None;
    }
    let digit = |i: usize| data[i].is_ascii_digit();
    let starts: Vec<usize> = (0..size).filter(|&i| digit(i) && (i == 0 || !digit(i - 1))).collect();
    let start = *starts.get(random.below(starts.len().max(1)))?;
    let end = (start..size).find(|&i| !digit(i)).unwrap_or(size);
    let number = NUMBERS[random.below(NUMBERS.len())].as_bytes();
    let new_size = size - (end - start) + number.len();
    if new_size > max_size {
        return None;
    }
    data.copy_within(end..size, start + number.len());
    data[start..start + number.len()].copy_from_slice(number);
    Some(new_size)
}

/// In every other case, writes one of [`FIELDS`] to 1, 2 or 4 bytes of `data[..size]`, in either byte order and mostly
/// near the beginning, and returns `size`. Otherwise returns `None`.
pub fn field(data: &mut [u8], size: usize, seed: u32) -> Option<usize> {
    let mut random = Random::new(seed.into());
    if random.below(2) == 0 || size < 4 {
        return None;
    }
    let (value, width) = (FIELDS[random.below(FIELDS.len())], 1 << random.below(3));
    let reach = if random.below(3) == 0 { size } else { size.min(64) };
    let at = random.below(reach - width + 1);
    let bytes = if random.below(4) == 0 { value.to_le_bytes() } else { value.to_be_bytes() };
    let bytes = if bytes[0] == 0 { &bytes[4 - width..] } else { &bytes[..width] };
    data[at..at + width].copy_from_slice(bytes);
    Some(size)
}
