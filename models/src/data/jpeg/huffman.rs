//! JPEG Huffman codes: tables, and the reader of entropy-coded data.

/// Maximum length, in bits, of codes that a single table lookup resolves.
const LOOK: u32 = 10;

/// A Huffman table.
pub(super) struct Table {
    /// For each value of the next `LOOK` bits, the length and symbol of the code at their start; length 0 for a longer
    /// code.
    look: Vec<(u8, u8)>,
    /// For each length, the end of the codes of this length (exclusive), left-aligned to 16 bits.
    limits: [u32; 17],
    /// For each length, the offset from a code to the index of its symbol.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// Reads the sixteen code counts by length and the symbols, and returns the rest of the segment (T.81, Annex C).
    pub fn read(segment: &[u8]) -> Result<(Self, &[u8]), String> {
        let damaged = || "a Huffman table of the JPEG is damaged".to_string();
        let (counts, rest) = segment.split_first_chunk::<16>().ok_or_else(damaged)?;
        let total: usize = counts.iter().map(|&n| usize::from(n)).sum();
        let (symbols, rest) = rest.split_at_checked(total).ok_or_else(damaged)?;
        let (mut look, mut limits, mut offsets) = (vec![(0, 0); 1 << LOOK], [0; 17], [0; 17]);
        let (mut code, mut place) = (0u32, 0usize);
        for length in 1..=16 {
            let count = usize::from(counts[length - 1]);
            offsets[length] = place as i32 - code as i32;
            if code as usize + count > 1 << length {
                return Err(damaged());
            }
            for &symbol in &symbols[place..place + count] {
                if length as u32 <= LOOK {
                    let spare = LOOK - length as u32;
                    look[(code << spare) as usize..((code + 1) << spare) as usize]
                        .fill((length as u8, symbol));
                }
                code += 1;
            }
            place += count;
            limits[length] = code << (16 - length);
            code <<= 1;
        }
        Ok((Self { look, limits, offsets, symbols: symbols.to_vec() }, rest))
    }
}

/// A reader of codes and bits up to the next marker. Bits past the end read as zeros, which [`Codes::overrun`] detects.
pub(super) struct Codes<'a> {
    data: &'a [u8],
    /// Position of the next byte, or of the marker that ends the data.
    at: usize,
    /// The next bits, from the highest down.
    bits: u64,
    /// Number of `bits` that were read from the data; negative if more bits were used than the data has.
    left: i32,
    ended: bool,
}

impl<'a> Codes<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, bits: 0, left: 0, ended: false }
    }

    /// Buffers at least 32 bits, or fewer at the end of the data.
    #[inline(always)]
    fn refill(&mut self) {
        if self.left >= 32 || self.ended {
            return;
        }
        if let Some(&four) = self.data.get(self.at..).and_then(|rest| rest.first_chunk::<4>())
            && !four.contains(&0xFF)
        {
            self.bits |= u64::from(u32::from_be_bytes(four)) << (32 - self.left);
            self.left += 32;
            self.at += 4;
        } else {
            self.refill_bytes();
        }
    }

    /// Reads single bytes. `FF 00` stands for the byte `FF`; `FF` before any other byte is a marker or the fill before
    /// one.
    #[cold]
    fn refill_bytes(&mut self) {
        while self.left <= 56 {
            let Some(&byte) = self.data.get(self.at) else {
                self.ended = true;
                return;
            };
            let stuffed = byte == 0xFF && self.data.get(self.at + 1) == Some(&0);
            if byte == 0xFF && !stuffed {
                self.ended = true;
                return;
            }
            self.bits |= u64::from(byte) << (56 - self.left);
            self.left += 8;
            self.at += 1 + usize::from(stuffed);
        }
    }

    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.bits <<= count;
        self.left -= count as i32;
    }

    /// The symbol of the next code, or `None` if the table has no such code.
    #[inline(always)]
    pub fn symbol(&mut self, table: &Table) -> Option<u8> {
        self.refill();
        let (length, symbol) = table.look[(self.bits >> (64 - LOOK)) as usize];
        if length > 0 {
            self.skip(length.into());
            return Some(symbol);
        }
        let next = (self.bits >> 48) as u32;
        let length = (LOOK as usize + 1..=16).find(|&length| next < table.limits[length])?;
        self.skip(length as u32);
        let place = (next >> (16 - length)) as i32 + table.offsets[length];
        table.symbols.get(place as usize).copied()
    }

    /// The symbol of the next code. Also skips the value after it, whose size in bits is in the low four bits of the
    /// symbol.
    #[inline(always)]
    pub fn coefficient(&mut self, table: &Table) -> Option<u8> {
        self.refill();
        let (length, symbol) = table.look[(self.bits >> (64 - LOOK)) as usize];
        if length > 0 {
            // Together, they take at most 25 bits, which are buffered.
            self.skip(u32::from(length) + u32::from(symbol & 15));
            return Some(symbol);
        }
        let symbol = self.symbol(table)?;
        self.pass(u32::from(symbol & 15));
        Some(symbol)
    }

    /// The next `count` bits, at most 16.
    #[inline(always)]
    pub fn bits(&mut self, count: u32) -> u32 {
        self.refill();
        let value = self.bits.checked_shr(64 - count).unwrap_or(0) as u32;
        self.skip(count);
        value
    }

    /// Skips the next `count` bits, at most 16.
    #[inline(always)]
    pub fn pass(&mut self, count: u32) {
        self.refill();
        self.skip(count);
    }

    /// Whether more bits were used than the data has.
    #[inline(always)]
    pub fn overrun(&self) -> bool {
        self.left < 0
    }

    /// Whether the data ends without a marker.
    pub fn truncated(&self) -> bool {
        self.ended && self.at + 1 >= self.data.len()
    }

    /// The position of the marker that ends the data, if only the padding of the last byte, or whole bytes of zeros or
    /// ones, which some encoders append, remain before it.
    pub fn finish(&mut self) -> Option<usize> {
        let started = self.left % 8;
        self.skip(started.max(0) as u32);
        loop {
            self.refill_bytes();
            match self.left {
                0 => return (!self.truncated()).then_some(self.at),
                1.. if matches!(self.bits >> 56, 0 | 0xFF) => self.skip(8),
                _ => return None,
            }
        }
    }
}
