//! Normalization of pixels.

use lopper_engine::{Error, Result};

/// Mean of ImageNet's channels, for pixels in `[0, 1]`.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's channels, for pixels in `[0, 1]`.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Normalization of each channel, `(pixel / 255 − mean) / std`, as a table of all 3 × 256 results.
#[derive(Clone, Debug)]
pub struct Normalize {
    table: Box<[[f32; 256]; 3]>,
}

impl Normalize {
    /// Creates the normalization by `mean` and `std` of red, green and blue in `[0, 1]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a number is not finite, or if a standard deviation is not positive or so small that a
    /// pixel becomes infinite.
    pub fn new(mean: [f32; 3], std: [f32; 3]) -> Result<Self> {
        if mean.iter().chain(&std).any(|v| !v.is_finite()) || std.iter().any(|&s| s <= 0.0) {
            return Err(Error::invalid(format!("cannot normalize by mean {mean:?} and std {std:?}")));
        }
        let mut table = Box::new([[0.0; 256]; 3]);
        for (channel, values) in table.iter_mut().enumerate() {
            for (byte, value) in values.iter_mut().enumerate() {
                *value = (byte as f32 / 255.0 - mean[channel]) / std[channel];
            }
        }
        if table.iter().flatten().any(|value| !value.is_finite()) {
            return Err(Error::invalid(format!(
                "normalizing by mean {mean:?} and std {std:?} overflows single precision"
            )));
        }
        Ok(Self { table })
    }

    /// The normalized values of a pixel.
    #[inline]
    pub fn pixel(&self, [r, g, b]: [u8; 3]) -> [f32; 3] {
        let [red, green, blue] = &*self.table;
        [red[r as usize], green[g as usize], blue[b as usize]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_means_and_deviations_are_rejected() {
        assert!(Normalize::new([0.5; 3], [0.5, 0.0, 0.5]).is_err());
        assert!(Normalize::new([f32::NAN; 3], [0.5; 3]).is_err());
    }
}
