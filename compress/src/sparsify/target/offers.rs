//! What can become of a layer: patterns and sparsities with their losses and prices.

use super::layer::{Division, Layer};
use super::prices::Price;
use crate::granularity::Granularity;
use crate::targets::Offer;
use lopper_engine::{Graph, Result};

/// Sparsities whose masks are made and priced.
const SPARSITIES: [f64; 6] = [0.5, 0.7, 0.8, 0.9, 0.95, 0.98];
/// Parts between two of them: in between, losses and prices are on a line.
const PARTS: usize = 4;

/// A pattern of zeros.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pick {
    pub granularity: Granularity,
    /// The share of its groups that is dropped.
    pub sparsity: f64,
}

/// What can become of an operation: a pattern, or none, with its price.
pub(super) type Choice = (Option<Pick>, Price);

/// The offer of `layer` at `granularities`, beside what it costs as it is. `price` is that of a network without the given
/// groups.
pub(super) fn offer(
    graph: &Graph,
    layer: &Layer,
    granularities: &[Granularity],
    whole: Price,
    price: &dyn Fn(&Division, &[bool]) -> Result<Price>,
) -> Result<Offer<Choice>> {
    let mut choices = Vec::new();
    for &granularity in granularities {
        let Some(division) = layer.divided(graph, granularity) else { continue };
        let at = |sparsity: f64| -> Result<Sample> {
            let dropped = division.dropped(sparsity);
            Ok(Sample { sparsity, loss: layer.loss(&division, &dropped), price: price(&division, &dropped)? })
        };
        let samples: Vec<Sample> = match granularity.quota() {
            Some(quota) => vec![at(quota.sparsity())?],
            None => SPARSITIES.into_iter().map(at).collect::<Result<_>>()?,
        };
        for Sample { sparsity, loss, price } in refined(&samples) {
            choices.push(((Some(Pick { granularity, sparsity }), price), loss, price.least()));
        }
    }
    Ok(Offer::new(choices, ((None, whole), whole.least())))
}

/// A sparsity with its loss and price.
#[derive(Clone, Copy)]
struct Sample {
    sparsity: f64,
    loss: f64,
    price: Price,
}

/// `samples` with others between them.
fn refined(samples: &[Sample]) -> Vec<Sample> {
    let between = |pair: &[Sample]| {
        let [a, b] = [pair[0], pair[1]];
        (0..PARTS).map(move |part| {
            let share = part as f64 / PARTS as f64;
            let mix = |a: f64, b: f64| a + share * (b - a);
            Sample {
                sparsity: mix(a.sparsity, b.sparsity),
                loss: mix(a.loss, b.loss),
                price: Price::between(&a.price, &b.price, share),
            }
        })
    };
    samples.windows(2).flat_map(between).chain(samples.last().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sparsify::SparsifyConfig;
    use crate::testing::conv;

    #[test]
    fn an_offer_falls_in_loss_and_rises_in_price() {
        // Each sparsity is a whole number of its 1000 pairs.
        let mut graph = Graph::new(100);
        let a = graph.push("a", conv(20, 1, 100, 1), &[0]).unwrap();
        graph.push("b", conv(8, 1, 20, 1), &[a]).unwrap();
        let config = SparsifyConfig { granularity: Granularity::WEIGHT, ..SparsifyConfig::new(0.5) };
        let layer = &Layer::all(&graph, &config, None).unwrap()[0];
        // A price that does not care how zeros are arranged: pairs lose more for the same price.
        let price = |division: &Division, dropped: &[bool]| {
            let mut live = 0.0;
            division.groups.for_each_weight(|_, group| live += if dropped[group] { 0.0 } else { 1.0 });
            Ok(Price::fixed(live))
        };
        let granularities =
            [Granularity::WEIGHT, Granularity::BLOCK.block(2), Granularity::WEIGHT.keep(2, 4)];
        let offer = offer(&graph, layer, &granularities, Price::fixed(2000.0), &price).unwrap();
        assert!(offer.losses.is_sorted_by(|a, b| a > b) && offer.prices.is_sorted_by(|a, b| a < b));
        let picks: Vec<Pick> = offer.choices.iter().filter_map(|(pick, _)| *pick).collect();
        assert_eq!(picks.len(), PARTS * (SPARSITIES.len() - 1) + 1, "{picks:?}");
        assert!(picks.iter().all(|pick| pick.granularity == Granularity::WEIGHT), "{picks:?}");
        assert!(picks[0].sparsity == 0.98 && picks[picks.len() - 1].sparsity == 0.5, "{picks:?}");
        assert_eq!(offer.choices.last().unwrap().0, None, "the layer as it is");
    }
}
