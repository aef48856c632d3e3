//! The lists of everything that a recipe or a command line can name, with formulas and papers.

use crate::compress::criteria::{ALIASES, CRITERIA, Described, LpMagnitude, Normalization};
use crate::compress::distill::{DistillLoss, FeatureLoss};
use crate::compress::granularity::{GRANULARITIES, QUOTA};
use crate::compress::regularize::Penalty;
use crate::compress::sparse_training::{Densities, Method};
use crate::compress::sparsify::SparsitySchedule;
use crate::compress::{Context, StageKeys};
use crate::engine::About;
use crate::engine::train::Schedule;
use crate::models;
use serde::Serialize;

/// A kind of thing to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// How groups of weights are scored.
    Criteria,
    /// Which weights are kept or dropped together.
    Granularities,
    /// Which groups compete with each other.
    Contexts,
    /// How scores of different layers are made comparable.
    Normalizations,
    /// How sparsity, a weight or the learning rate changes over a training.
    Schedules,
    /// What a training minimizes, and what is added to it.
    Losses,
    /// The techniques of a stage, and methods of sparse training.
    Techniques,
    /// Networks.
    Architectures,
}

/// An item of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The name that recipes and command lines accept; capital letters stand for numbers.
    pub name: String,
    /// Another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<&'static str>,
    /// What it belongs to, in a list of several kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<&'static str>,
    /// Its formula and paper.
    #[serde(flatten)]
    pub about: About,
}

impl Entry {
    fn new(name: impl Into<String>, about: About) -> Self {
        Self { name: name.into(), alias: None, of: None, about }
    }

    fn of(self, of: &'static str) -> Self {
        Self { of: Some(of), ..self }
    }
}

impl Family {
    /// Every family, in the order in which they are listed.
    pub const ALL: [Self; 8] = [
        Self::Criteria,
        Self::Granularities,
        Self::Contexts,
        Self::Normalizations,
        Self::Schedules,
        Self::Losses,
        Self::Techniques,
        Self::Architectures,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Criteria => "criteria",
            Self::Granularities => "granularities",
            Self::Contexts => "contexts",
            Self::Normalizations => "normalizations",
            Self::Schedules => "schedules",
            Self::Losses => "losses",
            Self::Techniques => "techniques",
            Self::Architectures => "architectures",
        }
    }

    /// What the items of the family choose, in one line.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Criteria => "the score of a group of weights; the lowest go first",
            Self::Granularities => "the weights w[filter, position, input] that go together",
            Self::Contexts => "the groups that compete with each other",
            Self::Normalizations => "the scale of the scores s of different layers",
            Self::Schedules => "share of the final sparsity or of the largest rate over a training",
            Self::Losses => "the objective of a training",
            Self::Techniques => "what a stage of a recipe does",
            Self::Architectures => "the networks that --arch names (docs/networks.md)",
        }
    }

    /// The items of the family.
    pub fn entries(self) -> Vec<Entry> {
        match self {
            Self::Criteria => criteria(),
            Self::Granularities => granularities(),
            Self::Contexts => Context::ALL.iter().map(|c| Entry::new(c.to_string(), c.about())).collect(),
            Self::Normalizations => {
                Normalization::ALL.iter().map(|n| Entry::new(n.to_string(), n.about())).collect()
            }
            Self::Schedules => schedules(),
            Self::Losses => losses(),
            Self::Techniques => techniques(),
            Self::Architectures => architectures(),
        }
    }
}

fn criterion(name: &str, about: About) -> Entry {
    let alias = ALIASES.iter().find(|alias| alias.1 == name).map(|alias| alias.0);
    Entry { alias, ..Entry::new(name, about) }
}

fn criteria() -> Vec<Entry> {
    let order = LpMagnitude::default();
    let named = CRITERIA.iter().map(|c| criterion(c.name(), c.about()));
    named.chain([criterion(&format!("{}:P", LpMagnitude::NAME), order.about())]).collect()
}

fn granularities() -> Vec<Entry> {
    let named = GRANULARITIES.iter().filter_map(|granularity| {
        let size = if granularity.takes_block() { ":b" } else { "" };
        Some(Entry::new(format!("{}{size}", granularity.name()), granularity.about()?))
    });
    named.chain([Entry::new("N:M", QUOTA)]).collect()
}

fn schedules() -> Vec<Entry> {
    let sparsity = SparsitySchedule::all().iter();
    let sparsity = sparsity.map(|(name, schedule)| Entry::new(*name, schedule.about()).of("sparsity"));
    let rates = Schedule::all();
    let rates = rates.iter().map(|(name, rate)| Entry::new(*name, rate.about()).of("learning rate"));
    sparsity.chain(rates).collect()
}

fn losses() -> Vec<Entry> {
    let task =
        About::common("−Σ_k q_k log p_k; q = (1 − s)·[k is the class] + s / classes, s label_smoothing");
    let losses = DistillLoss::ALL.iter();
    let losses = losses.map(|loss| Entry::new(loss.to_string(), loss.about()).of("distill.loss"));
    let task = Entry::new("cross_entropy", task).of("train");
    let features = FeatureLoss::ALL.iter();
    let features = features
        .map(|loss| Entry::new(loss.to_string(), loss.about()).of("distill.hints.loss, features.loss"));
    let penalties = Penalty::ALL.iter();
    let penalties =
        penalties.map(|penalty| Entry::new(penalty.to_string(), penalty.about()).of("regularize.penalty"));
    [task].into_iter().chain(losses).chain(features).chain(penalties).collect()
}

fn techniques() -> Vec<Entry> {
    let kinds = StageKeys::KINDS.iter().map(|kind| Entry::new(kind.name, kind.about));
    let methods = Method::ALL.iter();
    let methods = methods.map(|m| Entry::new(m.to_string(), m.about()).of("sparse_train.method"));
    let densities = Densities::ALL.iter();
    let densities = densities.map(|d| Entry::new(d.to_string(), d.about()).of("sparse_train.densities"));
    kinds.chain(methods).chain(densities).collect()
}

fn architectures() -> Vec<Entry> {
    let about = |name| models::about(name).expect("a name of the table");
    models::names().map(|name| Entry::new(name, about(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_item_has_a_name_of_its_own_and_a_formula_of_one_line() {
        for family in Family::ALL {
            let entries = family.entries();
            assert!(entries.len() >= 2, "{family:?}");
            let names: HashSet<_> = entries.iter().map(|entry| (&entry.name, entry.of)).collect();
            assert_eq!(names.len(), entries.len(), "{family:?}");
            for Entry { name, about: About { formula, paper }, .. } in &entries {
                assert!(
                    !formula.is_empty() && !formula.contains('\n') && formula.chars().count() < 110,
                    "{name}"
                );
                let dated = |paper: &str| {
                    paper.split_whitespace().any(|word| word.trim_end_matches(',').parse::<u16>().is_ok())
                };
                assert!(paper.is_none_or(dated), "{name}: {paper:?}");
            }
        }
    }

    #[test]
    fn names_are_those_that_recipes_read() {
        let read = |family: Family, parse: &dyn Fn(&str) -> bool| {
            for Entry { name, .. } in family.entries() {
                let name =
                    name.replace(":b", ":4").replace("STEPS", "4").replace(":P", ":2").replace("N:M", "2:4");
                assert!(parse(&name), "{family:?}: {name}");
            }
        };
        read(Family::Criteria, &|name| name.parse::<crate::compress::Criterion>().is_ok());
        read(Family::Granularities, &|name| name.parse::<crate::compress::Granularity>().is_ok());
        read(Family::Normalizations, &|name| name.parse::<Normalization>().is_ok());
    }
}
