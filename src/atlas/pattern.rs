//! Random zeros of each kind.

use super::random::Random;
use std::fmt;

/// The weights that are zero together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole filters.
    Filters,
    /// Whole filters and, by the same share, whole input channels, so that the shares multiply to the sparsity.
    Channels,
    /// Single weights.
    Weights,
    /// The weights at one position of so many consecutive filters.
    Blocks(usize),
    /// The kernels (all taps of an input channel) of so many consecutive filters.
    Kernels(usize),
    /// n of every m consecutive input channels of a tap are nonzero; see `n_of_m`.
    NofM,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filters => f.write_str("filters"),
            Self::Channels => f.write_str("filters and input channels"),
            Self::Weights => f.write_str("single weights"),
            Self::Blocks(filters) => write!(f, "one weight of {filters} filters"),
            Self::Kernels(filters) => write!(f, "one kernel of {filters} filters"),
            Self::NofM => f.write_str("N:M"),
        }
    }
}

/// Live channels on either side of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Channels {
    /// Live input channels, ascending.
    pub inputs: Vec<u32>,
    /// Live filters, ascending.
    pub filters: Vec<u32>,
}

impl Channels {
    /// Kills filters only.
    pub(super) fn filters([o, _, c]: [usize; 3], sparsity: f64, random: &mut Random) -> Self {
        Self { inputs: (0..c as u32).collect(), filters: chosen(kept(o, sparsity), o, random) }
    }

    /// Kills filters and input channels; filters only if `inputs_stay`, as the channels of an image do.
    pub(super) fn both(shape: [usize; 3], sparsity: f64, inputs_stay: bool, random: &mut Random) -> Self {
        if inputs_stay {
            return Self::filters(shape, sparsity, random);
        }
        let [o, _, c] = shape;
        let share = 1.0 - (1.0 - sparsity).sqrt();
        let (filters, inputs) = (chosen(kept(o, share), o, random), chosen(kept(c, share), c, random));
        Self { inputs, filters }
    }

    /// The live weights among those of shape `[O, taps, C]`.
    pub(super) fn weights(&self, [o, taps, c]: [usize; 3]) -> Vec<bool> {
        let mut live = vec![false; o * taps * c];
        for &filter in &self.filters {
            for tap in live[filter as usize * taps * c..][..taps * c].chunks_exact_mut(c) {
                self.inputs.iter().for_each(|&input| tap[input as usize] = true);
            }
        }
        live
    }
}

/// The number of `len` groups that stay: at least one.
fn kept(len: usize, sparsity: f64) -> usize {
    (((1.0 - sparsity) * len as f64).round() as usize).max(1)
}

fn chosen(count: usize, len: usize, random: &mut Random) -> Vec<u32> {
    let flags = random.subset(count, len);
    (0..).zip(flags).filter_map(|(i, set)| set.then_some(i)).collect()
}

/// The live weights `[O, taps, C/G]` of a random mask, or `None` if the shape has no such zeros of its own: kernels of
/// one tap are weights, those of one channel are filters, and N:M needs m to divide the channels.
pub(super) fn live_weights(
    kind: Kind,
    shape: [usize; 3],
    sparsity: f64,
    random: &mut Random,
) -> Option<Vec<bool>> {
    let [o, taps, c] = shape;
    match kind {
        Kind::Filters | Kind::Channels => None,
        Kind::Weights => Some(boxes(shape, [1, 1, 1], sparsity, random)),
        Kind::Blocks(filters) => (o >= filters).then(|| boxes(shape, [filters, 1, 1], sparsity, random)),
        Kind::Kernels(filters) => {
            (o >= filters && taps > 1 && c > 1).then(|| boxes(shape, [filters, taps, 1], sparsity, random))
        }
        Kind::NofM => {
            let (n, m) = n_of_m(sparsity).filter(|(_, m)| c.is_multiple_of(*m))?;
            Some((0..o * taps * c / m).flat_map(|_| random.subset(n, m)).collect())
        }
    }
}

/// The N:M pattern for a sparsity: the smallest m of 4, 8 and 16 for which n of m are within 2.5 percentage points.
pub(super) fn n_of_m(sparsity: f64) -> Option<(usize, usize)> {
    [4, 8, 16].into_iter().find_map(|m| {
        let n = ((1.0 - sparsity) * m as f64).round();
        let off = (1.0 - n / m as f64 - sparsity).abs();
        (n >= 1.0 && off <= 0.025 + 1e-9).then_some((n as usize, m))
    })
}

