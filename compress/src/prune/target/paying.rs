//! Widths that pay: those near the lower hull of a group's price.
//!
//! ```text
//!   price │            ·  33: a panel of 16 filters for a single one
//!         │        · 32
//!         │    · 17
//!         │  · 16            a width pays if no mix of two others has as many channels for less
//!         └──────────── channels
//! ```

use super::prices::Prices;
use super::{Amount, Target};
use lopper_engine::channels::ChannelFlow;
use lopper_engine::{Graph, Result};
use std::collections::BTreeMap;

/// How far above the hull a width still pays, as a share of the group's part of the price.
const NEAR: f64 = 0.01;

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
pub(super) fn widths(prices: &impl super::knapsack::Prices, position: usize, whole: &[usize]) -> Vec<usize> {
    let mut kept = whole.to_vec();
    let points: Vec<(usize, f64)> = (1..=whole[position])
        .map(|width| {
            kept[position] = width;
            (width, prices.around(position, &kept))
        })
        .collect();
    near_hull(&points)
}

/// The first coordinates of `points`, ascending, that are at most [`NEAR`] above the lower hull of all.
fn near_hull(points: &[(usize, f64)]) -> Vec<usize> {
    let mut hull: Vec<(usize, f64)> = Vec::new();
    for &point in points {
        while let [.., a, b] = hull[..] {
            let slope = |from: (usize, f64), to: (usize, f64)| (to.1 - from.1) / (to.0 - from.0) as f64;
            if slope(a, b) < slope(b, point) {
                break;
            }
            hull.pop();
        }
        hull.push(point);
    }
    let most = points.last().map_or(0.0, |point| point.1);
    let on_hull = |width: usize| {
        let next = hull.partition_point(|point| point.0 < width);
        match (next.checked_sub(1).map(|before| hull[before]), hull[next]) {
            (Some(a), b) if b.0 > width => a.1 + (b.1 - a.1) * (width - a.0) as f64 / (b.0 - a.0) as f64,
            (_, b) => b.1,
        }
    };
    let near = points.iter().filter(|&&(width, price)| price <= on_hull(width) + NEAR * most);
    near.map(|&(width, _)| width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_just_above_a_step_do_not_pay() {
        let price = |width: usize| (width.next_multiple_of(16) * 10 + width) as f64;
        let points: Vec<(usize, f64)> = (1..=64).map(|width| (width, price(width))).collect();
        let paying = near_hull(&points);
        assert!([16, 32, 48, 64].iter().all(|width| paying.contains(width)), "{paying:?}");
        assert!([17, 33, 40, 49, 56].iter().all(|width| !paying.contains(width)), "{paying:?}");
    }

    #[test]
    fn all_widths_pay_if_each_channel_costs_the_same() {
        let points: Vec<(usize, f64)> = (1..=20).map(|width| (width, 3.0 * width as f64)).collect();
        assert_eq!(near_hull(&points), (1..=20).collect::<Vec<_>>());
        assert_eq!(near_hull(&[(1, 2.0)]), [1]);
    }
}
