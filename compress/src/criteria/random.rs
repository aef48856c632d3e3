//! Random scores: the control that every criterion must beat.

use super::{LayerView, Score, described};
use lopper_engine::Result;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// `random`: a uniform random number in [0, 1), fixed by seed and layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

described!(Random, "uniform in [0, 1): the control that every criterion must beat");

impl Score for Random {
    fn name(&self) -> &str {
        "random"
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        // Each layer has its own stream: the generator's seeding spreads neighboring seeds apart.
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(layer.seed());
        Ok((0..layer.groups().count()).map(|_| generator.random()).collect())
    }
}
