//! The forms in which a file holds a weight: the shortest one that keeps every bit.
//!
//! | tensor | type and shape | a weight P of n values, of which k are live |
//! | --- | --- | --- |
//! | `P` | `F32`, the shape of P | all values; a mask beside it, as `mask.rs` describes |
//! | `P.sparse.bits` | `U8` `[⌈n / 8⌉]` | bit `i mod 8` of byte `⌊i / 8⌋` is 1 if weight i is live |
//! | `P.sparse.bits.codes` | `U8` | Huffman codes of these bytes, instead of them where that is shorter |
//! | `P.sparse.bits.lengths` | `U8` `[256]` | the length of the code of each byte |
//! | `P.sparse.values` | `F32` `[k]` | the live values |
//! | `P.codes` | `U8` | for each value, or for each live one if there are `P.sparse.bits`, a Huffman code |
//! | `P.codes.lengths` | `U8` `[c]` | the length of the code of each of c different values |
//! | `P.codes.values` | `F32` `[c]` | these values |
//! | `P.form` | `I64` | the shape of P, in both of the last forms |
//!
//! A masked weight is exactly zero, so its bits are its mask. Codes suit weights that share few values (Han et al. 2016,
//! "Deep compression: compressing deep neural networks with pruning, trained quantization and Huffman coding", section 4).
//! What a reader allocates is at most 32 times what it has read, a bit for each weight and a bit at least for each code, and 256
//! times where the bits are codes themselves, each for eight weights.

use super::bitmap::{self, Bitmap, HEADER};
use super::huffman::{self, Decoder};
use crate::files::mask;
use crate::files::tensor_file::{TensorFile, Values};
use crate::{Error, Graph, Param, Result, Tensor, memory};
use safetensors::Dtype;
use std::borrow::Cow;
use std::collections::HashMap;

const SHAPE: &str = ".form";
const BITS: &str = ".sparse.bits";
const BIT_CODES: &str = ".sparse.bits.codes";
const BIT_LENGTHS: &str = ".sparse.bits.lengths";
const LIVE: &str = ".sparse.values";
const CODES: &str = ".codes";
const LENGTHS: &str = ".codes.lengths";
const BOOK: &str = ".codes.values";

/// The most values that weights share to be stored as codes.
const MOST_VALUES: usize = 4096;

/// The form of a weight in a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    /// All values.
    Dense,
    /// A bit for each weight, and the live values.
    Sparse,
    /// Codes of these values, of all weights or of the live ones. The bytes of the codes are known.
    Codes(Book),
}

/// The values that weights share.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Book {
    /// In the order in which they occur.
    pub values: Vec<f32>,
    lengths: Vec<u8>,
    /// Bytes of all codes.
    pub bytes: usize,
}

impl Form {
    /// The shortest form of `param`.
    pub fn of(param: &Param) -> Self {
        let (n, live) = (param.value().len(), live_values(param).count());
        let dense = 4 * n;
        let bitmap = param.mask().map_or(0, |mask| Bitmap::of(mask).bytes());
        let sparse = bitmap + 4 * live;
        let book = Book::of(param);
        let coded = book.as_ref().map_or(usize::MAX, |book| bitmap + book.bytes + 5 * book.values.len());
        match (coded.min(sparse) + HEADER < dense, book) {
            (true, Some(book)) if coded < sparse => Self::Codes(book),
            (true, _) if param.mask().is_some() => Self::Sparse,
            _ => Self::Dense,
        }
    }
}

impl Book {
    /// The values of the live weights of `param`; none if they are many.
    fn of(param: &Param) -> Option<Self> {
        let mut found: HashMap<u32, usize> = HashMap::new();
        let (mut values, mut counts) = (Vec::new(), Vec::new());
        for value in live_values(param) {
            let index = *found.entry(value.to_bits()).or_insert(values.len());
            if index == values.len() {
                if index == MOST_VALUES {
                    return None;
                }
                values.push(value);
                counts.push(0u64);
            }
            counts[index] += 1;
        }
        let lengths = huffman::lengths(&counts);
        let bits: u64 = counts.iter().zip(&lengths).map(|(count, &length)| count * u64::from(length)).sum();
        Some(Self { values, lengths, bytes: bits.div_ceil(8) as usize })
    }

