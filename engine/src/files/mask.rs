//! Masks in files: as short as they can be stored without losing one.
//!
//! A masked weight is exactly zero, and a live weight almost never is. So the zeros of most weights already show the
//! mask, and a file only marks that there is one:
//!
//! | tensor | type and shape | the mask of parameter `P`, whose weight has n elements |
//! | --- | --- | --- |
//! | `P.mask.zeros` | `U8` `[0]` | exactly the nonzero weights are live |
//! | `P.mask.bits` | `U8` `[⌈n / 8⌉]` | bit `i mod 8` of byte `⌊i / 8⌋` is 1 if weight i is live: some live weight is zero |
//! | `P.mask` | `U8`, the shape of `P` | a byte of 0 or 1 for each weight: formats 1 to 3 |

use crate::files::tensor_file::{TensorFile, Values};
use crate::{Error, Graph, Result, Tensor};
use safetensors::Dtype;

const ZEROS: &str = ".mask.zeros";
const BITS: &str = ".mask.bits";
const BYTES: &str = ".mask";

/// Returns the name and the values of the tensor that stores `mask`, the mask of the parameter `path` with these
/// weights.
pub(crate) fn stored<'a>(path: &str, value: &Tensor, mask: &'a Tensor) -> (String, Values<'a>) {
    match is_shown_by_zeros(value, mask) {
        true => (format!("{path}{ZEROS}"), Values::Empty),
        false => (format!("{path}{BITS}"), Values::Bits(mask)),
    }
}

/// Returns whether `graph` has a mask, which files of formats 1 to 3 store differently.
pub(crate) fn in_graph(graph: &Graph) -> bool {
    graph.params().any(|(_, param)| param.mask().is_some())
}

/// Takes the mask of the parameter `path` with the weights `value` from `file`, in whichever form is there.
///
/// # Errors
/// [`Error::File`] or [`Error::Invalid`] if there are two forms, or one of the wrong type or size.
pub(crate) fn take(file: &mut TensorFile, path: &str, value: &Tensor) -> Result<Option<Tensor>> {
    let [zeros, bits, bytes] =
        [ZEROS, BITS, BYTES].map(|form| file.take(&format!("{path}{form}"), &[Dtype::U8]));
    let wrong = |form: &str, what: String| Error::invalid(format!("tensor `{path}{form}`: {what}"));
    match (zeros?, bits?, bytes?) {
        (None, None, bytes) => Ok(bytes),
        (Some(zeros), None, None) if zeros.is_empty() => Ok(Some(of_zeros(value))),
        (Some(zeros), None, None) => Err(wrong(ZEROS, format!("expected no values, found {}", zeros.len()))),
        (None, Some(bits), None) => unpack(&bits, value.shape()).map(Some).map_err(|e| wrong(BITS, e)),
        _ => Err(wrong(BYTES, "expected one mask, found two".into())),
    }
}

/// Whether exactly the nonzero weights are live.
fn is_shown_by_zeros(value: &Tensor, mask: &Tensor) -> bool {
    value.data().iter().zip(mask.data()).all(|(&w, &m)| (w != 0.0) == (m != 0.0))
}

/// The mask that keeps the nonzero weights of `value`.
fn of_zeros(value: &Tensor) -> Tensor {
    Tensor::from_fn(value.shape(), |i| f32::from(value.data()[i] != 0.0))
}

/// The mask of this `shape` whose bits, as [`Values::Bits`] stores them, are `bytes`: a number of 0 to 255 each.
fn unpack(bytes: &Tensor, shape: &[usize]) -> Result<Tensor, String> {
    // The parameter exists, so its number of weights does not overflow.
    let weights: usize = shape.iter().product();
    let expected = weights.div_ceil(8);
    if bytes.shape() != [expected] {
        return Err(format!("expected the shape [{expected}], found {:?}", bytes.shape()));
    }
    let bit = |i: usize| bytes.data()[i / 8] as u8 >> (i % 8) & 1;
    match (weights..8 * expected).find(|&i| bit(i) != 0) {
        Some(_) => Err("expected unused bits of 0, found 1".into()),
        None => Ok(Tensor::from_fn(shape, |i| f32::from(bit(i)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tensor_file::bits;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mask_is_unpacked_as_it_was_packed(live in prop::collection::vec(any::<bool>(), 0..70)) {
            let mask = Tensor::from_fn(&[live.len()], |i| f32::from(u8::from(live[i])));
            let bytes: Vec<f32> = bits(&mask).into_iter().map(f32::from).collect();
            prop_assert_eq!(bytes.len(), live.len().div_ceil(8));
            let bytes = Tensor::from_slice(&[bytes.len()], &bytes).unwrap();
            let found = unpack(&bytes, &[live.len()]).unwrap();
            prop_assert_eq!(found.data(), mask.data());
        }
    }

    #[test]
    fn bits_of_another_number_of_weights_are_refused() {
        let bytes = Tensor::from_slice(&[2], &[255.0, 1.0]).unwrap();
        assert!(unpack(&bytes, &[3, 3]).is_ok());
        for shape in [&[8][..], &[17], &[3, 3, 3], &[0]] {
            assert!(unpack(&bytes, shape).unwrap_err().contains("expected the shape"), "{shape:?}");
        }
        let odd = Tensor::from_slice(&[2], &[255.0, 2.0]).unwrap();
        assert!(unpack(&odd, &[3, 3]).unwrap_err().contains("unused bits"));
    }
}
