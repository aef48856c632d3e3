//! Weights in a file beside the ONNX file, which ONNX calls external data.
//!
//! ```text
//!   x.onnx        for each weight its name and shape, the location `x.onnx.data`, an offset and a length
//!   x.onnx.data   weight ─ zeros up to a multiple of 4096 ─ weight ─ zeros ─ …
//! ```
//!
//! Weights begin at pages of memory, as ONNX recommends, so that programs can map the file instead of reading it.

use super::constant::Constant;
use crate::files::onnx::wire::{Content, Message};
use std::io::{self, Write};

/// The bytes of a page.
const PAGE: u64 = 4096;

/// Weights of fewer bytes stay in the ONNX file, as the onnx package leaves them there.
const LEAST: usize = 1024;

/// Where constants are in the file beside the ONNX file.
pub(super) struct External {
    location: String,
    /// The first byte of each constant, unless it stays in the ONNX file.
    offsets: Vec<Option<u64>>,
}

impl External {
    /// Places for `constants` in the file `location`, unless all of them stay in the ONNX file.
    pub fn of(constants: &[Constant], location: &str) -> Option<Self> {
        let mut end = 0u64;
        let place = |constant: &Constant| {
            let offset = end.next_multiple_of(PAGE);
            let leaves = constant.is_weight() && constant.len() >= LEAST;
            if leaves {
                end = offset + constant.len() as u64;
            }
            leaves.then_some(offset)
        };
        let offsets: Vec<_> = constants.iter().map(place).collect();
        (end > 0).then(|| Self { location: location.to_string(), offsets })
    }

    /// `constants` as the ONNX file has them.
    pub fn messages<'a>(&self, constants: &'a [Constant]) -> Vec<Message<'a>> {
        let message = |(constant, offset): (&'a Constant, &Option<u64>)| match offset {
            Some(offset) => constant.beside(&self.location, *offset),
            None => constant.inside(),
        };
        constants.iter().zip(&self.offsets).map(message).collect()
    }

    /// Writes the file of weights, one weight at a time.
    pub fn write(&self, constants: &[Constant], file: &mut dyn Write) -> io::Result<()> {
        let mut end = 0;
        for (constant, offset) in constants.iter().zip(&self.offsets) {
            let Some(offset) = offset else { continue };
            file.write_all(&[0; PAGE as usize][..(offset - end) as usize])?;
            constant.write(file)?;
            end = offset + constant.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;
    use crate::files::pytorch_layout::Layout;

    fn floats(len: usize) -> Constant {
        Constant::floats(format!("of {len}"), &Tensor::full(&[len], len as f32), Layout::Same)
    }

    #[test]
    fn weights_begin_at_pages_and_small_ones_stay() {
        let ints = Constant::ints("list".into(), vec![7; 500]);
        let constants = [floats(256), floats(255), ints, floats(1025), floats(300)];
        let external = External::of(&constants, "x.onnx.data").unwrap();
        assert_eq!(external.offsets, [Some(0), None, None, Some(4096), Some(12_288)]);
        let mut bytes = Vec::new();
        external.write(&constants, &mut bytes).unwrap();
        assert_eq!(bytes.len(), 12_288 + 1200);
        let values: Vec<f32> = bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        let at = |offset: usize, len: usize| &values[offset / 4..][..len];
        assert!(at(0, 256).iter().all(|&v| v == 256.0) && at(1024, 768).iter().all(|&v| v == 0.0));
        assert!(at(4096, 1025).iter().all(|&v| v == 1025.0) && at(12_288, 300).iter().all(|&v| v == 300.0));
        assert!(External::of(&constants[1..3], "x.onnx.data").is_none());
    }
}
