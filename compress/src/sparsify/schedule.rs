//! Schedules: the share of the final sparsity at each moment of the training. Pure functions of time.

use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use std::fmt;

/// The share of the final sparsity as a function of the time `x ∈ [0, 1]` within the window of growth, which
/// is `start..end` of [`SparsifyConfig`](super::SparsifyConfig).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SparsitySchedule {
    /// `1`: the final sparsity from the start of the window.
    OneShot,
    /// `⌈x·steps⌉ / steps`: equal increments, the first right after the start of the window.
    Iterative {
        /// The number of increments.
        steps: usize,
    },
    /// `x`.
    Linear,
    /// `(1 − cos πx) / 2`: slow, fast, then slow again.
    #[default]
    Cosine,
    /// `1` in the middle third `1/3 ≤ x < 2/3`, `0` before and after: trains dense, then sparse, then dense again, with
    /// the dropped weights back at zero (Han et al. 2017, "DSD: dense-sparse-dense training for deep neural networks").
    /// It regularizes: the network that comes out is as dense as it was. Meant for single weights.
    DenseSparseDense,
    /// `1 − (1 − x)³`: fast while the network is redundant, then slow (Zhu & Gupta 2017, equation 1).
    Gradual,
    /// `(1 − e^(−rate·x)) / (1 − e^(−rate))`: ever slower, the more so the larger the rate.
    Exponential {
        /// The rate, above 0.
        rate: f64,
    },
    /// `(1 + e^(β−α)) / (1 + e^(β−αx))` with α = 14 and β = 6: a logistic curve, steepest at 3/7 (Hubens et al. 2021,
    /// "One-cycle pruning: pruning ConvNets under a tight training budget").
    OneCycle,
    /// `(1 − cos 2πx) / 2`: rises and falls smoothly, fastai's form of dense-sparse-dense training.
    CosineDsd,
    /// Sparse and dense in turn (Peste et al. 2021, "AC/DC: alternating compressed/decompressed training of deep neural
    /// networks"): `0` before `first`, then `phases` times `1` and `0` equally long, and `1` from `1 − last` on. Every
    /// sparse phase chooses its weights anew; those that come back start at zero. For single weights at 80 to 95 %.
    AcDc {
        /// The number of sparse phases before the last one.
        phases: usize,
        /// The share of the time that is dense at the beginning.
        #[serde(default = "first")]
        first: f64,
        /// The share of the time that is sparse at the end.
        #[serde(default = "last")]
        last: f64,
    },
    /// A table of one's own: `[time, share]`, by ascending times. Each share holds until the next time; before the first it
    /// is 0.
    Table(Vec<[f64; 2]>),
    /// A schedule of another crate. Recipes and command lines cannot name it.
    #[serde(skip)]
    Custom(CustomSchedule),
}

/// The dense and sparse ends of [`SparsitySchedule::AcDc`]: 10 and 15 of the paper's 100 epochs.
fn first() -> f64 {
    0.1
}

fn last() -> f64 {
    0.15
}

/// A schedule of another crate: a share of the final sparsity as a function of time. Schedules of equal names are equal.
///
/// ```
/// use lopper_compress::sparsify::SparsitySchedule;
///
/// let root = SparsitySchedule::custom("square_root", f64::sqrt);
/// assert_eq!((root.share(0.25), root.to_string()), (0.5, "square_root".to_string()));
/// ```
#[derive(Clone, Copy)]
pub struct CustomSchedule {
    name: &'static str,
    share: fn(f64) -> f64,
}

impl PartialEq for CustomSchedule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for CustomSchedule {}

impl fmt::Display for CustomSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// By name, as they are equal: the text identifies a stage from one run of a program to the next.
impl fmt::Debug for CustomSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl SparsitySchedule {
    /// A schedule called `name` whose share of the final sparsity, 0 to 1, is `share(x)` at the time `x ∈ [0, 1]` within
    /// the window of growth. Where it falls, dropped groups return with weights of zero.
    pub const fn custom(name: &'static str, share: fn(f64) -> f64) -> Self {
        Self::Custom(CustomSchedule { name, share })
    }

