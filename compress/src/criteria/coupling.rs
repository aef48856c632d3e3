//! Couplings: from the scores of all layers that make a channel to the score of the channel.

use crate::names::named;
use lopper_engine::About;
use serde::{Deserialize, Serialize};

/// How the scores of channels that are removed together become one. The layers are in graph order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coupling {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum: a channel that many layers make is worth more.
    Sum,
    /// The largest: one layer that needs the channel keeps it.
    Max,
    /// Their product.
    Prod,
    /// That of the first layer.
    First,
    /// That of the last layer, as of a gate behind the others.
    Gate,
}

named!(Coupling, "coupling");

impl Coupling {
    /// Every coupling, in the order in which they are listed.
    pub const ALL: &[Self] = &[Self::Mean, Self::Sum, Self::Max, Self::Prod, Self::First, Self::Gate];

    /// The formula for the scores s_l of the layers l of a group.
    pub const fn about(self) -> About {
        About::common(match self {
            Self::Mean => "Σ_l s_l / n",
            Self::Sum => "Σ_l s_l",
            Self::Max => "max_l s_l",
            Self::Prod => "Π_l s_l",
            Self::First => "s of the first layer",
            Self::Gate => "s of the last layer",
        })
    }

    /// The score of a channel that layers of these `scores` make; 0 if there are none. Computed in f64, in order.
    pub fn of(self, scores: impl IntoIterator<Item = f64>) -> f64 {
        let mut all = Joined::default();
        scores.into_iter().for_each(|score| all.add(self, score));
        all.finish(self)
    }
}

/// Scores that are joined one by one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Joined {
    joined: f64,
    /// How many.
    pub count: usize,
}

impl Joined {
    /// Adds the score of the next layer.
    pub fn add(&mut self, coupling: Coupling, score: f64) {
        self.joined = match (coupling, self.count) {
            (_, 0) => score,
            (Coupling::Mean | Coupling::Sum, _) => self.joined + score,
            // Unlike f64::max, keeps a NaN.
            (Coupling::Max, _) => {
                if score > self.joined || score.is_nan() {
                    score
                } else {
                    self.joined
                }
            }
            (Coupling::Prod, _) => self.joined * score,
            (Coupling::First, _) => self.joined,
            (Coupling::Gate, _) => score,
        };
        self.count += 1;
    }

    /// The score of all.
    pub fn finish(self, coupling: Coupling) -> f64 {
        match (coupling, self.count) {
            (Coupling::Mean, 1..) => self.joined / self.count as f64,
            _ => self.joined,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::assert_all_listed;

    #[test]
    fn each_coupling_agrees_with_a_hand_example() {
        assert_all_listed(Coupling::ALL);
        let of = |coupling: Coupling| coupling.of([2.0, 5.0, -1.0]);
        let all = Coupling::ALL.iter().map(|&coupling| of(coupling)).collect::<Vec<_>>();
        assert_eq!(all, [2.0, 6.0, 5.0, -10.0, 2.0, -1.0]);
        assert_eq!(Coupling::Prod.of([]), 0.0);
        assert!(Coupling::Max.of([f64::NAN, 1.0]).is_nan() || Coupling::Max.of([1.0, f64::NAN]).is_nan());
    }
}
