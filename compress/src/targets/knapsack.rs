//! The knapsack: an option for each item, so that the whole stays within a budget and loses the least. Items are groups of
//! channels with their widths, or layers with their patterns or ranks.
//!
//! ```text
//!   all items whole
//!   while the price exceeds the budget:     the move to a cheaper option with the least  Δloss / Δprice
//!                                           (no more of Δprice counts than is still missing)
//!   while one fits into what is left:       the move to a dearer option that wins back the most loss
//! ```
//!
//! The price of an item depends on the options of its neighbors, so it is asked for anew before every move. Moves may skip
//! options, which finds the lower hull of a price with steps. Equal moves are decided by the order of items and options, so
//! that the choice depends on nothing else.

use super::Solution;

/// An item: its options by falling loss, and the loss of each. The first is the cheapest, the last the item as it is, of
/// loss 0.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Numbers that stand for options, such as widths.
    pub options: Vec<usize>,
    /// The loss of each.
    pub losses: Vec<f64>,
}

/// Prices of options.
pub(crate) trait Prices {
    /// The price of everything if item i has the option `kept[i]`.
    fn total(&self, kept: &[usize]) -> f64;

    /// The part of it that depends on `item`.
    fn around(&self, item: usize, kept: &[usize]) -> f64;
}

/// Chooses an option for each of `items`, so that the total price is at most `budget`.
pub(crate) fn choose(items: &[Item], prices: &impl Prices, budget: f64) -> Solution<Vec<usize>> {
    let first: Vec<usize> = items.iter().map(|item| item.options[0]).collect();
    let mut at: Vec<usize> = items.iter().map(|item| item.options.len() - 1).collect();
    let mut kept: Vec<usize> = items.iter().zip(&at).map(|(item, &at)| item.options[at]).collect();
    let mut total = prices.total(&kept);
    while total > budget {
        let Some((group, to)) = cheapest(items, prices, &mut kept, &at, total - budget) else {
            return match prices.total(&first) {
                least if least <= budget => Solution::Plan(first, least),
                least => Solution::Least(least),
            };
        };
        (at[group], kept[group]) = (to, items[group].options[to]);
        total = prices.total(&kept);
    }
    while let Some((group, to)) = best_return(items, prices, &mut kept, &at, budget - total) {
        (at[group], kept[group]) = (to, items[group].options[to]);
        total = prices.total(&kept);
    }
    Solution::Plan(kept, total)
}

/// The price of all items as they are.
pub(crate) fn whole(items: &[Item], prices: &impl Prices) -> f64 {
    let last = |item: &Item| item.options[item.options.len() - 1];
    prices.total(&items.iter().map(last).collect::<Vec<usize>>())
}

/// The move to a cheaper option that loses the least for its price, of which at most `missing` counts.
fn cheapest(
    items: &[Item],
    prices: &impl Prices,
    kept: &mut [usize],
    at: &[usize],
    missing: f64,
) -> Option<(usize, usize)> {
    let mut best: Option<(f64, usize, usize)> = None;
    for (group, item) in items.iter().enumerate() {
        let now = kept[group];
        let before = prices.around(group, kept);
        for to in (0..at[group]).rev() {
            kept[group] = item.options[to];
            let saved = (before - prices.around(group, kept)).min(missing);
            if saved <= 0.0 {
                continue;
            }
            let ratio = (item.losses[to] - item.losses[at[group]]) / saved;
            if best.is_none_or(|(least, ..)| ratio < least) {
                best = Some((ratio, group, to));
            }
        }
        kept[group] = now;
    }
    best.map(|(_, group, to)| (group, to))
}

