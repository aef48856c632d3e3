//! What a selection has to respect: the least number of channels that a group keeps, and widths that pay.
//!
//! ```text
//!   ranking ─► n of 256 stay ─► at least the floor ─► nearest width that pays
//!               7                 13 (5 %)              16
//! ```

use super::width::Width;
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The widths that groups may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundTo {
    /// Multiples of a number of channels.
    Multiple(usize),
    /// Widths that a plan's estimate finds cheap for what they hold: `"plan"`.
    Plan,
}

/// The limits of each group, by its layers. Groups without an entry have none, but keep one unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fit {
    /// The least number of units that stay.
    pub floors: BTreeMap<Vec<String>, usize>,
    /// The widths that pay.
    pub widths: Widths,
}

/// Widths that pay.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Widths {
    /// Any.
    #[default]
    Any,
    /// Multiples.
    Multiple(usize),
    /// These of each group, ascending.
    Listed(BTreeMap<Vec<String>, Vec<usize>>),
}

impl Fit {
    /// The least number of `units` units that the group of `layers` keeps.
    pub fn floor(&self, layers: &[String], units: usize) -> usize {
        self.floors.get(layers).copied().unwrap_or(1).clamp(1, units.max(1))
    }

    /// The widths that the group of `layers` may keep of `units`, ascending. It may always stay as it is.
    pub fn options(&self, layers: &[String], units: usize) -> Vec<usize> {
        let floor = self.floor(layers, units);
        let listed: Vec<usize> = match &self.widths {
            Widths::Any => (floor..=units).collect(),
            Widths::Multiple(multiple) => (1..=units / multiple).map(|times| times * multiple).collect(),
            Widths::Listed(widths) => widths.get(layers).cloned().unwrap_or_default(),
        };
        let mut options: Vec<usize> = listed.into_iter().filter(|&w| (floor..units).contains(&w)).collect();
        options.push(units);
        options
    }

    /// The width that the group of `layers` keeps of `units` if a ranking leaves it `kept`: the nearest one that pays,
    /// of two the wider.
    pub fn nearest(&self, layers: &[String], units: usize, kept: usize) -> usize {
        if self.widths == Widths::Any {
            return kept;
        }
        let options = self.options(layers, units);
        let distance = |&&width: &&usize| (width.abs_diff(kept), units - width);
        options.iter().min_by_key(distance).copied().unwrap_or(units)
    }
}

impl Widths {
    /// The widths of a multiple.
    pub fn multiple(multiple: usize) -> Self {
        if multiple <= 1 { Self::Any } else { Self::Multiple(multiple) }
    }
}

/// The floors of `widths`: at least `counts` channels, and at most a share of `fractions` is removed.
pub(super) fn floors(
    widths: &[Width],
    counts: &[Option<usize>],
    fractions: &[Option<f64>],
) -> BTreeMap<Vec<String>, usize> {
    let floor = |((width, count), fraction): ((&Width, &Option<usize>), &Option<f64>)| {
        // Less a rounding error, so that 0.9 of 10 channels may go.
        let stays = |fraction: f64| ((1.0 - fraction) * width.units as f64 - 1e-9).ceil().max(1.0) as usize;
        let floor = count.unwrap_or(1).max(fraction.map_or(1, stays));
        (width.layers.clone(), floor.clamp(1, width.units.max(1)))
    };
    widths.iter().zip(counts).zip(fractions).map(floor).collect()
}

impl FromStr for RoundTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("plan", _) => Ok(Self::Plan),
            (_, Ok(multiple)) if multiple > 0 => Ok(Self::Multiple(multiple)),
            _ => Err(format!("expected a number of channels such as 16, or \"plan\", found {text}")),
        }
    }
}

impl fmt::Display for RoundTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Multiple(multiple) => multiple.fmt(f),
            Self::Plan => f.pad("plan"),
        }
    }
}

impl Serialize for RoundTo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Multiple(multiple) => multiple.serialize(serializer),
            Self::Plan => serializer.serialize_str("plan"),
        }
    }
}

impl<'de> Deserialize<'de> for RoundTo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = RoundTo;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a number of channels such as 16, or \"plan\"")
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<RoundTo, E> {
                value.to_string().parse().map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<RoundTo, E> {
                value.to_string().parse().map_err(E::custom)
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<RoundTo, E> {
                match value {
                    "plan" => Ok(RoundTo::Plan),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str) -> Vec<String> {
        vec![name.to_string()]
    }

    #[test]
    fn the_nearest_width_that_pays_is_kept() {
        let fit = Fit { widths: Widths::multiple(16), floors: [(layer("a"), 20)].into() };
        let nearest = |name, units, kept| fit.nearest(&layer(name), units, kept);
        assert_eq!([1, 33, 40, 41, 60].map(|kept| nearest("b", 64, kept)), [16, 32, 48, 48, 64]);
        assert_eq!(nearest("a", 64, 20), 32, "16 is below the floor of 20");
        assert_eq!(nearest("b", 12, 3), 12, "a narrow group stays whole");
        assert_eq!(nearest("b", 40, 39), 40, "any group may stay as it is");
        let any = Fit::default();
        assert_eq!(any.nearest(&layer("a"), 64, 33), 33);
    }

    #[test]
    fn a_floor_is_the_larger_of_a_count_and_a_share() {
        let width = |name: &str, units| Width {
            layers: layer(name),
            units,
            kind: String::new(),
            stage: String::new(),
        };
        let widths = [width("a", 10), width("b", 10), width("c", 10), width("d", 4)];
        let fractions = [Some(0.9), Some(0.5), None, None];
        let floors = floors(&widths, &[None, Some(2), Some(3), Some(8)], &fractions);
        assert_eq!(floors.values().copied().collect::<Vec<_>>(), [1, 5, 3, 4]);
    }

    #[test]
    fn multiples_and_the_plan_are_read() {
        assert_eq!("16".parse(), Ok(RoundTo::Multiple(16)));
        assert_eq!("plan".parse(), Ok(RoundTo::Plan));
        for wrong in ["0", "-16", "plane", "1.5"] {
            let message = wrong.parse::<RoundTo>().unwrap_err();
            assert!(message.contains(wrong) && message.contains("such as 16"), "{message}");
        }
    }
}
