//! A trainable tensor, and the mask that keeps some of its weights at zero.

use crate::{Error, Result, Tensor};
use lopper_kernels::pattern::Pattern;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};

/// A trainable tensor. If it has a mask (1 = keep), every masked-out weight is exactly zero: all writes go through
/// methods that reapply the mask (for optimizer steps, the step itself applies it).
///
/// Serialization covers only the flags; model files store the tensors next to the graph.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Param {
    #[serde(skip)]
    value: Tensor,
    #[serde(skip)]
    mask: Option<Tensor>,
    /// The pattern of the mask, once it is asked for.
    #[serde(skip)]
    pattern: OnceLock<Arc<Pattern>>,
    /// Whether optimizers update the weights.
    pub trainable: bool,
}

impl Param {
    /// Creates a trainable parameter without a mask.
    pub fn new(value: Tensor) -> Self {
        Self { value, mask: None, pattern: OnceLock::new(), trainable: true }
    }

    /// The weights.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// The mask, with the shape of the weights, if there is one.
    pub fn mask(&self) -> Option<&Tensor> {
        self.mask.as_ref()
    }

    /// The pattern of the mask, if there is one, for a weight `[O, KH, KW, C / groups]` or `[OUT, IN]`. It is derived
    /// once for each mask.
    pub fn pattern(&self) -> Option<&Arc<Pattern>> {
        let mask = self.mask.as_ref()?;
        let shape = match *mask.shape() {
            [o, kh, kw, c] => [o, kh * kw, c],
            [outputs, inputs] => [outputs, 1, inputs],
            _ => return None,
        };
        (!mask.is_empty()).then(|| self.pattern.get_or_init(|| Arc::new(Pattern::of(mask.data(), shape))))
    }

    /// Sets or removes the mask, and zeroes the weights that it drops. Returns an error if the shapes differ or a
    /// value is neither 0 nor 1.
    pub fn set_mask(&mut self, mask: Option<Tensor>) -> Result<()> {
        if let Some(mask) = &mask {
            if mask.shape() != self.value.shape() {
                return Err(Error::shape(
                    "mask",
                    format!("{:?} masks {:?}", mask.shape(), self.value.shape()),
                ));
            }
            if mask.data().iter().any(|&m| m != 0.0 && m != 1.0) {
                return Err(Error::shape("mask", "expected zeros and ones"));
            }
        }
        self.mask = mask;
        self.pattern = OnceLock::new();
        self.apply_mask();
        Ok(())
    }

    /// Replaces the weights and keeps the mask. Returns an error if the shapes differ.
    pub fn set_value(&mut self, value: Tensor) -> Result<()> {
        if value.shape() != self.value.shape() {
            return Err(Error::shape(
                "parameter",
                format!("expected {:?}, found {:?}", self.value.shape(), value.shape()),
            ));
        }
        self.value = value;
        self.apply_mask();
        Ok(())
    }

    /// Replaces both weights and mask, which may have a new shape: for rewrites and files.
    pub fn replace(&mut self, value: Tensor, mask: Option<Tensor>) -> Result<()> {
        self.value = value;
        self.set_mask(mask)
    }

    /// Changes the weights in place, then applies the mask.
    pub fn update<R>(&mut self, f: impl FnOnce(&mut [f32]) -> R) -> R {
        let result = f(self.value.data_mut());
        self.apply_mask();
        result
    }

    /// The weights for writing, and the mask: for optimizers, which zero the masked weights in their pass over the
    /// weights.
    pub(crate) fn for_step(&mut self) -> (&mut Tensor, Option<&Tensor>) {
        (&mut self.value, self.mask.as_ref())
    }

    /// A copy with only the slices `keep` of `axis`, in both weights and mask.
    pub fn select(&self, axis: usize, keep: &[usize]) -> Self {
        Self {
            value: self.value.select(axis, keep),
            mask: self.mask.as_ref().map(|m| m.select(axis, keep)),
            pattern: OnceLock::new(),
            trainable: self.trainable,
        }
    }

    /// The share of weights that the mask drops, in `[0, 1]`.
    pub fn masked_fraction(&self) -> f64 {
        match &self.mask {
            Some(mask) if !mask.is_empty() => {
                mask.data().iter().filter(|&&m| m == 0.0).count() as f64 / mask.len() as f64
            }
            _ => 0.0,
        }
    }

    fn apply_mask(&mut self) {
        if let Some(mask) = &self.mask {
            for (w, &m) in self.value.data_mut().iter_mut().zip(mask.data()) {
                // Assigned, not multiplied: a masked NaN must become zero too.
                if m == 0.0 {
                    *w = 0.0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_weights_stay_zero_through_every_write() {
        let mut p = Param::new(Tensor::full(&[4], 2.0));
        p.set_mask(Some(Tensor::from_vec(&[4], vec![1.0, 0.0, 1.0, 0.0]).unwrap())).unwrap();
        assert_eq!(p.value().data(), [2.0, 0.0, 2.0, 0.0]);
        p.update(|w| w.fill(f32::NAN));
        assert_eq!((p.value().data()[1], p.value().data()[3]), (0.0, 0.0));
        p.set_value(Tensor::full(&[4], 7.0)).unwrap();
        assert_eq!(p.select(0, &[0, 1]).value().data(), [7.0, 0.0]);
        assert_eq!(p.masked_fraction(), 0.5);
        assert!(p.set_mask(Some(Tensor::full(&[3], 1.0))).is_err());
        assert!(p.set_mask(Some(Tensor::full(&[4], 0.5))).is_err());
    }
}
