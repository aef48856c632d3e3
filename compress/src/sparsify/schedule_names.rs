//! Schedules as command lines write them.

use super::SparsitySchedule;
use crate::names::{one_of, unknown};
use lopper_engine::{Error, Result};
use std::fmt;
use std::mem::discriminant;
use std::str::FromStr;

/// The schedules as command lines write them, in the order in which help texts list them. STEPS and PHASES stand for numbers
/// of at least 1, RATE for one above 0; TABLE for times and shares, such as `0=0.5,0.6=1`.
const SCHEDULES: &[(&str, SparsitySchedule)] = &[
    ("one_shot", SparsitySchedule::OneShot),
    ("linear", SparsitySchedule::Linear),
    ("cosine", SparsitySchedule::Cosine),
    ("gradual", SparsitySchedule::Gradual),
    ("one_cycle", SparsitySchedule::OneCycle),
    ("dense_sparse_dense", SparsitySchedule::DenseSparseDense),
    ("cosine_dsd", SparsitySchedule::CosineDsd),
    ("exponential:RATE", SparsitySchedule::Exponential { rate: 0.0 }),
    ("ac_dc:PHASES", SparsitySchedule::AcDc { phases: 0, first: 0.1, last: 0.15 }),
    ("table:TABLE", SparsitySchedule::Table(Vec::new())),
    ("iterative:STEPS", SparsitySchedule::Iterative { steps: 0 }),
];

impl SparsitySchedule {
    /// Every schedule with the name that command lines accept, in which capital letters stand for numbers.
    pub const fn all() -> &'static [(&'static str, Self)] {
        SCHEDULES
    }

    /// The names that command lines accept, as a list for help texts.
    pub fn names() -> String {
        one_of(SCHEDULES.iter().map(|(name, _)| *name))
    }
}

impl FromStr for SparsitySchedule {
    type Err = Error;

    /// Reads a name, followed by a colon and its parameter if it has one: `iterative:4`.
    fn from_str(text: &str) -> Result<Self> {
        let unknown = || unknown("schedule", &Self::names(), text);
        let (name, given) = text.split_once(':').map_or((text, None), |(name, given)| (name, Some(given)));
        let mut entries = SCHEDULES.iter().map(|(entry, schedule)| (entry.split(':').next(), schedule));
        let (_, schedule) = entries.find(|(entry, _)| *entry == Some(name)).ok_or_else(unknown)?;
        let parsed = match (schedule, given) {
            (Self::Iterative { .. }, Some(steps)) => {
                steps.parse().ok().map(|steps| Self::Iterative { steps })
            }
            (Self::Exponential { .. }, Some(rate)) => {
                rate.parse().ok().map(|rate| Self::Exponential { rate })
            }
            (Self::AcDc { first, last, .. }, Some(phases)) => {
                phases.parse().ok().map(|phases| Self::AcDc { phases, first: *first, last: *last })
            }
            (Self::Table(_), Some(points)) => table(points).map(Self::Table),
            (
                Self::Iterative { .. } | Self::Exponential { .. } | Self::AcDc { .. } | Self::Table(_),
                None,
            )
            | (_, Some(_)) => None,
            (schedule, None) => Some(schedule.clone()),
        };
        parsed.ok_or_else(unknown)
    }
}

/// Reads times and shares, such as `0=0.5,0.6=1`.
fn table(text: &str) -> Option<Vec<[f64; 2]>> {
    let point = |entry: &str| {
        let (time, share) = entry.split_once('=')?;
        Some([time.trim().parse().ok()?, share.trim().parse().ok()?])
    };
    text.split(',').map(point).collect()
}

impl fmt::Display for SparsitySchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let same_kind = |schedule: &Self| discriminant(schedule) == discriminant(self);
        let found = SCHEDULES.iter().find(|(_, schedule)| same_kind(schedule));
        let name = found.and_then(|(name, _)| name.split(':').next()).unwrap_or_default();
        match self {
            Self::Iterative { steps } => write!(f, "{name}:{steps}"),
            Self::Exponential { rate } => write!(f, "{name}:{rate}"),
            Self::AcDc { phases, .. } => write!(f, "{name}:{phases}"),
            Self::Table(points) => {
                let points: Vec<String> =
                    points.iter().map(|[time, share]| format!("{time}={share}")).collect();
                write!(f, "{name}:{}", points.join(","))
            }
            Self::Custom(custom) => custom.fmt(f),
            _ => f.pad(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schedule_is_read_as_it_is_printed() {
        for (_, schedule) in SCHEDULES {
            let schedule = match schedule.clone() {
                SparsitySchedule::Iterative { .. } => SparsitySchedule::Iterative { steps: 3 },
                SparsitySchedule::Exponential { .. } => SparsitySchedule::Exponential { rate: 2.5 },
                SparsitySchedule::AcDc { first, last, .. } => {
                    SparsitySchedule::AcDc { phases: 4, first, last }
                }
                SparsitySchedule::Table(_) => SparsitySchedule::Table(vec![[0.0, 0.5], [0.6, 1.0]]),
                other => other,
            };
            assert!(schedule.check().is_ok());
            assert_eq!(schedule.to_string().parse::<SparsitySchedule>().unwrap(), schedule);
        }
        assert_eq!(
            "iterative:4".parse::<SparsitySchedule>().unwrap(),
            SparsitySchedule::Iterative { steps: 4 }
        );
        let own = SparsitySchedule::custom("own", |x| x * x);
        assert_eq!(format!("{own:?}"), "Custom(own)", "no address of a function");
        assert!(own == SparsitySchedule::custom("own", |x| x) && serde_json::to_string(&own).is_err());
        for text in [
            "iterative",
            "iterative:",
            "iterative:x",
            "cosine:3",
            "sudden",
            "own",
            "",
            "table:",
            "table:1",
            "ac_dc",
        ] {
            let error = text.parse::<SparsitySchedule>().unwrap_err().to_string();
            assert!(error.contains("or iterative:STEPS"), "{text}: {error}");
        }
    }
}
