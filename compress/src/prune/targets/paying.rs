//! Widths that pay: those at which one more channel would cost at least its share.
//!
//! ```text
//!   price │            ·  33: a panel of 16 filters for a single one
//!         │        · 32
//!         │    · 17
//!         │  · 16            32 pays, because the next channel costs more than channels around it do on average;
//!         └──────────── channels     17 to 31 do not, because more channels cost hardly more
//! ```

use super::Target;
use super::prices::Prices;
use crate::targets::{Amount, Prices as Priced};
use lopper_engine::channels::ChannelFlow;
use lopper_engine::{Graph, Result};
use std::collections::BTreeMap;

/// The channels on either side over which a price is averaged: at least a vector of filters.
const AROUND: usize = 16;
/// The share of that average that the next channel costs where a width pays. Where prices are smooth, all widths do.
const SHARE: f64 = 0.9;

/// The widths that pay of each group of `graph` that can be cut, ascending, by a plan's estimate for one image.
pub(in crate::prune) fn paying(graph: &Graph) -> Result<BTreeMap<Vec<String>, Vec<usize>>> {
    let flow = ChannelFlow::new(graph)?;
    let free: Vec<usize> = (0..flow.groups().len()).filter(|&g| flow.groups()[g].frozen.is_none()).collect();
    let target = Target { latency: Some(Amount::Share(1.0)), ..Target::default() };
    let prices = Prices::new(graph, &flow, &free, &target, None)?;
    let whole: Vec<usize> = free.iter().map(|&group| flow.groups()[group].units.len()).collect();
    let of = |(position, &group): (usize, &usize)| {
        (flow.groups()[group].layer_names(graph), widths(&prices, position, &whole))
    };
    Ok(free.iter().enumerate().map(of).collect())
}

/// The widths of the group at `position` that pay if the others are `whole`.
pub(super) fn widths(prices: &impl Priced, position: usize, whole: &[usize]) -> Vec<usize> {
    let mut kept = whole.to_vec();
    let price = |width: usize| {
        kept[position] = width;
        prices.around(position, &kept)
    };
    let of_widths: Vec<f64> = (1..=whole[position]).map(price).collect();
    paying_of(&of_widths)
}

/// The widths that pay if width w costs `prices[w − 1]`.
fn paying_of(prices: &[f64]) -> Vec<usize> {
    let price = |width: usize| prices[width - 1];
    let pays = |&width: &usize| {
        let (low, high) = (width.saturating_sub(AROUND).max(1), (width + AROUND).min(prices.len()));
        let average = (price(high) - price(low)) / (high - low).max(1) as f64;
        width == prices.len() || price(width + 1) - price(width) >= SHARE * average
    };
    (1..=prices.len()).filter(pays).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_just_above_a_step_do_not_pay() {
        let price = |width: usize| (width.next_multiple_of(16) * 10 + width) as f64;
        assert_eq!(paying_of(&(1..=64).map(price).collect::<Vec<_>>()), [16, 32, 48, 64]);
        assert_eq!(paying_of(&(1..=40).map(price).collect::<Vec<_>>()), [16, 32, 40]);
    }

    #[test]
    fn all_widths_pay_if_each_channel_costs_the_same() {
        let linear: Vec<f64> = (1..=20).map(|width| 3.0 * f64::from(width)).collect();
        assert_eq!(paying_of(&linear), (1..=20).collect::<Vec<_>>());
        let convex: Vec<f64> = (1..=200).map(|width| f64::from(width).hypot(100.0)).collect();
        assert!(paying_of(&convex[40..]).len() > 100, "{:?}", paying_of(&convex[40..]));
        assert_eq!(paying_of(&[2.0]), [1]);
    }
}
