//! The price of a network as a function of the zeros of its layers.
//!
//! A convolution in row lanes converts pixels at each end whose neighbors do not compute in row lanes, so its time depends on
//! their choices. An image stays in lanes if every convolution that reads or writes it computes in row lanes.

use crate::targets::{Prices, milliseconds};
use crate::techniques::Clock;
use lopper_engine::plan::{Amount, Masked};
use std::collections::BTreeMap;

/// The price of an operation: milliseconds, or bytes, which do not depend on lanes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Price {
    /// From pixels to pixels.
    alone: f64,
    /// In row lanes, by whether input and output stay in lanes.
    in_lanes: Option<[[f64; 2]; 2]>,
}

impl Price {
    /// An operation that costs `alone` wherever it stands.
    pub fn fixed(alone: f64) -> Self {
        Self { alone, in_lanes: None }
    }

    /// The milliseconds of `masked`.
    pub fn of(masked: &Masked, clock: Option<&dyn Clock>) -> Self {
        let time = |amount: Amount| milliseconds(&amount, clock);
        let in_lanes = masked.in_lanes.map(|ends| ends.map(|ends| ends.map(time)));
        Self { alone: time(masked.alone), in_lanes }
    }

    /// The price at `share` of the way from `a` to `b`.
    pub fn between(a: &Self, b: &Self, share: f64) -> Self {
        let mix = |a: f64, b: f64| a + share * (b - a);
        let in_lanes = match (a.in_lanes, b.in_lanes) {
            (Some(a), Some(b)) => {
                Some([0, 1].map(|reads| [0, 1].map(|writes| mix(a[reads][writes], b[reads][writes]))))
            }
            _ => None,
        };
        Self { alone: mix(a.alone, b.alone), in_lanes }
    }

    /// The least price, between neighbors in row lanes.
    pub fn least(&self) -> f64 {
        self.among([true; 2])
    }

    /// Whether row lanes are faster if neither end converts.
    fn wants_lanes(&self) -> bool {
        self.in_lanes.is_some_and(|lanes| lanes[1][1] < self.alone)
    }

    /// The price if input and output can stay in lanes.
    fn among(&self, ends: [bool; 2]) -> f64 {
        let [reads, writes] = ends.map(usize::from);
        self.in_lanes.map_or(self.alone, |lanes| lanes[reads][writes].min(self.alone))
    }
}

/// The price of a plan: of operations with choices, and of all others.
pub(super) struct NetworkPrices {
    /// The prices of each choice.
    prices: Vec<Vec<Price>>,
    /// The images that an operation reads and writes, if they can stay in lanes.
    images: Vec<[Option<usize>; 2]>,
    /// The operations that have each image.
    having: BTreeMap<usize, Vec<usize>>,
    /// Each operation with those that share an image with it.
    around: Vec<Vec<usize>>,
    others: f64,
}

impl NetworkPrices {
    /// The price of operations that have these images and, for each choice, these prices, and of `others`.
    pub fn new(operations: Vec<([Option<usize>; 2], Vec<Price>)>, others: f64) -> Self {
        let (images, prices): (Vec<_>, Vec<_>) = operations.into_iter().unzip();
        let mut having: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (operation, images) in images.iter().enumerate() {
            images.iter().flatten().for_each(|&image| having.entry(image).or_default().push(operation));
        }
        let around = images.iter().enumerate().map(|(operation, images)| {
            let mut near: Vec<usize> =
                images.iter().flatten().flat_map(|image| having[image].clone()).collect();
            near.push(operation);
            near.sort_unstable();
            near.dedup();
            near
        });
        let around = around.collect();
        Self { prices, images, having, around, others }
    }

    fn of(&self, operation: usize, chosen: &[usize]) -> f64 {
        let lanes = |other: &usize| self.prices[*other][chosen[*other]].wants_lanes();
        let stays = |image: Option<usize>| image.is_some_and(|image| self.having[&image].iter().all(lanes));
        self.prices[operation][chosen[operation]].among(self.images[operation].map(stays))
    }
}

impl Prices for NetworkPrices {
    fn total(&self, chosen: &[usize]) -> f64 {
        self.others + (0..chosen.len()).map(|operation| self.of(operation, chosen)).sum::<f64>()
    }

    fn around(&self, operation: usize, chosen: &[usize]) -> f64 {
        self.around[operation].iter().map(|&near| self.of(near, chosen)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10 ms dense; in lanes 4 ms, and 2 ms for each end that is converted.
    fn choices() -> Vec<Price> {
        let lanes = Price { alone: 8.0, in_lanes: Some([[8.0, 6.0], [6.0, 4.0]]) };
        vec![lanes, Price::fixed(10.0)]
    }

    #[test]
    fn neighbors_in_lanes_save_conversions() {
        let chain =
            vec![([None, Some(0)], choices()), ([Some(0), Some(1)], choices()), ([Some(1), None], choices())];
        let prices = NetworkPrices::new(chain, 1.0);
        assert_eq!(prices.total(&[1, 1, 1]), 31.0);
        assert_eq!(prices.total(&[1, 0, 1]), 29.0, "alone, both ends convert");
        assert_eq!(prices.total(&[0, 0, 1]), 23.0, "6 and 6 beside 10");
        assert_eq!(prices.total(&[0, 0, 0]), 17.0);
        assert_eq!(prices.total(&[0, 1, 0]), 27.0);
        // What a move saves around an operation is what it saves in all.
        for (operation, from, to) in
            [(1, [0, 1, 0], [0, 0, 0]), (0, [1, 0, 0], [0, 0, 0]), (2, [1, 1, 1], [1, 1, 0])]
        {
            let around = prices.around(operation, &from) - prices.around(operation, &to);
            assert_eq!(around, prices.total(&from) - prices.total(&to));
        }
    }

    #[test]
    fn times_are_mixed_end_by_end() {
        let [lanes, dense] = [choices()[0], choices()[1]];
        let sparser = Price { alone: 4.0, in_lanes: Some([[4.0, 3.0], [3.0, 2.0]]) };
        let mixed = Price::between(&lanes, &sparser, 0.25);
        assert_eq!(mixed, Price { alone: 7.0, in_lanes: Some([[7.0, 5.25], [5.25, 3.5]]) });
        assert_eq!(Price::between(&dense, &sparser, 0.5), Price::fixed(7.0));
        assert_eq!((lanes.least(), dense.least()), (4.0, 10.0));
    }
}
