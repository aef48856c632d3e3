//! Masks that a layer would make use of, if it multiplies the zeros of its own.

use super::steps::{self, skips};
use lopper_compress::Granularity;
use lopper_engine::plan::Step;
use lopper_engine::{Device, Layer, Result, Tensor, memory};
use lopper_kernels::pattern::{Pattern, Structure};
use lopper_models::data::generator;
use rand::RngExt;
use std::fmt;

/// Granularities that are tried at the density of the mask, finest first.
const GRANULARITIES: [Granularity; 8] = [
    Granularity::WEIGHT,
    Granularity::BLOCK.block(2),
    Granularity::BLOCK.block(4),
    Granularity::BLOCK.block(8),
    Granularity::KERNEL_BLOCK.block(8),
    Granularity::KERNEL_BLOCK.block(16),
    Granularity::FILTER,
    Granularity::ROW,
];

/// Densities that are tried at the granularity of the mask, lowest first: where a kernel skips zeros at all, it does so
/// at the lowest.
const DENSITIES: [f64; 9] = [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6];

/// Masks of a layer of which a plan would make use.
#[derive(Clone, Default)]
pub struct Alternatives {
    /// The finest granularity with the same density.
    granularity: Option<Granularity>,
    /// The highest density that was tried, with the granularity of the mask.
    density: Option<(Granularity, f64)>,
}

impl Alternatives {
    /// Tries random masks on `layer` alone, for one input of shape `x`. `pattern` is that of its mask.
    pub fn find(layer: &Layer, x: &[usize], pattern: &Pattern, device: &Device) -> Result<Self> {
        let Some(dense) = steps::alone(layer, x, None, device)? else { return Ok(Self::default()) };
        let trial = Trial { layer, x, device, dense };
        let (own, mut found) = (granularity_of(pattern), Self::default());
        for granularity in GRANULARITIES.into_iter().filter(|granularity| Some(*granularity) != own) {
            if trial.skips(granularity, pattern.density())? {
                found.granularity = Some(granularity);
                break;
            }
        }
        let Some(own) = own else { return Ok(found) };
        for density in DENSITIES.into_iter().filter(|density| *density < pattern.density()) {
            if !trial.skips(own, density)? {
                break;
            }
            found.density = Some((own, density));
        }
        Ok(found)
    }
}

/// A layer on which masks are tried.
struct Trial<'a> {
    layer: &'a Layer,
    x: &'a [usize],
    device: &'a Device,
    /// Its step without a mask.
    dense: Step,
}

impl Trial<'_> {
    /// Returns whether a plan skips zeros of a random mask of this granularity and density.
    fn skips(&self, granularity: Granularity, density: f64) -> Result<bool> {
        let Some(mask) = random_mask(self.layer, granularity, density)? else { return Ok(false) };
        let step = steps::alone(self.layer, self.x, Some(mask), self.device)?;
        Ok(step.is_none_or(|step| skips(&step, &self.dense)))
    }
}

/// Returns the granularity that makes `pattern`, if lists of single weights or of blocks describe it.
fn granularity_of(pattern: &Pattern) -> Option<Granularity> {
    match pattern.structure() {
        Structure::Dense => None,
        Structure::Blocks { filters } if has_whole_kernels(pattern) => {
            Some(Granularity::KERNEL_BLOCK.block(filters))
        }
        Structure::Blocks { filters } => Some(Granularity::BLOCK.block(filters)),
        Structure::NofM { .. } | Structure::Weights => Some(Granularity::WEIGHT),
    }
}

/// Returns whether the weights that join an input channel to a filter are nonzero at all taps or at none.
fn has_whole_kernels(pattern: &Pattern) -> bool {
    let [filters, taps, inputs] = pattern.shape();
    let at = |filter, tap, input| pattern.is_live(filter, tap * inputs + input);
    let whole = |filter, input| (1..taps).all(|tap| at(filter, tap, input) == at(filter, 0, input));
    taps > 1 && (0..filters).all(|filter| (0..inputs).all(|input| whole(filter, input)))
}