    /// The codes of the live weights of `param`.
    fn encode(&self, param: &Param) -> Vec<u8> {
        let index: HashMap<u32, usize> =
            self.values.iter().enumerate().map(|(index, value)| (value.to_bits(), index)).collect();
        huffman::encode(live_values(param).map(|value| index[&value.to_bits()]), &self.lengths)
    }
}

/// The values of the weights that no mask drops.
pub(super) fn live_values(param: &Param) -> impl Iterator<Item = f32> {
    let mask = param.mask().map(Tensor::data);
    let live = move |&(i, _): &(usize, &f32)| mask.is_none_or(|mask| mask[i] != 0.0);
    param.value().data().iter().enumerate().filter(live).map(|(_, &value)| value)
}

/// Whether a file of `graph` has a form that earlier programs do not read.
pub(crate) fn in_graph(graph: &Graph) -> bool {
    graph.params().any(|(_, param)| Form::of(param) != Form::Dense)
}

/// Whether a file of `graph` has bits as codes, which programs read since format 6.
pub(crate) fn codes_bits(graph: &Graph) -> bool {
    let coded = |param: &Param| {
        param.mask().is_some_and(|mask| Bitmap::of(mask).is_coded()) && Form::of(param) != Form::Dense
    };
    graph.params().any(|(_, param)| coded(param))
}

/// The tensors that hold `param`, the parameter `path`.
pub(crate) fn stored<'a>(path: &str, param: &'a Param) -> Vec<(String, Values<'a>)> {
    let named = |suffix: &str, values: Values<'a>| (format!("{path}{suffix}"), values);
    let shape = || {
        let shape = param.value().shape().iter().map(|&length| length as i64).collect();
        named(SHAPE, Values::List(shape))
    };
    let names = [BITS, BIT_CODES, BIT_LENGTHS].map(|suffix| format!("{path}{suffix}"));
    let bitmap = || param.mask().map(|mask| Bitmap::stored(mask, names.clone())).unwrap_or_default();
    match Form::of(param) {
        Form::Dense => {
            let mask = param.mask().map(|mask| mask::stored(path, param.value(), mask));
            mask.into_iter().chain([named("", Values::F32(Cow::Borrowed(param.value())))]).collect()
        }
        Form::Sparse => {
            let live = named(LIVE, Values::Floats(live_values(param).collect()));
            [shape(), live].into_iter().chain(bitmap()).collect()
        }
        Form::Codes(book) => {
            let codes = named(CODES, Values::Bytes(book.encode(param)));
            let lengths = named(LENGTHS, Values::Bytes(book.lengths));
            let values = named(BOOK, Values::Floats(book.values));
            [shape(), values, codes, lengths].into_iter().chain(bitmap()).collect()
        }
    }
}

/// Takes the parameter `path` from `file` in whichever form is there; none if it is in none.
///
/// # Errors
/// [`Error::File`] or [`Error::Invalid`] if there are two forms, or parts of one that do not fit each other.
pub(crate) fn take(file: &mut TensorFile, path: &str) -> Result<Option<(Tensor, Option<Tensor>)>> {
    let dense = file.take(path, &[Dtype::F32])?;
    let shape = file.take_list(&format!("{path}{SHAPE}"))?;
    match (dense, shape) {
        (Some(value), None) => {
            let mask = mask::take(file, path, &value)?;
            Ok(Some((value, mask)))
        }
        (None, None) => Ok(None),
        (None, Some(shape)) => Parts::take(file, path)?
            .weight(&shape)
            .map(Some)
            .map_err(|e| Error::invalid(format!("tensor `{path}{SHAPE}`: {e}"))),
        (Some(_), Some(_)) => {
            Err(Error::invalid(format!("tensor `{path}{SHAPE}`: expected one form of the weight, found two")))
        }
    }
}

/// The parts of a sparse or coded weight.
struct Parts {
    bits: Option<Vec<u8>>,
    /// Codes of the bits, and their lengths.
    bit_codes: Option<Vec<u8>>,
    bit_lengths: Option<Vec<u8>>,
    live: Option<Vec<f32>>,
    codes: Option<Vec<u8>>,
    lengths: Option<Vec<u8>>,
    book: Option<Vec<f32>>,
}

