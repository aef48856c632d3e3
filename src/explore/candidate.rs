//! The ways that are tried.

use crate::recipe::{Stage, TrainConfig};
use clap::ValueEnum;
use lopper_compress::criteria::Criterion;
use lopper_compress::prune::{Amount, PruneConfig, PruneStage, Target};
use lopper_compress::sparsify::SparsityTarget;
use lopper_compress::{ConvSplit, FactorizeConfig, Granularity, SparsifyConfig};
use lopper_engine::Result;
use std::path::Path;

/// Shares of single weights that sparsification drops where no latency is asked for.
const SPARSITIES: [f64; 3] = [0.8, 0.9, 0.95];
/// Shares of the rank that factorization then removes.
const RANKS: [f64; 2] = [0.5, 0.75];

/// What pruning reaches a share of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// The latency, measured on this machine
    Latency,
    /// The multiply-accumulates, which are the same on every machine
    Macs,
}

/// A way to make a network smaller.
#[derive(Clone, Debug, PartialEq)]
pub enum Candidate {
    /// Removes channels by a criterion, down to a share of the latency or the multiply-accumulates.
    Prune(Criterion, f64),
    /// Sets a share of single weights to zero.
    Sparsify(f64),
    /// Removes a share of the rank.
    Factorize(f64),
    /// Chooses patterns of zeros by layer, down to a share of the latency.
    SparsifyTo(f64),
    /// Chooses ranks by layer, down to a share of the latency.
    FactorizeTo(f64),
}

/// The candidates: `criteria` at each of `shares` of what `by` says, and the other techniques, at the same shares of a latency
/// or at fixed strengths. The shares are taken apart from one another first, so that a front that is cut short has its ends.
pub fn candidates(criteria: &[Criterion], shares: &[f64], by: By) -> Vec<Candidate> {
    let mut all = Vec::new();
    let others = SPARSITIES.map(Candidate::Sparsify).into_iter().chain(RANKS.map(Candidate::Factorize));
    let mut others = others.collect::<Vec<_>>().into_iter();
    for share in spread(shares) {
        all.extend(criteria.iter().map(|criterion| Candidate::Prune(criterion.clone(), share)));
        match by {
            By::Latency => all.extend([Candidate::SparsifyTo(share), Candidate::FactorizeTo(share)]),
            By::Macs => all.extend(others.next()),
        }
    }
    if by == By::Macs {
        all.extend(others);
    }
    all
}

/// `shares` in an order in which each is far from those before it.
fn spread(shares: &[f64]) -> Vec<f64> {
    let mut left: Vec<f64> = shares.to_vec();
    left.sort_by(|a, b| b.total_cmp(a));
    left.dedup();
    let mut taken: Vec<f64> = Vec::new();
    while !left.is_empty() {
        let distance = |share: f64| taken.iter().map(|other| (other - share).abs()).fold(1.0, f64::min);
        let far = (0..left.len()).fold(
            0,
            |best, at| {
                if distance(left[at]) > distance(left[best]) { at } else { best }
            },
        );
        taken.push(left.remove(far));
    }
    taken
}

impl Candidate {
    /// A name for its files and its row.
    pub fn name(&self) -> String {
        let percent = |share: f64| (1000.0 * share).round() / 10.0;
        let name = match self {
            Self::Prune(criterion, share) => format!("{criterion}-{}", percent(*share)),
            Self::Sparsify(share) => format!("sparse-{}", percent(*share)),
            Self::Factorize(share) => format!("rank-{}", percent(1.0 - share)),
            Self::SparsifyTo(share) => format!("zeros-to-{}", percent(*share)),
            Self::FactorizeTo(share) => format!("ranks-to-{}", percent(*share)),
        };
        name.replace('.', "_")
    }

    /// The technique.
    pub fn technique(&self) -> &'static str {
        match self {
            Self::Prune(..) => "prune",
            Self::Sparsify(_) | Self::SparsifyTo(_) => "sparsify",
            Self::Factorize(_) | Self::FactorizeTo(_) => "factorize",
        }
    }

    /// The stage that tries it, with shares of what `by` says, and trains by `train`. A plan is written to `plan` if there is
    /// one.
    pub fn stage(&self, by: By, train: Option<TrainConfig>, seed: u64, plan: &Path) -> Result<Stage> {
        let stage = match self {
            Self::Prune(criterion, share) => {
                let share = Some(Amount::Share(*share));
                let target = match by {
                    By::Latency => Target { latency: share, ..Target::default() },
                    By::Macs => Target { macs: share, ..Target::default() },
                };
                let prune = PruneConfig {
                    criterion: Some(criterion.clone()),
                    target: Some(target),
                    seed,
                    ..PruneConfig::default()
                };
                let save_plan = Some(plan.to_path_buf());
                Stage::of(PruneStage { prune: Some(prune), save_plan, ..PruneStage::default() }, train)
            }
            Self::Sparsify(share) => {
                let sparsify =
                    SparsifyConfig { granularity: Granularity::WEIGHT, seed, ..SparsifyConfig::new(*share) };
                Stage::of(sparsify, train)
            }
            Self::Factorize(share) => {
                Stage::of(FactorizeConfig { fraction: Some(*share), ..FactorizeConfig::default() }, train)
            }
            Self::SparsifyTo(share) => {
                let latency = Some(Amount::Share(*share));
                let target = Some(SparsityTarget { latency, ..SparsityTarget::default() });
                let sparsify = SparsifyConfig { sparsity: None, target, seed, ..SparsifyConfig::new(0.0) };
                Stage::of(sparsify, train)
            }
            Self::FactorizeTo(share) => {
                let factorize = FactorizeConfig {
                    target_latency: Some(Amount::Share(*share)),
                    conv: Some(ConvSplit::Auto),
                    ..FactorizeConfig::default()
                };
                Stage::of(factorize, train)
            }
        };
        Ok(Stage { name: self.name(), ..stage? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_tried_first() {
        assert_eq!(spread(&[0.5, 0.25, 0.75, 0.6]), [0.75, 0.25, 0.5, 0.6]);
        assert_eq!(spread(&[0.5, 0.5]), [0.5]);
        let criteria = ["large_final", "random"].map(|name| name.parse().unwrap());
        let to_latency: Vec<String> =
            candidates(&criteria[..1], &[0.5, 0.25], By::Latency).iter().map(Candidate::name).collect();
        let expected = ["large_final-50", "zeros-to-50", "ranks-to-50"];
        assert_eq!((&to_latency[..3], to_latency.len()), (&expected.map(String::from)[..], 6));
        let all = candidates(&criteria, &[0.5, 0.25], By::Macs);
        let names: Vec<String> = all.iter().map(Candidate::name).collect();
        assert_eq!(&names[..4], ["large_final-50", "random-50", "sparse-80", "large_final-25"]);
        let mut unique = names.clone();
        unique.sort();
        unique.dedup();
        assert_eq!((unique.len(), names.len()), (9, 9));
        assert_eq!(Candidate::Prune(criteria[0].clone(), 0.125).name(), "large_final-12_5");
    }
}
