//! Layer norms that are written out as formulas, and the channels that pruning removed from them.
//!
//! Of W channels, C are left, x with the mean m. The others are constants, of which only the sum s and the sum of squares
//! q are known. The statistics of all of them are
//!
//! ```text
//!   mean       c = (C·m + s) / W
//!   variance   C/W · mean((x − c)²) + (q − 2s·c + (W − C)·c²) / W
//! ```
//!
//! Without removed channels, that is m and `mean((x − m)²)`.

use crate::graph::layer::LayerNorm;

/// How far a number of the file may be from the one that the others imply, as a share: files round to single precision.
const ROUNDING: f64 = 1e-6;

/// The largest W that is read. Up to it, C/W in single precision tells W.
const MOST_CHANNELS: f64 = (1u64 << 22) as f64;

/// `share · mean((x − a − b·m)²) + c₀ + c₁m + c₂m² + ε`, m the mean of the channels of x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    /// `[a, b]`.
    pub center: [f64; 2],
    /// The factor of the mean of squares.
    pub share: f64,
    /// `[c₀, c₁, c₂]`.
    pub constants: [f64; 3],
    /// ε.
    pub eps: f64,
}

impl Spread {
    /// The mean of `(x − a − b·m)²`.
    pub fn about(center: [f64; 2]) -> Self {
        Self { center, share: 1.0, constants: [0.0; 3], eps: 0.0 }
    }

    /// The product with a number.
    pub fn scaled(self, by: f64) -> Self {
        let Self { center, share, constants, eps } = self;
        Self { center, share: share * by, constants: constants.map(|c| c * by), eps: eps * by }
    }

    /// The layer norm of `channels` channels, γ = 1 and β = 0, that `x − center` divided by the root of this is. `None` if
    /// it is none.
    pub fn layer_norm(&self, center: [f64; 2], channels: usize) -> Option<LayerNorm> {
        let ([a, b], live) = (center, channels as f64);
        let width = (live / b).round();
        if center != self.center || !(live..=MOST_CHANNELS.max(live)).contains(&width) {
            return None;
        }
        // The constants' part as a polynomial of the center c = a + b·m.
        let [c0, c1, c2] = self.constants;
        let bend = c2 / (b * b);
        let slope = c1 / b - 2.0 * bend * a;
        let level = c0 - slope * a - bend * a * a;
        let removed = (width - live) / width;
        let near = |found: f64, expected: f64, scale: f64| (found - expected).abs() <= ROUNDING * scale;
        let fits = near(b, live / width, 1.0)
            && near(self.share, live / width, 1.0)
            && near(bend, removed, removed)
            && near(slope, -2.0 * a, 2.0 * a.abs())
            && (if removed > 0.0 { level >= 0.0 } else { a == 0.0 && level == 0.0 });
        // What is lost in the polynomial is far less than a file in single precision rounds off.
        let squares = f64::from(level as f32) * width;
        fits.then(|| LayerNorm {
            width: width as usize,
            sum: a * width,
            squares,
            ..LayerNorm::new(channels, self.eps as f32)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The formula as a file has it, each number in single precision.
    fn written(norm: &LayerNorm) -> Spread {
        let single = |value: f64| f64::from(value as f32);
        let (width, live) = (norm.width as f64, norm.channels() as f64);
        let [a, b] = [single(norm.sum / width), single(live / width)];
        let (bend, slope) = (single((width - live) / width), single(-2.0 * norm.sum / width));
        // (bend·c + slope)·c + level with c = a + b·m.
        let level = single(norm.squares / width);
        let constants = [(bend * a + slope) * a + level, 2.0 * bend * a * b + slope * b, bend * b * b];
        Spread { center: [a, b], share: b, constants, eps: f64::from(norm.eps) }
    }

    proptest! {
        /// A file that is read and written again has the same numbers.
        #[test]
        fn what_was_removed_is_read_back(
            channels in 1usize..2000,
            removed in prop::collection::vec(-3f32..3.0, 1..400),
        ) {
            let mut norm = LayerNorm { width: channels + removed.len(), ..LayerNorm::new(channels, 1e-6) };
            norm.remember(removed);
            let spread = written(&norm);
            let read = spread.layer_norm(spread.center, channels).unwrap();
            prop_assert_eq!((read.width, read.eps), (norm.width, norm.eps));
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * b.abs();
            prop_assert!(near(read.sum, norm.sum) && near(read.squares, norm.squares), "{:?}", read);
            prop_assert_eq!(written(&read), spread);
        }
    }

    #[test]
    fn other_formulas_are_no_layer_norms() {
        let whole = Spread { eps: 1e-5, ..Spread::about([0.0, 1.0]) };
        assert!(whole.layer_norm([0.0, 1.0], 8).is_some_and(|norm| norm.is_whole() && norm.eps == 1e-5));
        let mut norm = LayerNorm { width: 12, ..LayerNorm::new(8, 1e-5) };
        norm.remember([0.5, -1.0, 2.0, 0.25]);
        let pruned = written(&norm);
        let others = [
            Spread { share: 0.5, ..whole },
            Spread { center: [0.25, 1.0], ..whole },
            Spread { center: [0.0, -1.0], ..whole },
            Spread { center: [0.0, 0.0], ..whole },
            Spread { center: [0.0, 1e-9], ..whole },
            Spread { center: [f64::NAN, 1.0], ..whole },
            Spread { constants: [0.5, 0.0, 0.0], ..whole },
            Spread { share: 1.0, ..pruned },
            Spread { constants: [-1.0, 0.0, 0.0], ..pruned },
            Spread { constants: pruned.constants.map(|c| 1.01 * c), ..pruned },
        ];
        for other in others {
            assert!(other.layer_norm(other.center, 8).is_none(), "{other:?}");
        }
        assert!(pruned.layer_norm([0.0, 1.0], 8).is_none(), "another center");
    }
}
