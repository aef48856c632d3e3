//! Schedules: the share of the final sparsity at each moment of the training. Pure functions of time.

use crate::names::{one_of, unknown};
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use std::fmt;
use std::mem::discriminant;
use std::str::FromStr;

/// The share of the final sparsity as a function of the time `x ∈ [0, 1]` within the window of growth, which
/// is `start..end` of [`SparsifyConfig`](super::SparsifyConfig).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// A schedule of another crate. Recipes and command lines cannot name it.
    #[serde(skip)]
    Custom(CustomSchedule),
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

/// By name, as they are equal: the text identifies a stage from one run of a program to the next.
impl fmt::Debug for CustomSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The schedules as command lines write them, in the order in which help texts list them. STEPS stands for a number of
/// at least 1.
const SCHEDULES: &[(&str, SparsitySchedule)] = &[
    ("one_shot", SparsitySchedule::OneShot),
    ("linear", SparsitySchedule::Linear),
    ("cosine", SparsitySchedule::Cosine),
    ("gradual", SparsitySchedule::Gradual),
    ("dense_sparse_dense", SparsitySchedule::DenseSparseDense),
    ("iterative:STEPS", SparsitySchedule::Iterative { steps: 0 }),
];

impl SparsitySchedule {
    /// A schedule called `name` whose share of the final sparsity, 0 to 1, is `share(x)` at the time `x ∈ [0, 1]` within
    /// the window of growth. Where it falls, dropped groups return with weights of zero.
    pub const fn custom(name: &'static str, share: fn(f64) -> f64) -> Self {
        Self::Custom(CustomSchedule { name, share })
    }

    /// Every schedule with the name that command lines accept, in which STEPS stands for a number.
    pub const fn all() -> &'static [(&'static str, Self)] {
        SCHEDULES
    }

    /// The names that command lines accept, as a list for help texts.
    pub fn names() -> String {
        one_of(SCHEDULES.iter().map(|(name, _)| *name))
    }

    /// An error if a parameter is invalid.
    pub fn check(self) -> Result<()> {
        match self {
            Self::Iterative { steps: 0 } => {
                Err(Error::invalid("schedule: iterative needs at least 1 step, found 0"))
            }
            _ => Ok(()),
        }
    }

    /// The share of the final sparsity, in 0..=1, at the time `x ∈ [0, 1]`. It is 1 at 1 and never
    /// falls, except for [`Self::DenseSparseDense`] and [`Self::Custom`], which may also leave 0..=1.
    pub fn share(self, x: f64) -> f64 {
        match self {
            Self::OneShot => 1.0,
            Self::Iterative { steps } => {
                let n = steps as f64;
                // Slightly less, so that rounding of x·n does not start the next increment early.
                ((x * n - 1e-9).ceil() / n).clamp(0.0, 1.0)
            }
            Self::Linear => x,
            Self::Cosine => (1.0 - (PI * x).cos()) / 2.0,
            Self::DenseSparseDense => f64::from(u8::from((1.0 / 3.0..2.0 / 3.0).contains(&x))),
            Self::Gradual => 1.0 - (1.0 - x).powi(3),
            Self::Custom(custom) => (custom.share)(x),
        }
    }

    /// The share at `fraction` of the training, if growth starts at `start` and ends at `end`, which are fractions of the
    /// training too.
    pub fn share_within(self, fraction: f64, [start, end]: [f64; 2]) -> f64 {
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

impl FromStr for SparsitySchedule {
    type Err = Error;

    /// Reads a name, for [`SparsitySchedule::Iterative`] with the number of steps: `iterative:4`.
    fn from_str(text: &str) -> Result<Self> {
        let unknown = || unknown("schedule", &Self::names(), text);
        let (name, steps) = text.split_once(':').map_or((text, None), |(name, steps)| (name, Some(steps)));
        let mut entries = SCHEDULES.iter().map(|(entry, schedule)| (entry.split(':').next(), *schedule));
        let (_, schedule) = entries.find(|(entry, _)| *entry == Some(name)).ok_or_else(unknown)?;
        match (schedule, steps) {
            (Self::Iterative { .. }, Some(steps)) => {
                Ok(Self::Iterative { steps: steps.parse().map_err(|_| unknown())? })
            }
            (Self::Iterative { .. }, None) | (_, Some(_)) => Err(unknown()),
            (schedule, None) => Ok(schedule),
        }
    }
}

impl fmt::Display for SparsitySchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let same_kind = |schedule: &Self| discriminant(schedule) == discriminant(self);
        let found = SCHEDULES.iter().find(|(_, schedule)| same_kind(schedule));
        let name = found.and_then(|(name, _)| name.split(':').next()).unwrap_or_default();
        match self {
            Self::Iterative { steps } => write!(f, "{name}:{steps}"),
            Self::Custom(custom) => f.pad(custom.name),
            _ => f.pad(name),
        }
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

    #[test]
    fn every_schedule_is_read_as_it_is_printed() {
        for (_, schedule) in SCHEDULES {
            let schedule = match schedule {
                SparsitySchedule::Iterative { .. } => SparsitySchedule::Iterative { steps: 3 },
                other => *other,
            };
            assert_eq!(schedule.to_string().parse::<SparsitySchedule>().unwrap(), schedule);
        }
        assert_eq!(
            "iterative:4".parse::<SparsitySchedule>().unwrap(),
            SparsitySchedule::Iterative { steps: 4 }
        );
        let own = SparsitySchedule::custom("own", |x| x * x);
        assert_eq!(format!("{own:?}"), "Custom(own)", "no address of a function");
        assert!(own == SparsitySchedule::custom("own", |x| x) && serde_json::to_string(&own).is_err());
        for text in ["iterative", "iterative:", "iterative:x", "cosine:3", "sudden", "own", ""] {
            let error = text.parse::<SparsitySchedule>().unwrap_err().to_string();
            assert!(error.contains("or iterative:STEPS"), "{text}: {error}");
        }
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
