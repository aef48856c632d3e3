//! The table: nanoseconds that a unit of work takes, by class and size.

use super::layers::{Layer, fitted};
use lopper_engine::plan::{Amount, Class};
use lopper_engine::{Device, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Rounds over all layers. Each layer has the time of its fastest round: a busy machine only ever adds to it.
const ROUNDS: usize = 3;
/// Time of a layer in a round.
const TURN: Duration = Duration::from_millis(6);
/// Sizes that differ by less than a factor of 2 to this power share an entry.
const BIN: f64 = 1.5;
/// Nanoseconds of a multiply-accumulate of a class that was not measured, on one core of a slow machine.
const UNMEASURED: f64 = 0.03;

/// Times by class: entries of the binary logarithm of the units, ascending, and nanoseconds a unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    classes: BTreeMap<Class, Vec<(f64, f64)>>,
}

impl Table {
    /// Measures the layers of [`fitted`] on `device`, which takes a few seconds.
    pub fn measure(device: &Device) -> Result<Self> {
        let layers = fitted()?;
        let mut fastest = vec![f64::INFINITY; layers.len()];
        for round in 0..ROUNDS {
            for place in 0..layers.len() {
                // Back and forth, so that no layer always follows the same one.
                let at = if round % 2 == 0 { place } else { layers.len() - 1 - place };
                fastest[at] = f64::min(fastest[at], layers[at].measure(device, TURN)?);
            }
        }
        let amount = |layer: &Layer| layer.amount(device);
        let amounts: Vec<Amount> = layers.iter().map(amount).collect::<Result<_>>()?;
        Ok(Self::of(amounts.iter().copied().zip(fastest)))
    }

    /// The table of operations with these times in milliseconds.
    pub fn of(times: impl Iterator<Item = (Amount, f64)>) -> Self {
        let mut points: BTreeMap<Class, Vec<(f64, f64)>> = BTreeMap::new();
        for (Amount { class, units }, ms) in times {
            points.entry(class).or_default().push((units.max(1.0).log2(), 1e6 * ms / units.max(1.0)));
        }
        Self { classes: points.into_iter().map(|(class, points)| (class, binned(points))).collect() }
    }

    /// The estimated time of `amount` in milliseconds: between two entries by their logarithms, beyond the last at its rate.
    /// Below the first, half of its time remains, that of the call.
    pub fn estimate(&self, amount: &Amount) -> f64 {
        let entries = self.classes.get(&amount.class).map_or(&[][..], Vec::as_slice);
        let size = amount.units.max(1.0).log2();
        let next = entries.partition_point(|(at, _)| *at < size);
        let a_unit = match (next.checked_sub(1).map(|before| entries[before]), entries.get(next)) {
            (None, None) => return 1e-6 * UNMEASURED * amount.macs(),
            // Below the smallest, a call takes its time, however little it does.
            (None, Some((at, a_unit))) => {
                return 1e-6 * a_unit * at.exp2() * (0.5 + 0.5 * (size - at).exp2());
            }
            (Some((_, a_unit)), None) => a_unit,
            (Some((low, before)), Some((high, after))) => {
                let share = (size - low) / (high - low);
                (before.ln() * (1.0 - share) + after.ln() * share).exp()
            }
        };
        1e-6 * a_unit * amount.units
    }

    /// Whether it is one that [`Table::of`] could have made.
    pub(super) fn is_sound(&self) -> bool {
        let sound = |entries: &Vec<(f64, f64)>| {
            let positive = |(size, a_unit): &(f64, f64)| {
                size.is_finite() && *size >= 0.0 && a_unit.is_finite() && *a_unit > 0.0
            };
            !entries.is_empty() && entries.iter().all(positive) && entries.is_sorted_by(|a, b| a.0 < b.0)
        };
        !self.classes.is_empty() && self.classes.values().all(sound)
    }
}

/// The geometric means of `points` in bins.
fn binned(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut bins: Vec<Vec<(f64, f64)>> = Vec::new();
    for point in points {
        match bins.last_mut() {
            Some(bin) if point.0 - bin[0].0 < BIN => bin.push(point),
            _ => bins.push(vec![point]),
        }
    }
    let mean = |bin: &Vec<(f64, f64)>| {
        let count = bin.len() as f64;
        let size = bin.iter().map(|point| point.0).sum::<f64>() / count;
        (size, (bin.iter().map(|point| point.1.ln()).sum::<f64>() / count).exp())
    };
    bins.iter().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(class: Class, units: f64) -> Amount {
        Amount { class, units }
    }

    #[test]
    fn times_between_two_entries_are_between_them() {
        let small = (amount(Class::Direct, 1024.0), 0.001);
        let large = (amount(Class::Direct, 1024.0 * 1024.0), 0.5);
        let table = Table::of([small, large].into_iter());
        for (amount, ms) in [small, large] {
            assert!((table.estimate(&amount) - ms).abs() < 1e-12);
        }
        // Halfway by the logarithms of size and rate.
        let middle = table.estimate(&amount(Class::Direct, 32.0 * 1024.0));
        assert!((middle - (0.001f64 * 0.5).sqrt()).abs() < 1e-9, "{middle}");
        let beyond = table.estimate(&amount(Class::Direct, 4.0 * 1024.0 * 1024.0));
        assert!((beyond - 2.0).abs() < 1e-9, "{beyond}");
        let below = table.estimate(&amount(Class::Direct, 256.0));
        assert!(
            (below - 0.000_625).abs() < 1e-9,
            "half of the time, and a quarter of the other half: {below}"
        );
        assert!(table.is_sound());
    }

    #[test]
    fn a_class_that_was_not_measured_has_an_estimate() {
        let table = Table::default();
        assert!(!table.is_sound());
        let of = |units| table.estimate(&amount(Class::Pool, units));
        assert!(of(1.0) > 0.0 && of(1e6) > of(1e3));
    }

    #[test]
    fn sizes_that_are_near_share_an_entry() {
        let bins = binned(vec![(14.0, 3.0), (11.0, 4.0), (10.0, 1.0)]);
        assert_eq!(bins.len(), 2);
        for ((size, rate), (expected_size, expected)) in bins.into_iter().zip([(10.5, 2.0), (14.0, 3.0)]) {
            assert!((size - expected_size).abs() + (rate - expected).abs() < 1e-9, "{size}: {rate}");
        }
    }
}