/// Divides the weights into boxes, of which a random share is zero. The last box along an axis may be shorter.
fn boxes(shape: [usize; 3], lengths: [usize; 3], sparsity: f64, random: &mut Random) -> Vec<bool> {
    let [outs, taps, ins] = [0, 1, 2].map(|axis| shape[axis].div_ceil(lengths[axis]));
    let live = random.subset(kept(outs * taps * ins, sparsity), outs * taps * ins);
    let mut weights = Vec::with_capacity(shape.iter().product());
    for out in 0..shape[0] {
        for tap in 0..shape[1] {
            let first = (out / lengths[0] * taps + tap / lengths[1]) * ins;
            weights.extend((0..shape[2]).map(|input| live[first + input / lengths[2]]));
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_kernels::pattern::{Pattern, Structure};
    use proptest::prelude::*;

    fn pattern(live: &[bool], shape: [usize; 3]) -> Pattern {
        let mask: Vec<f32> = live.iter().map(|&live| f32::from(u8::from(live))).collect();
        Pattern::of(&mask, shape)
    }

    #[test]
    fn masks_have_their_structure() {
        let shape = [32, 9, 48];
        for (kind, structure) in [
            (Kind::Weights, Structure::Weights),
            (Kind::Blocks(2), Structure::Blocks { filters: 2 }),
            (Kind::Blocks(8), Structure::Blocks { filters: 8 }),
            (Kind::Kernels(8), Structure::Blocks { filters: 8 }),
            (Kind::Kernels(16), Structure::Blocks { filters: 16 }),
            (Kind::NofM, Structure::NofM { n: 2, m: 4 }),
        ] {
            let live = live_weights(kind, shape, 0.5, &mut Random::new(1)).unwrap();
            let pattern = pattern(&live, shape);
            assert_eq!(pattern.structure(), structure, "{kind}");
            assert!((pattern.density() - 0.5).abs() < 0.01, "{kind}: {}", pattern.density());
        }
    }

    #[test]
    fn kernels_are_whole() {
        let shape = [16, 9, 20];
        let live = live_weights(Kind::Kernels(8), shape, 0.7, &mut Random::new(3)).unwrap();
        for filter in live.chunks_exact(9 * 20) {
            filter.chunks_exact(20).for_each(|tap| assert_eq!(tap, &filter[..20]));
        }
    }

    #[test]
    fn the_nearest_small_n_of_m_is_chosen() {
        for (percent, expected) in [
            (0, Some((4, 4))),
            (25, Some((3, 4))),
            (50, Some((2, 4))),
            (60, Some((3, 8))),
            (70, Some((5, 16))),
            (75, Some((1, 4))),
            (80, Some((3, 16))),
            (90, Some((1, 8))),
            (95, Some((1, 16))),
            (98, None),
        ] {
            assert_eq!(n_of_m(f64::from(percent) / 100.0), expected, "{percent} %");
        }
    }

    proptest! {
        #[test]
        fn a_mask_has_the_requested_share_of_zeros(
            o in 1usize..40, taps in 1usize..10, c in 1usize..40,
            percent in 0u32..=100, block in 1usize..9, seed: u64,
        ) {
            let shape = [o, taps, c];
            let sparsity = f64::from(percent) / 100.0;
            for kind in [Kind::Weights, Kind::Blocks(block), Kind::Kernels(block)] {
                let Some(live) = live_weights(kind, shape, sparsity, &mut Random::new(seed)) else { continue };
                prop_assert_eq!(live.len(), o * taps * c);
                let count = live.iter().filter(|live| **live).count();
                // One box more or less, and the last box of an axis may be short.
                let of_box = match kind { Kind::Weights => 1, Kind::Blocks(b) => b, _ => block * taps };
                let short = if o.is_multiple_of(block) { 0 } else { o.div_ceil(block) * block - o };
                let slack = of_box + short * taps * c;
                prop_assert!(count > 0 && (count as f64 - (1.0 - sparsity) * live.len() as f64).abs() <= slack as f64);
            }
        }

        #[test]
        fn dead_channels_multiply_to_the_sparsity(o in 20usize..200, c in 20usize..200, percent in 0u32..99, seed: u64) {
            let (shape, sparsity) = ([o, 3, c], f64::from(percent) / 100.0);
            let channels = Channels::both(shape, sparsity, false, &mut Random::new(seed));
            let live = channels.weights(shape);
            let density = live.iter().filter(|live| **live).count() as f64 / live.len() as f64;
            let expected = channels.filters.len() * channels.inputs.len() * 3;
            prop_assert_eq!(live.iter().filter(|live| **live).count(), expected);
            prop_assert!((density - (1.0 - sparsity)).abs() < 0.06, "{} {}", density, sparsity);
            let image = Channels::both(shape, sparsity, true, &mut Random::new(seed));
            prop_assert_eq!(image.inputs.len(), c);
        }
    }
}
