//! Offers: what can become of a layer, each with a loss and a price.

use super::Item;

/// What can become of a layer, from the cheapest with the largest loss to the layer as it is, without loss. Nothing in between
/// is beaten in both.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Offer<T> {
    pub choices: Vec<T>,
    pub losses: Vec<f64>,
    /// The price of each if its neighbors stay as they are.
    pub prices: Vec<f64>,
}

impl<T: Clone> Offer<T> {
    /// The offer of `choices` with their losses and prices, beside the layer as it is, `whole`, with its price.
    pub fn new(choices: Vec<(T, f64, f64)>, (whole, price): (T, f64)) -> Self {
        let mut sorted: Vec<(T, f64, f64)> = choices;
        // By rising loss; of equal ones the cheapest first.
        sorted.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.2.total_cmp(&b.2)));
        let mut kept = vec![(whole, 0.0, price)];
        for choice in sorted {
            if choice.2 < kept[kept.len() - 1].2 {
                kept.push(choice);
            }
        }
        kept.reverse();
        Self {
            losses: kept.iter().map(|choice| choice.1).collect(),
            prices: kept.iter().map(|choice| choice.2).collect(),
            choices: kept.into_iter().map(|choice| choice.0).collect(),
        }
    }

    /// The item of a knapsack: positions in the lists.
    pub fn item(&self) -> Item {
        Item { options: (0..self.choices.len()).collect(), losses: self.losses.clone() }
    }
}

/// Prices of offers that do not depend on each other, and of everything else.
pub(crate) struct Offers<'a, T> {
    pub offers: &'a [Offer<T>],
    pub others: f64,
}

impl<T> super::Prices for Offers<'_, T> {
    fn total(&self, chosen: &[usize]) -> f64 {
        self.others + (0..chosen.len()).map(|item| self.around(item, chosen)).sum::<f64>()
    }

    fn around(&self, item: usize, chosen: &[usize]) -> f64 {
        self.offers[item].prices[chosen[item]]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Solution, choose};
    use super::*;

    #[test]
    fn choices_that_are_beaten_are_left_out() {
        let choices = vec![("dear", 1.0, 9.0), ("good", 1.0, 5.0), ("worse", 2.0, 6.0), ("cheap", 3.0, 1.0)];
        let offer = Offer::new(choices, ("whole", 8.0));
        assert_eq!(offer.choices, ["cheap", "good", "whole"]);
        assert_eq!((offer.losses, offer.prices), (vec![3.0, 1.0, 0.0], vec![1.0, 5.0, 8.0]));
        let free = Offer::new(vec![("free", 0.0, 2.0)], ("whole", 8.0));
        assert_eq!(free.choices, ["free", "whole"], "what loses nothing may still be chosen");
    }

    #[test]
    fn offers_fill_a_knapsack() {
        let first = Offer::new(vec![(1, 4.0, 1.0), (2, 1.0, 3.0)], (3, 5.0));
        let second = Offer::new(vec![(1, 1.0, 2.0)], (2, 6.0));
        let offers = [first, second];
        let items: Vec<Item> = offers.iter().map(Offer::item).collect();
        let prices = Offers { offers: &offers, others: 10.0 };
        let kept = |budget| match choose(&items, &prices, budget) {
            Solution::Plan(kept, _) => Some(kept),
            Solution::Least(_) => None,
        };
        assert_eq!(kept(21.0), Some(vec![2, 1]));
        assert_eq!(kept(17.0), Some(vec![2, 0]), "4 for a loss of 1");
        assert_eq!(kept(15.0), Some(vec![1, 0]));
        assert!(matches!(choose(&items, &prices, 12.0), Solution::Least(13.0)));
    }
}
