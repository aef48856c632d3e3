//! Any criterion: one of the table, or one of another crate.

use super::{CRITERIA, Direction, LargeFinal, LpMagnitude, Need, Score};
use crate::names::{one_of, unknown};
use lopper_engine::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

/// A criterion as configurations hold it: any [`Score`], `MyCriterion.into()`.
///
/// Recipes and command lines name it, and so does serialization: reading finds the criteria of this crate only.
/// Criteria of equal names are equal.
///
/// ```
/// use lopper_compress::criteria::{Criterion, LargeFinal};
///
/// assert_eq!("large_final".parse::<Criterion>().unwrap(), LargeFinal.into());
/// assert_eq!("l1".parse::<Criterion>().unwrap(), LargeFinal.into());
/// ```
#[derive(Clone)]
pub struct Criterion(Source);

#[derive(Clone)]
enum Source {
    Table(&'static dyn Score),
    Given(Arc<dyn Score>),
}

/// Other names of criteria, which published recipes use.
pub const ALIASES: [(&str, &str); 2] = [("l1", "large_final"), ("grad", "taylor")];

impl Criterion {
    /// The names that recipes and command lines accept, as a list for help texts.
    pub fn names() -> String {
        let named =
            CRITERIA.iter().map(|criterion| match ALIASES.iter().find(|alias| alias.1 == criterion.name()) {
                Some((alias, name)) => format!("{name} (or {alias})"),
                None => criterion.name().to_string(),
            });
        one_of(named.chain([format!("{}:P", LpMagnitude::NAME)]))
    }

    /// Whether it needs images: gradients or activations.
    pub fn needs_data(&self) -> bool {
        self.needs_gradients() || self.needs_activations()
    }

    /// Whether it needs the outputs, responses or inputs of layers.
    pub fn needs_activations(&self) -> bool {
        self.needs().iter().any(|need| matches!(need, Need::Activations | Need::Responses | Need::Inputs))
    }

    /// The vector that it wants the Hessian matrix multiplied with, if any.
    pub fn curvature(&self) -> Option<Direction> {
        self.needs().iter().find_map(|need| match need {
            Need::Curvature(direction) => Some(*direction),
            _ => None,
        })
    }

    /// Returns an error if it needs what a training step does not expose. `instead` says how it can be used.
    pub(crate) fn check_in_training(&self, instead: &str) -> Result<()> {
        let missing = match (self.needs_activations(), self.curvature()) {
            (true, _) => "activations",
            (false, Some(_)) => "curvature",
            (false, None) => return Ok(()),
        };
        Err(Error::invalid(format!("criterion {self}: a training step exposes no {missing}; {instead}")))
    }

    /// Whether it needs gradients, of all weights or of those that are not dropped.
    pub fn needs_gradients(&self) -> bool {
        self.needs().iter().any(|need| matches!(need, Need::Gradients | Need::LiveGradients))
    }

    /// An error if `found`, the number of its `results` for `layer`, is not `expected`.
    pub(super) fn expect_one_each(
        &self,
        results: &str,
        layer: &str,
        found: usize,
        expected: usize,
    ) -> Result<()> {
        match (expected, found) {
            (expected, found) if expected == found => Ok(()),
            (expected, found) => Err(Error::invalid(format!(
                "criterion {self}: expected {expected} {results} for layer `{layer}`, found {found}"
            ))),
        }
    }
}

impl Deref for Criterion {
    type Target = dyn Score;

    fn deref(&self) -> &Self::Target {
        match &self.0 {
            Source::Table(criterion) => *criterion,
            Source::Given(criterion) => criterion.as_ref(),
        }
    }
}

impl<S: Score + 'static> From<S> for Criterion {
    fn from(criterion: S) -> Self {
        Self(Source::Given(Arc::new(criterion)))
    }
}

impl Default for Criterion {
    /// [`LargeFinal`].
    fn default() -> Self {
        LargeFinal.into()
    }
}

impl PartialEq for Criterion {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Criterion {}

impl fmt::Debug for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Criterion {
    type Err = Error;

    /// Finds a criterion of this crate by its name or an alias.
    fn from_str(text: &str) -> Result<Self> {
        if let Some(order) = text.strip_prefix(LpMagnitude::NAME) {
            return Ok(order.strip_prefix(':').unwrap_or_default().parse::<LpMagnitude>()?.into());
        }
        let name = ALIASES.iter().find(|(alias, _)| *alias == text).map_or(text, |(_, name)| name);
        let found = CRITERIA.iter().find(|criterion| criterion.name() == name);
        let found = found.ok_or_else(|| unknown("criterion", &Self::names(), text))?;
        Ok(Self(Source::Table(*found)))
    }
}

impl Serialize for Criterion {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Criterion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
