//! Ranks for all layers together: the most of every weight that a budget of multiply-accumulates buys.
//!
//! Rank r of a layer costs c multiply-accumulates and removes σ_r² / Σ σ² of the layer's squared relative error. Singular
//! values descend, so buying the largest gain per cost first is optimal but for the last purchase. A layer whose ranks
//! would cost as much as it does whole stays whole, which changes what the others can spend: the purchase is repeated
//! without it.

use super::split::Unfolding;
use lopper_engine::{Error, NodeId, Result};
use std::collections::BTreeMap;

/// A layer that can be split.
pub(super) struct Offer {
    pub node: NodeId,
    pub unfolding: Unfolding,
    /// σ², the largest first.
    pub squares: Vec<f64>,
    /// Multiply-accumulates of a rank, and of the whole layer.
    pub per_rank: u64,
    pub whole: u64,
}

/// The rank of each layer to split; layers that are missing stay whole. `others` are the multiply-accumulates of the rest
/// of the network.
///
/// # Errors
/// If even rank 1 of every layer takes more than `share` of all multiply-accumulates.
pub(super) fn ranks(
    mut offers: Vec<Offer>,
    others: u64,
    share: f64,
) -> Result<BTreeMap<NodeId, (Unfolding, usize)>> {
    let total = others + offers.iter().map(|offer| offer.whole).sum::<u64>();
    let allowed = share * total as f64;
    let least = others + offers.iter().map(|offer| offer.per_rank.min(offer.whole)).sum::<u64>();
    if allowed < least as f64 {
        return Err(Error::invalid(format!(
            "factorize target_macs: expected at least {:.3}: rank 1 of every layer that can be split, and the other layers, \
             take {least} of {total} multiply-accumulates; found {share}",
            (least as f64 / total as f64 * 1000.0).ceil() / 1000.0
        )));
    }
    let mut left = allowed - others as f64;
    loop {
        let ranks = buy(&offers, left);
        let costs = |index: usize| offers[index].per_rank * ranks[index] as u64 >= offers[index].whole;
        let whole: Vec<usize> = (0..offers.len()).filter(|&index| costs(index)).collect();
        // The layer that gains the least by being split stays whole first.
        let ratio = |index: usize| offers[index].whole as f64 / offers[index].per_rank as f64;
        match whole.into_iter().min_by(|&a, &b| ratio(a).total_cmp(&ratio(b))) {
            Some(index) => left -= offers.remove(index).whole as f64,
            None => {
                let of = |(offer, rank): (&Offer, usize)| (offer.node, (offer.unfolding, rank));
                return Ok(offers.iter().zip(ranks).map(of).collect());
            }
        }
    }
}

/// The ranks that `left` multiply-accumulates buy, at least 1 each.
fn buy(offers: &[Offer], left: f64) -> Vec<usize> {
    let mut ranks = vec![1; offers.len()];
    let mut spent: u64 = offers.iter().map(|offer| offer.per_rank).sum();
    let mut gains: Vec<(f64, usize, usize)> = Vec::new();
    for (index, offer) in offers.iter().enumerate() {
        let total: f64 = offer.squares.iter().sum();
        let per_cost = |square: f64| if total > 0.0 { square / total / offer.per_rank as f64 } else { 0.0 };
        gains.extend(offer.squares.iter().enumerate().skip(1).map(|(r, &s)| (per_cost(s), index, r)));
    }
    gains.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    for (_, index, _) in gains {
        let cost = offers[index].per_rank;
        if (spent + cost) as f64 > left {
            break;
        }
        spent += cost;
        ranks[index] += 1;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(node: NodeId, squares: &[f64], per_rank: u64, whole: u64) -> Offer {
        Offer { node, unfolding: Unfolding::Channel, squares: squares.to_vec(), per_rank, whole }
    }

    #[test]
    fn the_largest_gain_per_cost_is_bought_first() {
        // Shares 0.4, 0.3, 0.2, 0.1 at 10 each; 0.9, 0.05, 0.05 at 20 each.
        let offers = || vec![offer(1, &[4.0, 3.0, 2.0, 1.0], 10, 100), offer(2, &[18.0, 1.0, 1.0], 20, 200)];
        let bought = |share: f64| {
            let ranks = ranks(offers(), 100, share).unwrap();
            [1, 2].map(|node| ranks.get(&node).map_or(0, |(_, rank)| *rank))
        };
        // 400 in all. 130 buy rank 1 of each, 140 and 150 more of the first.
        assert_eq!(bought(130.0 / 400.0), [1, 1]);
        assert_eq!(bought(140.0 / 400.0), [2, 1]);
        assert_eq!(bought(160.0 / 400.0), [4, 1]);
        assert_eq!(bought(180.0 / 400.0), [4, 2]);
        let error = ranks(offers(), 100, 0.3).unwrap_err().to_string();
        assert!(error.contains("at least 0.325") && error.contains("130 of 400"), "{error}");
    }

    #[test]
    fn a_layer_that_costs_as_much_in_ranks_stays_whole() {
        let offers = vec![offer(1, &[1.0; 4], 70, 60), offer(2, &[1.0; 10], 10, 200)];
        let ranks = ranks(offers, 0, 0.5).unwrap();
        assert!(!ranks.contains_key(&1), "whole at 60");
        assert_eq!(ranks[&2].1, 7, "70 of 130 are left");
    }
}
