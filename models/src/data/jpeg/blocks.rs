//! The codes of a block, in sequential and progressive frames. "Mean" stands for the DC coefficient.

use super::frame::Frame;
use super::huffman::{Codes, Table};
use super::tables::Part;

/// Data that violates the format.
pub(super) struct Damaged;

type Walked = Result<(), Damaged>;

/// The coefficients of each block, in zigzag order, that a scan codes, and which of their bits.
pub(super) struct Band {
    pub from: usize,
    to: usize,
    /// Whether the scan adds one bit to coefficients from earlier scans.
    refines: bool,
    /// Number of low bits left to later scans.
    pub shift: u32,
    /// Maximum size of a mean's difference, in bits; for other coefficients, it is one less.
    largest_size: u32,
}

/// The state from preceding blocks on which a block's codes depend, reset at each restart marker.
#[derive(Default)]
pub(super) struct History {
    /// Mean of the preceding block, for each component of the scan.
    pub means: [i32; 4],
    /// Number of following blocks without coded values (the end-of-band run).
    pub empty_blocks: u32,
}

impl Band {
    /// Reads the end of a scan header: the first and last coefficient, and the bit positions before and after the scan.
    /// Returns `None` if these are invalid in `frame` for a scan of `count` components.
    pub fn new(frame: &Frame, bytes: &[u8], count: u8) -> Option<Self> {
        let &[from, to, bits] = bytes else { return None };
        let largest_size = frame.precision + 3;
        if !frame.progressive {
            let band = Self { from: 0, to: 63, refines: false, shift: 0, largest_size };
            return (1..=4).contains(&count).then_some(band);
        }
        let band = Self {
            from: from.into(),
            to: to.into(),
            refines: bits >> 4 > 0,
            shift: (bits & 15).into(),
            largest_size,
        };
        let fits = match band.from {
            0 => band.to == 0 && (1..=4).contains(&count),
            from => (from..64).contains(&band.to) && count == 1,
        };
        (fits && band.shift <= 13).then_some(band)
    }

    /// Whether the scan needs a table for means.
    pub fn codes_means(&self) -> bool {
        self.from == 0 && !self.refines
    }

    /// Whether the scan needs a table for the other coefficients.
    pub fn codes_others(&self) -> bool {
        self.to > 0
    }

    /// Walks over a block of a sequential frame: its mean, then runs of zeros, each followed by a value (T.81, F.2.2).
    #[inline(always)]
    pub fn sequential(&self, codes: &mut Codes, part: &Part, last_mean: &mut i32) -> Walked {
        self.mean(codes, part, last_mean)?;
        let table = part.ac.ok_or(Damaged)?;
        let mut k = 1;
        while k < 64 {
            let symbol = codes.coefficient(table).ok_or(Damaged)?;
            match (usize::from(symbol >> 4), u32::from(symbol & 15)) {
                (15, 0) => k += 16,
                (_, 0) => return Ok(()),
                (zeros, size) if size < self.largest_size => k += zeros + 1,
                _ => return Err(Damaged),
            }
        }
        if k == 64 { Ok(()) } else { Err(Damaged) }
    }

    /// Walks over a block of a progressive frame (T.81, G.1.2). `nonzero` has a bit for each nonzero coefficient of
    /// the block, which belongs to component `component` of the scan.
    pub fn progressive(
        &self,
        codes: &mut Codes,
        part: &Part,
        nonzero: &mut u64,
        history: &mut History,
        component: usize,
    ) -> Walked {
        match (self.from, self.refines) {
            (0, false) => self.mean(codes, part, &mut history.means[component]),
            (0, true) => {
                codes.pass(1);
                Ok(())
            }
            (_, false) => self.first_bits(codes, part.ac.ok_or(Damaged)?, nonzero, &mut history.empty_blocks),
            (_, true) => self.more_bits(codes, part.ac.ok_or(Damaged)?, nonzero, &mut history.empty_blocks),
        }
    }

    /// Reads the mean of a block, coded as the difference from the preceding one (T.81, F.2.2.1).
    #[inline(always)]
    fn mean(&self, codes: &mut Codes, part: &Part, last: &mut i32) -> Walked {
        let size = u32::from(codes.symbol(part.dc.ok_or(Damaged)?).ok_or(Damaged)?);
        if size > self.largest_size {
            return Err(Damaged);
        }
        let bits = codes.bits(size) as i32;
        // A value whose highest bit is 0 represents a negative number.
        let negative = bits < (1 << size) >> 1;
        *last += if negative { bits - (1 << size) + 1 } else { bits };
        if last.abs() <= part.largest_mean { Ok(()) } else { Err(Damaged) }
    }

    /// Walks over the first bits of the band (T.81, G.1.2.2).
    fn first_bits(
        &self,
        codes: &mut Codes,
        table: &Table,
        nonzero: &mut u64,
        empty_blocks: &mut u32,
    ) -> Walked {
        if *empty_blocks > 0 {
            *empty_blocks -= 1;
            return Ok(());
        }
        let mut k = self.from;
        while k <= self.to {
            let symbol = codes.symbol(table).ok_or(Damaged)?;
            match (usize::from(symbol >> 4), u32::from(symbol & 15)) {
                (15, 0) => k += 16,
                (length, 0) => {
                    *empty_blocks = (1 << length) + codes.bits(length as u32) - 1;
                    return Ok(());
                }
                (zeros, size) => {
                    codes.pass(size);
                    k += zeros;
                    if k > self.to || size >= self.largest_size {
                        return Err(Damaged);
                    }
                    *nonzero |= 1 << k;
                    k += 1;
                }
            }
        }
        if k == self.to + 1 { Ok(()) } else { Err(Damaged) }
    }

    /// Walks over one more bit of each nonzero coefficient of the band, and over the coefficients that become nonzero
    /// with this bit (T.81, G.1.2.3).
    fn more_bits(
        &self,
        codes: &mut Codes,
        table: &Table,
        nonzero: &mut u64,
        empty_blocks: &mut u32,
    ) -> Walked {
        let mut k = self.from;
        while *empty_blocks == 0 && k <= self.to {
            let symbol = codes.symbol(table).ok_or(Damaged)?;
            let (mut zeros, size) = (usize::from(symbol >> 4), symbol & 15);
            match (zeros, size) {
                (15, 0) => {}
                (length, 0) => {
                    *empty_blocks = (1 << length) + codes.bits(length as u32);
                    break;
                }
                (_, 1) => codes.pass(1),
                _ => return Err(Damaged),
            }
            // Skip as many zero coefficients as the symbol specifies, with one bit for each nonzero coefficient on the
            // way.
            while k <= self.to {
                if *nonzero >> k & 1 == 1 {
                    codes.pass(1);
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                k += 1;
            }
            if size == 1 {
                if k > self.to {
                    return Err(Damaged);
                }
                *nonzero |= 1 << k;
            }
            k += 1;
        }
        if *empty_blocks > 0 {
            (k..=self.to).filter(|k| *nonzero >> k & 1 == 1).for_each(|_| codes.pass(1));
            *empty_blocks -= 1;
        }
        Ok(())
    }
}