impl Parts {
    fn take(file: &mut TensorFile, path: &str) -> Result<Self> {
        let name = |suffix: &str| format!("{path}{suffix}");
        let numbers = |tensor: Option<Tensor>| tensor.map(|tensor| tensor.data().to_vec());
        Ok(Self {
            bits: file.take_bytes(&name(BITS))?,
            bit_codes: file.take_bytes(&name(BIT_CODES))?,
            bit_lengths: file.take_bytes(&name(BIT_LENGTHS))?,
            live: numbers(file.take(&name(LIVE), &[Dtype::F32])?),
            codes: file.take_bytes(&name(CODES))?,
            lengths: file.take_bytes(&name(LENGTHS))?,
            book: numbers(file.take(&name(BOOK), &[Dtype::F32])?),
        })
    }

    /// The weight and its mask. `Err` says what does not fit.
    fn weight(self, shape: &[i64]) -> Result<(Tensor, Option<Tensor>)> {
        let refuse = |message: String| Err(Error::invalid(message));
        let shape: Option<Vec<usize>> = shape.iter().map(|&length| usize::try_from(length).ok()).collect();
        let count = shape
            .as_ref()
            .and_then(|shape| shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length)));
        let (Some(shape), Some(n)) = (shape, count) else {
            return refuse("expected a shape, found one that is negative or too large".into());
        };
        let bits = match (self.bits, self.bit_codes, self.bit_lengths) {
            (bits, None, None) => bits,
            (None, Some(codes), Some(lengths)) => Some(bitmap::decoded(&codes, &lengths, n)?),
            _ => {
                return refuse("expected bits, or their codes with lengths, found both or a part".into());
            }
        };
        let live = match &bits {
            Some(bits) if bits.len() != n.div_ceil(8) => {
                return refuse(format!("expected {} bytes of bits, found {}", n.div_ceil(8), bits.len()));
            }
            Some(bits) if (n..8 * bits.len()).any(|i| is_set(bits, i)) => {
                return refuse("expected unused bits of 0, found 1".into());
            }
            Some(bits) => (0..n).filter(|&i| is_set(bits, i)).count(),
            None => n,
        };
        let values = match (self.live, self.codes, self.lengths, self.book) {
            (Some(live), None, None, None) => live,
            (None, Some(codes), Some(lengths), Some(book)) => decoded(&codes, &lengths, &book, live)?,
            _ => {
                return refuse(
                    "expected values, or codes with their lengths and values, found neither or both".into(),
                );
            }
        };
        if values.len() != live {
            return refuse(format!("expected {live} values, found {}", values.len()));
        }
        memory::require("a weight that is stored in a shorter form", memory::bytes_of::<f32>([n, 2]))?;
        match bits {
            None => Ok((Tensor::from_vec(&shape, values)?, None)),
            Some(bits) => {
                let mut next = values.into_iter();
                let mut value = |i: usize| if is_set(&bits, i) { next.next().unwrap_or(0.0) } else { 0.0 };
                let weight = Tensor::from_fn(&shape, &mut value);
                Ok((weight, Some(Tensor::from_fn(&shape, |i| f32::from(u8::from(is_set(&bits, i)))))))
            }
        }
    }
}

/// Whether bit `i` is 1, as [`Values::Bits`] places them.
fn is_set(bits: &[u8], i: usize) -> bool {
    bits[i / 8] >> (i % 8) & 1 == 1
}