    /// An error if a parameter is invalid.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::invalid(format!("schedule: {message}")));
        match self {
            Self::Iterative { steps: 0 } => refuse("iterative needs at least 1 step, found 0".into()),
            Self::Exponential { rate } if !(rate.is_finite() && (1e-6..=100.0).contains(rate)) => {
                refuse(format!("exponential: expected a rate in [1e-6, 100], found {rate}"))
            }
            Self::AcDc { phases: 0, .. } => refuse("ac_dc needs at least 1 phase, found 0".into()),
            Self::AcDc { first, last, .. } if !(*first >= 0.0 && *last > 0.0 && first + last < 1.0) => {
                refuse(format!(
                    "ac_dc: expected first ≥ 0, last > 0 and less than 1 together, found {first} and {last}"
                ))
            }
            Self::Table(points) => check_table(points).or_else(refuse),
            _ => Ok(()),
        }
    }

    /// Whether the share may fall, so that something returns that was dropped.
    pub fn falls(&self) -> bool {
        match self {
            Self::DenseSparseDense | Self::CosineDsd | Self::AcDc { .. } => true,
            Self::Table(points) => points.windows(2).any(|pair| pair[1][1] < pair[0][1]),
            _ => false,
        }
    }

    /// The share of the final sparsity, in 0..=1, at the time `x ∈ [0, 1]`. It is 1 at 1 and never falls, except for those
    /// that [`Self::falls`] names, tables that end below 1, and [`Self::Custom`], which may also leave 0..=1.
    pub fn share(&self, x: f64) -> f64 {
        match self {
            Self::OneShot => 1.0,
            Self::Iterative { steps } => {
                let n = *steps as f64;
                // Slightly less, so that rounding of x·n does not start the next increment early.
                ((x * n - 1e-9).ceil() / n).clamp(0.0, 1.0)
            }
            Self::Linear => x,
            Self::Cosine => (1.0 - (PI * x).cos()) / 2.0,
            Self::DenseSparseDense => f64::from(u8::from((1.0 / 3.0..2.0 / 3.0).contains(&x))),
            Self::Gradual => 1.0 - (1.0 - x).powi(3),
            Self::Exponential { rate } => (-rate * x).exp_m1() / (-rate).exp_m1(),
            Self::OneCycle => (1.0 + (BETA - ALPHA).exp()) / (1.0 + (BETA - ALPHA * x).exp()),
            Self::CosineDsd => (1.0 - (2.0 * PI * x).cos()) / 2.0,
            Self::AcDc { first, .. } if x < *first => 0.0,
            Self::AcDc { last, .. } if x >= 1.0 - last => 1.0,
            Self::AcDc { phases, first, last } => {
                let phase = (x - first) / (1.0 - last - first) * 2.0 * *phases as f64;
                f64::from(u8::from(((phase + 1e-9) as usize).is_multiple_of(2)))
            }
            Self::Table(points) => {
                points.iter().rfind(|[time, _]| *time <= x).map_or(0.0, |[_, share]| *share)
            }
            Self::Custom(custom) => (custom.share)(x),
        }
    }

    /// The share at `fraction` of the training, if growth starts at `start` and ends at `end`, which are fractions of the
    /// training too.
    pub fn share_within(&self, fraction: f64, [start, end]: [f64; 2]) -> f64 {
        match fraction {
            f if f < start => 0.0,
            f if f >= end => self.share(1.0),
            f => self.share((f - start) / (end - start)),
        }
    }
}

/// Checks that growth starts and ends within the training; the error names `technique`.
pub(crate) fn check_window(technique: &str, [start, end]: [f64; 2]) -> Result<()> {
    match 0.0 <= start && start <= end && end <= 1.0 {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "{technique}: expected 0 ≤ start ≤ end ≤ 1, found start {start}, end {end}"
        ))),
    }
}

/// The parameters of [`SparsitySchedule::OneCycle`], those of the paper.
const ALPHA: f64 = 14.0;
const BETA: f64 = 6.0;

/// `Err` says what is wrong with a table.
fn check_table(points: &[[f64; 2]]) -> std::result::Result<(), String> {
    if points.is_empty() {
        return Err("table: expected at least one [time, share], found none".into());
    }
    if let Some([time, share]) =
        points.iter().find(|point| !point.iter().all(|value| (0.0..=1.0).contains(value)))
    {
        return Err(format!("table: expected times and shares in [0, 1], found [{time}, {share}]"));
    }
    match points.windows(2).find(|pair| pair[0][0] >= pair[1][0]) {
        Some([a, b]) => Err(format!("table: expected ascending times, found {} before {}", a[0], b[0])),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schedules() -> impl Strategy<Value = SparsitySchedule> {
        prop_oneof![
            Just(SparsitySchedule::OneShot),
            (1usize..20).prop_map(|steps| SparsitySchedule::Iterative { steps }),
            Just(SparsitySchedule::Linear),
            Just(SparsitySchedule::Cosine),
            Just(SparsitySchedule::Gradual),
            (0.1..20.0f64).prop_map(|rate| SparsitySchedule::Exponential { rate }),
        ]
    }

    /// In percent of a final 50 %, at the end of each epoch, as published for VGG16 on Imagenette.
    #[test]
    fn cosine_gives_the_published_sparsities() {
        let by_epoch = |epochs: usize| -> Vec<String> {
            let share = |epoch: usize| SparsitySchedule::Cosine.share(epoch as f64 / epochs as f64);
            (1..=epochs).map(|epoch| format!("{:.2}", 50.0 * share(epoch))).collect()
        };
        let ten = ["1.22", "4.77", "10.31", "17.27", "25.00", "32.73", "39.69", "45.23", "48.78", "50.00"];
        assert_eq!(by_epoch(10), ten);
        assert_eq!(by_epoch(5), ["4.77", "17.27", "32.73", "45.23", "50.00"]);
    }

    #[test]
    fn gradual_is_the_cubic_of_its_paper() {
        // s_t = s_f + (s_i − s_f)(1 − (t − t0)/(nΔt))³ with s_i = 0, s_f = 0.8, halfway: 0.8 − 0.8/8.
        assert!((0.8 * SparsitySchedule::Gradual.share(0.5) - 0.7).abs() < 1e-12);
    }

    #[test]
    fn dense_sparse_dense_is_sparse_in_the_middle_third() {
        let shares: Vec<f64> =
            (0..=6).map(|i| SparsitySchedule::DenseSparseDense.share(f64::from(i) / 6.0)).collect();
        assert_eq!(shares, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn iterative_takes_equal_parts() {
        let schedule = SparsitySchedule::Iterative { steps: 4 };
        let shares: Vec<f64> = (0..=8).map(|i| schedule.share(f64::from(i) / 8.0)).collect();
        assert_eq!(shares, [0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1.0, 1.0]);
    }

    proptest! {
        #[test]
        fn every_rising_schedule_ends_at_one(schedule in schedules(), a in 0.0..=1.0f64, b in 0.0..=1.0f64) {
            let (early, late) = (schedule.share(a.min(b)), schedule.share(a.max(b)));
            prop_assert!(0.0 <= early && early <= late && late <= 1.0, "{early} {late}");
            prop_assert_eq!(schedule.share(1.0), 1.0);
            prop_assert_eq!(schedule.share(0.0), if schedule == SparsitySchedule::OneShot { 1.0 } else { 0.0 });
        }
    }
}