/// Returns a mask of about this density, or `None` if the granularity does not apply to the layer. Unless filters are
/// dropped as a whole, each keeps a weight: a filter that is dead by chance would be skipped, but says nothing about the
/// zeros of the others.
fn random_mask(layer: &Layer, granularity: Granularity, density: f64) -> Result<Option<Tensor>> {
    let (Some(weight), Ok(groups)) = (steps::weight(layer), granularity.groups(layer)) else {
        return Ok(None);
    };
    let shape = weight.value().shape();
    memory::require("trying masks", memory::bytes_of::<f32>([groups.weights(), 2]))?;
    // One group is always live.
    let mut random = generator(0, 0, 0);
    let mut live: Vec<bool> =
        (0..groups.count()).map(|group| random.random_bool(density) || group == 0).collect();
    if ![Granularity::FILTER, Granularity::ROW].contains(&granularity) {
        let filter = groups.weights() / shape[0];
        // By filter: its first group, and whether one is live.
        let mut filters = vec![(0, false); shape[0]];
        groups.for_each_weight(|i, group| match &mut filters[i / filter] {
            (first, any) if i % filter == 0 => (*first, *any) = (group, live[group]),
            (_, any) => *any |= live[group],
        });
        filters.iter().filter(|(_, any)| !any).for_each(|(first, _)| live[*first] = true);
    }
    let mut mask = Tensor::zeros(shape);
    let values = mask.data_mut();
    groups.for_each_weight(|i, group| values[i] = f32::from(live[group]));
    Ok(Some(mask))
}

/// As a part of a sentence: "skipped with filter at this density, or with weight at 20 %".
impl fmt::Display for Alternatives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let granularity = self.granularity.map(|granularity| format!("with {granularity} at this density"));
        let density = self
            .density
            .map(|(granularity, density)| format!("with {granularity} at {:.0} %", 100.0 * density));
        match (granularity, density) {
            (None, None) => f.write_str("no other mask that was tried is skipped"),
            (Some(one), None) | (None, Some(one)) => write!(f, "skipped {one}"),
            (Some(granularity), Some(density)) => write!(f, "skipped {granularity}, or {density}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_engine::Param;
    use lopper_engine::layer::{Conv2d, Linear};

    fn conv() -> Layer {
        let weight = Param::new(Tensor::full(&[24, 3, 3, 32], 1.0));
        Layer::Conv2d(Conv2d {
            weight,
            bias: None,
            stride: [1; 2],
            padding: [1; 2],
            extra_padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
        })
    }

    #[test]
    fn random_masks_have_the_granularity_and_density_that_they_are_drawn_with() {
        for granularity in GRANULARITIES {
            let Some(mask) = random_mask(&conv(), granularity, 0.3).unwrap() else {
                assert_eq!(granularity, Granularity::ROW);
                continue;
            };
            let pattern = Pattern::of(mask.data(), [24, 9, 32]);
            assert!((pattern.density() - 0.3).abs() < 0.1, "{granularity}: {}", pattern.density());
            let own = (granularity != Granularity::FILTER).then_some(granularity);
            assert_eq!(granularity_of(&pattern), own);
            if let (Some(own), Some(sparse)) = (own, random_mask(&conv(), granularity, 0.002).unwrap()) {
                let pattern = Pattern::of(sparse.data(), [24, 9, 32]);
                assert!(!pattern.has_dead_filters(), "{own}");
            }
        }
    }

    #[test]
    fn dead_filters_are_an_alternative_to_dead_inputs() {
        let mask: Vec<f32> = (0..24 * 9 * 32).map(|i| f32::from(i % 2 == 0)).collect();
        let pattern = Pattern::of(&mask, [24, 9, 32]);
        let found = Alternatives::find(&conv(), &[1, 8, 8, 32], &pattern, &Device::cpu()).unwrap();
        assert!(found.granularity.is_some() && found.density.is_none(), "{found}");
        assert!(found.to_string().starts_with("skipped with "), "{found}");
        let linear = Layer::Linear(Linear { weight: Param::new(Tensor::zeros(&[16, 32])), bias: None });
        let mut random = generator(1, 0, 0);
        let weights: Vec<f32> = (0..16 * 32).map(|_| f32::from(random.random_bool(0.5))).collect();
        let pattern = Pattern::of(&weights, [16, 1, 32]);
        let found = Alternatives::find(&linear, &[1, 32], &pattern, &Device::cpu()).unwrap();
        assert!(found.granularity.is_some(), "{found}");
    }
}
