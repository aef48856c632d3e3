//! The number of channels that a criterion removes: a fraction, a width, or as many as leave given numbers.
//!
//! | goal | of a group of n units stay | |
//! | --- | --- | --- |
//! | fraction f, local | n − round(f · n) | |
//! | fraction f, global | Σ n − round(f · Σ n) together | groups compete |
//! | fraction f, by stage | the same, of groups whose images have one size | only groups of a stage compete |
//! | fraction f, isomorphic | Σ n − round(f · Σ n) of groups of one structure | only groups alike compete (Fang et al. 2024) |
//! | width w | ⌊w · n⌋ | as `int(w * n)` in published code, which builds the narrower network and copies weights |
//! | widths | as many as are named | |
//!
//! Every group keeps at least one unit. While training, a share s of the removals is due at each moment:
//! round(s · f · n) for fractions, and round(s · (n − kept)) for widths.

use super::by_layer::ByLayer;
use super::width::Width;
use lopper_engine::{Error, Result};
use std::collections::BTreeMap;

/// Which groups compete for a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rivals {
    /// None: each loses the same fraction.
    None,
    /// All groups.
    All,
    /// Groups of one structure.
    Alike,
    /// Groups whose channels are held by images of one size.
    Stage,
}

/// What a pruning aims at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal<'a> {
    /// A fraction of the units is removed.
    Fraction(f64, Rivals),
    /// This part of the units of each group stays.
    Width(f64),
    /// Numbers of units that stay, by pattern of layers.
    Widths(&'a BTreeMap<String, usize>),
    /// What costs the least for what it saves, down to a target. The numbers are not known in advance.
    Target,
}

/// Groups that compete, by their layers, and the number of units to remove of them together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    pub groups: Vec<Vec<String>>,
    pub count: usize,
}

impl Goal<'_> {
    /// Whether the scores do not matter for the number of units that each group keeps.
    pub fn is_local(&self) -> bool {
        !matches!(self, Self::Fraction(_, Rivals::All | Rivals::Alike | Rivals::Stage) | Self::Target)
    }

    /// The units to remove from groups of `widths`, at the share `share` of all removals.
    ///
    /// # Errors
    /// If a pattern matches no group, matches one that another pattern gives another number, or asks for more units than
    /// there are.
    pub fn removals(&self, widths: &[Width], share: f64) -> Result<Vec<Pool>> {
        let part = |count: f64| (share * count).round() as usize;
        let each = |lost: &dyn Fn(&Width) -> f64| {
            let pool = |width: &Width| Pool { groups: vec![width.layers.clone()], count: part(lost(width)) };
            widths.iter().map(pool).collect()
        };
        Ok(match *self {
            Self::Fraction(fraction, Rivals::None) => each(&|width| fraction * width.units as f64),
            Self::Fraction(fraction, rivals) => {
                let mut pools: BTreeMap<&str, (Vec<Vec<String>>, usize)> = BTreeMap::new();
                for width in widths {
                    let kind = match rivals {
                        Rivals::Alike => width.kind.as_str(),
                        Rivals::Stage => width.stage.as_str(),
                        Rivals::None | Rivals::All => "",
                    };
                    let (groups, units) = pools.entry(kind).or_default();
                    groups.push(width.layers.clone());
                    *units += width.units;
                }
                let count = |units: usize| (share * fraction * units as f64).round() as usize;
                pools.into_values().map(|(groups, units)| Pool { groups, count: count(units) }).collect()
            }
            Self::Target => Vec::new(),
            Self::Width(part) => each(&|width| (width.units - narrowed(width.units, part)) as f64),
            Self::Widths(wanted) => {
                let lost = |(width, kept): (&Width, Option<usize>)| {
                    let lost = width.units - kept.unwrap_or(width.units);
                    Pool { groups: vec![width.layers.clone()], count: part(lost as f64) }
                };
                widths.iter().zip(named(wanted, widths)?).map(lost).collect()
            }
        })
    }
}

/// `int(width · units)`, and at least 1.
pub(super) fn narrowed(units: usize, width: f64) -> usize {
    ((width * units as f64) as usize).clamp(1, units)
}

/// The number of units that `wanted` gives each of `widths`.
fn named(wanted: &BTreeMap<String, usize>, widths: &[Width]) -> Result<Vec<Option<usize>>> {
    let counts = ByLayer::Patterns(wanted.clone()).of("widths", widths)?;
    for (width, count) in widths.iter().zip(&counts) {
        if let Some(count) = count.filter(|count| !(1..=width.units).contains(count)) {
            let (layer, units) = (&width.layers[0], width.units);
            return Err(Error::invalid(format!(
                "prune widths: `{layer}` keeps 1 to {units} channels, found {count}"
            )));
        }
    }
    Ok(counts)
}