/// The `count` values that `codes` stand for.
fn decoded(codes: &[u8], lengths: &[u8], book: &[f32], count: usize) -> Result<Vec<f32>> {
    if lengths.len() != book.len() {
        return Err(Error::invalid(format!("expected {} code lengths, found {}", book.len(), lengths.len())));
    }
    memory::require("the codes of a weight", memory::bytes_of::<u64>([codes.len(), 8]))?;
    let symbols = Decoder::new(lengths).and_then(|decoder| decoder.decode(codes, count));
    Ok(symbols.map_err(Error::invalid)?.into_iter().map(|symbol| book[symbol]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tensor_file::{self, bits};
    use proptest::prelude::*;

    /// `param` behind a file, with the names of the tensors that held it.
    fn round_trip(param: &Param) -> (Tensor, Option<Tensor>, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.safetensors");
        let tensors = crate::files::file::aligned(stored("w", param));
        tensor_file::write(&path, ("format", "pt".into()), &tensors).unwrap();
        let mut file = TensorFile::read(&path).unwrap();
        let names = file.left().map(String::from).collect();
        let (value, mask) = take(&mut file, "w").unwrap().unwrap();
        assert_eq!(file.left().count(), 0, "all tensors are used");
        (value, mask, names)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_weight_keeps_its_bits_and_its_mask(
            seed: u64,
            shape in prop::collection::vec(1usize..24, 1..4),
            different in prop::sample::select(vec![1usize, 2, 17, 300, 100_000]),
            dropped in prop::option::of(0u64..101),
        ) {
            let at = |i: usize, salt: u64| (i as u64 + 1).wrapping_mul(seed | 1).wrapping_add(salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
            let value = Tensor::from_fn(&shape, |i| match at(i, 1) as usize % different {
                0 => -0.0,
                1 => f32::MIN_POSITIVE / 4.0,
                k => k as f32 * 0.37,
            });
            let mut param = Param::new(value);
            if let Some(dropped) = dropped {
                let mask = Tensor::from_fn(&shape, |i| f32::from(u8::from(at(i, 2) % 100 >= dropped)));
                param.set_mask(Some(mask)).unwrap();
            }
            let (value, mask, names) = round_trip(&param);
            prop_assert!(value.same_bits(param.value()), "{names:?}");
            prop_assert_eq!(mask.is_some(), param.mask().is_some());
            if let (Some(a), Some(b)) = (&mask, param.mask()) {
                prop_assert!(a.same_bits(b), "{names:?}");
            }
        }
    }

    /// Replaces a part of a coded and of a sparse weight, and expects these words in the error.
    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let parts = || Parts {
            bits: Some(vec![0b0000_0101]),
            bit_codes: None,
            bit_lengths: None,
            live: Some(vec![1.0, 2.0]),
            codes: None,
            lengths: None,
            book: None,
        };
        let coded = || Parts {
            bits: None,
            bit_codes: None,
            bit_lengths: None,
            live: None,
            codes: Some(vec![0b0110_0000]),
            lengths: Some(vec![1, 1]),
            book: Some(vec![3.0, 4.0]),
        };
        assert_eq!(parts().weight(&[3]).unwrap().0.data(), [1.0, 0.0, 2.0]);
        assert_eq!(coded().weight(&[3, 1]).unwrap().0.data(), [3.0, 4.0, 4.0]);
        let refused = |parts: Parts, shape: &[i64], words: &str| {
            let message = parts.weight(shape).err().unwrap().to_string();
            assert!(message.contains(words), "{message}");
        };
        refused(parts(), &[-1], "negative");
        refused(parts(), &[i64::MAX, 4], "too large");
        refused(parts(), &[9], "2 bytes of bits");
        refused(parts(), &[2], "unused bits");
        refused(Parts { live: Some(vec![1.0]), ..parts() }, &[3], "expected 2 values, found 1");
        refused(Parts { bit_codes: Some(vec![0]), ..parts() }, &[3], "found both or a part");
        refused(
            Parts { bits: None, bit_lengths: Some(vec![0; 256]), ..parts() },
            &[3],
            "found both or a part",
        );
        refused(Parts { codes: Some(vec![0]), ..parts() }, &[3], "neither or both");
        refused(Parts { live: None, ..parts() }, &[3], "neither or both");
        refused(Parts { lengths: Some(vec![1]), ..coded() }, &[3], "2 code lengths");
        refused(coded(), &[1 << 60], "codes");
        refused(coded(), &[12], "12 codes");
        refused(Parts { book: None, ..coded() }, &[3], "neither or both");
        assert_eq!(bits(&Tensor::from_slice(&[3], &[1.0, 0.0, 1.0]).unwrap()), [0b101]);
    }
}