/// The move to a dearer option that wins back the most loss, among those that cost at most `left`.
fn best_return(
    items: &[Item],
    prices: &impl Prices,
    kept: &mut [usize],
    at: &[usize],
    left: f64,
) -> Option<(usize, usize)> {
    let mut best: Option<(f64, usize, usize)> = None;
    for (group, item) in items.iter().enumerate() {
        let now = kept[group];
        let before = prices.around(group, kept);
        for to in at[group] + 1..item.options.len() {
            kept[group] = item.options[to];
            let won = item.losses[at[group]] - item.losses[to];
            let fits = prices.around(group, kept) - before <= left;
            if fits && won > 0.0 && best.is_none_or(|(most, ..)| won > most) {
                best = Some((won, group, to));
            }
        }
        kept[group] = now;
    }
    best.map(|(_, group, to)| (group, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items that cost a number for each unit, and a product with the next one.
    struct Chain {
        unit: Vec<f64>,
        pair: f64,
    }

    impl Chain {
        fn pair(&self, first: usize, kept: &[usize]) -> f64 {
            match kept.get(first + 1) {
                Some(next) => self.pair * (kept[first] * next) as f64,
                None => 0.0,
            }
        }
    }

    impl Prices for Chain {
        fn total(&self, kept: &[usize]) -> f64 {
            (0..kept.len()).map(|g| self.unit[g] * kept[g] as f64 + self.pair(g, kept)).sum()
        }

        fn around(&self, group: usize, kept: &[usize]) -> f64 {
            let before = if group > 0 { self.pair(group - 1, kept) } else { 0.0 };
            self.unit[group] * kept[group] as f64 + self.pair(group, kept) + before
        }
    }

    /// The options that are chosen, or the least price.
    fn chosen(solution: Solution<Vec<usize>>) -> Result<Vec<usize>, f64> {
        match solution {
            Solution::Plan(kept, _) => Ok(kept),
            Solution::Least(least) => Err(least),
        }
    }

    fn item(losses: &[f64]) -> Item {
        Item { options: (1..=losses.len()).collect(), losses: losses.to_vec() }
    }

    #[test]
    fn hand_computed_knapsacks() {
        let prices = Chain { unit: vec![1.0, 2.0], pair: 0.0 };
        let items = [item(&[6.0, 3.0, 1.0, 0.0]), item(&[4.0, 1.0, 0.0])];
        // 10 = 4 · 1 + 3 · 2 at first.
        let kept = |budget| chosen(choose(&items, &prices, budget));
        assert_eq!(kept(10.0), Ok(vec![4, 3]));
        // A unit of the second saves 2 for a loss of 1; half of it counts here, as much as one of the first.
        assert_eq!(kept(9.0), Ok(vec![3, 3]));
        assert_eq!(kept(8.0), Ok(vec![4, 2]));
        assert_eq!(kept(7.0), Ok(vec![3, 2]));
        // Then 2 for 1, or 2 for 3.
        assert_eq!(kept(5.0), Ok(vec![3, 1]));
        assert_eq!(kept(3.0), Ok(vec![1, 1]));
        assert_eq!(kept(2.9), Err(3.0));
    }

    #[test]
    fn prices_of_neighbors_are_asked_for_anew() {
        // 4 · 4 = 16. The first loses less, and once it is at 2, a unit of the second saves only 2.
        let prices = Chain { unit: vec![0.0, 0.0], pair: 1.0 };
        let items = [item(&[2.2, 1.1, 0.5, 0.0]), item(&[9.0, 6.0, 3.0, 0.0])];
        assert_eq!(chosen(choose(&items, &prices, 8.0)), Ok(vec![2, 4]));
        assert_eq!(chosen(choose(&items, &prices, 3.0)), Ok(vec![1, 3]));
    }

    /// Against all choices: the greedy one fits, and loses little more than the best that fits.
    #[test]
    fn the_loss_is_near_the_best_of_all_choices() {
        let mut seed = 1u64;
        let mut draw = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as f64 / (1u64 << 24) as f64
        };
        let mut ratios = Vec::new();
        for _ in 0..100 {
            let items: Vec<Item> = (0..3)
                .map(|_| {
                    let mut losses = vec![0.0];
                    (0..4).for_each(|_| losses.push(losses[losses.len() - 1] + draw()));
                    losses.reverse();
                    item(&losses)
                })
                .collect();
            let prices = Chain { unit: (0..3).map(|_| draw()).collect(), pair: 0.2 * draw() };
            let budget = prices.total(&[5; 3]) * (0.4 + 0.5 * draw());
            let loss = |kept: &[usize]| -> f64 {
                kept.iter().zip(&items).map(|(&width, item)| item.losses[width - 1]).sum()
            };
            let Solution::Plan(kept, price) = choose(&items, &prices, budget) else {
                assert!(prices.total(&[1; 3]) > budget);
                continue;
            };
            assert!(price <= budget && price == prices.total(&kept));
            let all = (0..125).map(|i| [i / 25 + 1, i / 5 % 5 + 1, i % 5 + 1]);
            let best = all.filter(|kept| prices.total(kept) <= budget).map(|kept| loss(&kept));
            ratios.push(loss(&kept) / best.fold(f64::INFINITY, f64::min).max(1e-9));
        }
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        assert!(ratios.len() > 50 && mean < 1.1, "{mean}: {ratios:?}");
    }
}
