//! Layer normalization.

use super::error::{ShapeError, refuse};

/// Layer normalization of each row of `x` `[rows, C]` (Ba, Kiros & Hinton 2016), with `rows = N·H·W` for images and `N` for
/// vectors: `y = γ (x − mean)/√(var + eps) + β`.
///
/// The statistics cover `width ≥ C` channels. The `width − C` channels that are not part of a row are constants, of which
/// only the `sum` and the sum of `squares` matter: those that pruning removed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNorm {
    /// Rows.
    pub rows: usize,
    /// Channels of a row.
    pub c: usize,
    /// Channels that the statistics cover.
    pub width: usize,
    /// Sum of the channels that are covered but not part of a row.
    pub sum: f64,
    /// Sum of their squares.
    pub squares: f64,
    /// Added to the variance.
    pub eps: f32,
}

impl LayerNorm {
    /// A norm whose statistics cover just the channels of a row.
    pub fn whole(rows: usize, c: usize, eps: f32) -> Self {
        Self { rows, c, width: c, sum: 0.0, squares: 0.0, eps }
    }

    /// Rejects zero sizes, rows wider than the statistics, and numbers that are not finite.
    pub fn check(&self) -> Result<(), ShapeError> {
        let Self { rows, c, width, sum, squares, eps } = *self;
        if [rows, c].contains(&0) || width < c {
            return refuse(format!("a layer norm over {width} channels of {rows} rows of {c}"));
        }
        match sum.is_finite() && squares >= 0.0 && squares.is_finite() && eps >= 0.0 && eps.is_finite() {
            true => Ok(()),
            false => refuse(format!("a layer norm with the sums {sum} and {squares} and ε of {eps}")),
        }
    }

    /// The length of `x`.
    pub fn len(&self) -> usize {
        self.rows * self.c
    }

    /// Whether `x` is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The squared distances of the constant channels from `mean`, summed. It is written in double precision, whose digits
    /// are enough for the difference.
    pub fn constant_spread(&self, mean: f64) -> f64 {
        let removed = (self.width - self.c) as f64;
        (self.squares + mean * (removed * mean - 2.0 * self.sum)).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_spread_about_any_mean() {
        // Channels 1, 2 and 4 about 3: 4 + 1 + 1.
        let g = LayerNorm { width: 5, sum: 7.0, squares: 21.0, ..LayerNorm::whole(1, 2, 1e-5) };
        assert_eq!(g.constant_spread(3.0), 6.0);
        assert_eq!(LayerNorm::whole(1, 2, 1e-5).constant_spread(3.0), 0.0);
        assert!(g.check().is_ok() && LayerNorm { width: 1, ..g }.check().is_err());
        assert!(LayerNorm { squares: -1.0, ..g }.check().is_err());
    }
}
