//! How many bytes the weights of a network take in a file.

use super::bitmap::Bitmap;
use super::form::{Form, live_values};
use crate::Graph;
use crate::files::mask;
use std::fmt;

/// The bytes of the weights of a network in a file, and what they would be as `F32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// Bytes of all parameters in their forms, with masks.
    pub bytes: u64,
    /// Bytes of all values as `F32`.
    pub dense: u64,
    /// Weights that are stored as bits and live values.
    pub sparse: usize,
    /// Weights that are stored as codes.
    pub coded: usize,
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |bytes: u64| bytes.div_ceil(1024);
        let percent = 100.0 * self.bytes as f64 / self.dense.max(1) as f64;
        write!(f, "weights: {} of {} KiB ({percent:.1} %)", kib(self.bytes), kib(self.dense))?;
        let forms = [(self.sparse, "as bits and live values"), (self.coded, "as codes of few values")];
        for (count, form) in forms.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {form}")?;
        }
        Ok(())
    }
}

impl Storage {
    /// Whether a weight is stored in a shorter form.
    pub fn is_shorter(&self) -> bool {
        self.sparse + self.coded > 0
    }

    /// The storage of the parameters of `graph`.
    pub fn of(graph: &Graph) -> Self {
        let mut storage = Self::default();
        for (_, param) in graph.params() {
            let (n, live) = (param.value().len() as u64, live_values(param).count() as u64);
            let bitmap = param.mask().map_or(0, |mask| Bitmap::of(mask).bytes()) as u64;
            storage.dense += 4 * n;
            storage.bytes += match Form::of(param) {
                Form::Dense => {
                    let mask = param.mask().map(|mask| mask::stored("", param.value(), mask).1.bytes());
                    4 * n + mask.unwrap_or(0) as u64
                }
                Form::Sparse => {
                    storage.sparse += 1;
                    bitmap + 4 * live
                }
                Form::Codes(book) => {
                    storage.coded += 1;
                    bitmap + (book.bytes + 5 * book.values.len()) as u64
                }
            };
        }
        storage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Param, Tensor};

    #[test]
    fn the_form_follows_from_the_values() {
        let many = Tensor::from_fn(&[64, 64], |i| i as f32 + 0.5);
        let few = Tensor::from_fn(&[64, 64], |i| [1.0, 1.0, 1.0, -2.0][i % 4]);
        let mask = Tensor::from_fn(&[64, 64], |i| f32::from(u8::from(i % 2 == 0)));
        let form = |value: &Tensor, mask: Option<&Tensor>| {
            let mut param = Param::new(value.clone());
            param.set_mask(mask.cloned()).unwrap();
            let mut graph = Graph::new(64);
            let linear = crate::layer::Linear { weight: param, bias: None };
            graph.push("fc", crate::Layer::Linear(linear), &[0]).unwrap();
            Storage::of(&graph)
        };
        let storage = |bytes, sparse, coded| Storage { bytes, dense: 16_384, sparse, coded };
        assert_eq!(form(&many, None), storage(16_384, 0, 0));
        assert_eq!(form(&many, Some(&mask)), storage(512 + 8_192, 1, 0));
        // Two values of a bit each.
        assert_eq!(form(&few, None), storage(512 + 10, 0, 1));
        assert_eq!(form(&few, Some(&mask)), storage(512 + 256 + 5, 0, 1), "only ones are live");
    }

    #[test]
    fn the_note_names_the_forms() {
        let storage = Storage { bytes: 1500, dense: 4096, sparse: 2, coded: 1 };
        let text = "weights: 2 of 4 KiB (36.6 %), 2 as bits and live values, 1 as codes of few values";
        assert_eq!(storage.to_string(), text);
        assert!(storage.is_shorter() && !Storage::default().is_shorter());
    }
}
