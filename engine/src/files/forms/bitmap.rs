//! The bits of a mask in a file: as they are, or as Huffman codes of their bytes, whichever is shorter.
//!
//! ```text
//!   mask      90 % zeros     0 0 1 0 0 0 0 0 │ 0 0 0 0 0 0 0 0 │ …
//!   bytes     4 0 …          few bytes are frequent: their entropy is 3.8 of 8 bits
//!   codes     010 1 …        of canonical codes, whose lengths are all that a reader needs
//! ```
//!
//! Live weights lie where training left them, so that neighbors say little about each other, and the bits of eight of them in
//! a byte come close to the entropy of all.

use super::huffman::{self, Decoder};
use crate::files::tensor_file::{Values, bits};
use crate::{Error, Result, Tensor, memory};

/// The number of different bytes.
const BYTES: usize = 256;
/// The bytes that a shorter form must save, so that it is worth its entries in the header.
pub(super) const HEADER: usize = 512;

/// The bits of a mask.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bitmap {
    /// A bit for each weight; the number of bytes.
    Plain(usize),
    /// Codes of the bytes, of these lengths, and the number of bytes of all codes.
    Coded(Vec<u8>, usize),
}

impl Bitmap {
    /// The shortest form of `mask`.
    pub fn of(mask: &Tensor) -> Self {
        let mut counts = vec![0u64; BYTES];
        let found = bits(mask);
        found.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
        let lengths = huffman::lengths(&counts);
        let all: u64 = counts.iter().zip(&lengths).map(|(count, &length)| count * u64::from(length)).sum();
        let coded = all.div_ceil(8) as usize;
        match coded + BYTES + HEADER < found.len() {
            true => Self::Coded(lengths, coded),
            false => Self::Plain(found.len()),
        }
    }

    /// Its size in a file.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Plain(bytes) => *bytes,
            Self::Coded(lengths, bytes) => lengths.len() + bytes,
        }
    }

    /// Whether it is one that programs read only since format 6.
    pub fn is_coded(&self) -> bool {
        matches!(self, Self::Coded(..))
    }

    /// The tensors that hold the bits of `mask`: bits, or codes and their lengths, under these names.
    pub fn stored<'a>(mask: &'a Tensor, [plain, codes, lengths]: [String; 3]) -> Vec<(String, Values<'a>)> {
        match Self::of(mask) {
            Self::Plain(_) => vec![(plain, Values::Bits(mask))],
            Self::Coded(of, _) => {
                let symbols = bits(mask).into_iter().map(usize::from);
                let encoded = Values::Bytes(huffman::encode(symbols, &of));
                vec![(codes, encoded), (lengths, Values::Bytes(of))]
            }
        }
    }
}

/// The bytes of a mask of `n` weights that `codes` of these `lengths` stand for.
///
/// # Errors
/// If the lengths are no code, or the codes are not those of so many bytes.
pub(super) fn decoded(codes: &[u8], lengths: &[u8], n: usize) -> Result<Vec<u8>> {
    if lengths.len() != BYTES {
        return Err(Error::invalid(format!(
            "expected {BYTES} code lengths of bits, found {}",
            lengths.len()
        )));
    }
    let bytes = n.div_ceil(8);
    // A byte of bits takes at least a bit of codes.
    memory::require("the bits of a weight", memory::bytes_of::<u64>([bytes.min(8 * codes.len()), 2]))?;
    let symbols = Decoder::new(lengths).and_then(|decoder| decoder.decode(codes, bytes));
    Ok(symbols.map_err(Error::invalid)?.into_iter().map(|symbol| symbol as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A mask of `n` weights of which `live` in a thousand stay.
    fn mask(n: usize, live: u64, seed: u64) -> Tensor {
        // Mixed twice: multiples of one number would be spread too evenly for bits that say nothing about each other.
        let mixed = |x: u64| (x ^ (x >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let drawn = |i: usize| mixed(mixed(i as u64 + (seed << 40))) >> 32;
        Tensor::from_fn(&[n], |i| f32::from(u8::from(drawn(i) % 1000 < live)))
    }

    #[test]
    fn few_live_weights_take_half_of_their_bits() {
        let bitmap = Bitmap::of(&mask(400_000, 100, 7));
        assert!(bitmap.is_coded() && bitmap.bytes() < 27_000, "{} of 50,000 bytes", bitmap.bytes());
        assert_eq!(Bitmap::of(&mask(400_000, 500, 7)), Bitmap::Plain(50_000), "half of the weights");
        assert_eq!(Bitmap::of(&mask(6000, 10, 7)), Bitmap::Plain(750), "lengths and header would be longer");
    }

    #[test]
    fn codes_that_do_not_fit_are_refused() {
        let mask = mask(100_000, 20, 3);
        let Bitmap::Coded(lengths, _) = Bitmap::of(&mask) else { panic!("few weights are live") };
        let codes = huffman::encode(bits(&mask).into_iter().map(usize::from), &lengths);
        let refused = |codes: &[u8], lengths: &[u8], n: usize, words: &str| {
            let message = decoded(codes, lengths, n).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        };
        refused(&codes, &lengths[..255], 100_000, "256 code lengths");
        refused(&codes, &[1; 256], 100_000, "too many short ones");
        refused(&codes[..100], &lengths, 100_000, "expected 12500 codes");
        refused(&codes, &lengths, 99_000, "bytes of codes");
        refused(&codes, &lengths, usize::MAX, "codes, found");
        assert_eq!(decoded(&codes, &lengths, 100_000).unwrap(), bits(&mask));
    }

    proptest! {
        #[test]
        fn bits_are_read_as_they_were_written(n in 1usize..60_000, live in 0u64..1001, seed: u64) {
            let mask = mask(n, live, seed);
            let names = ["bits", "codes", "lengths"].map(String::from);
            let stored = Bitmap::stored(&mask, names);
            let bitmap = Bitmap::of(&mask);
            prop_assert_eq!(stored.len(), if bitmap.is_coded() { 2 } else { 1 });
            let size: usize = stored.iter().map(|(_, values)| values.bytes()).sum();
            prop_assert_eq!(size, bitmap.bytes());
            prop_assert!(size <= n.div_ceil(8));
            if let [(_, Values::Bytes(codes)), (_, Values::Bytes(lengths))] = &stored[..] {
                prop_assert_eq!(decoded(codes, lengths, n).unwrap(), bits(&mask));
            }
        }

        #[test]
        fn damaged_codes_never_panic(lengths in prop::collection::vec(0u8..70, 256), codes in prop::collection::vec(any::<u8>(), 0..50), n in 0usize..2000) {
            let _ = decoded(&codes, &lengths, n);
        }
    }
}
