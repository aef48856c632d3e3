//! What a run changes compared with the full recipe: what its profile and the command line scale down.

use super::profile::unquoted;
use serde::{Deserialize, Serialize};
use std::fmt;
use toml::{Table, Value};

/// Values longer than this are not shown.
const LONGEST: usize = 32;

/// The settings of a recipe, by stage and key, in its order.
#[derive(Clone, Debug, Default)]
pub struct Settings(Vec<Setting>);

#[derive(Clone, Debug)]
struct Setting {
    stage: Option<String>,
    key: String,
    value: String,
}

/// A setting that differs from the full recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The stage; none for settings of the whole recipe.
    pub stage: Option<String>,
    /// The key, without the name of its table: `size`, `epochs`. For a whole stage: `stage`.
    pub key: String,
    /// The value in the full recipe, if it has one.
    pub full: Option<String>,
    /// The value in this run, if it has one.
    pub here: Option<String>,
}

/// All changes. They display as one line, changes of several stages together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scaling(pub Vec<Change>);

/// The key of a [`Change`] for a stage that only one of the two has.
const WHOLE: &str = "stage";

impl Settings {
    /// The settings of a recipe's table.
    pub(super) fn of(recipe: &Table) -> Self {
        let mut found = Self::default();
        for (key, value) in recipe {
            match (key.as_str(), value) {
                ("title" | "files", _) => {}
                ("stage", Value::Array(stages)) => {
                    for stage in stages.iter().filter_map(Value::as_table) {
                        let name = stage.get("name").map(unquoted);
                        found.0.push(Setting {
                            stage: name.clone(),
                            key: WHOLE.into(),
                            value: String::new(),
                        });
                        found.add(&name, "", stage);
                    }
                }
                ("data", Value::Table(data)) => found.add(&None, "", data),
                _ => found.0.push(Setting { stage: None, key: key.clone(), value: unquoted(value) }),
            }
        }
        // The settings of the whole recipe first.
        found.0.sort_by_key(|setting| setting.stage.is_some());
        found
    }

    fn add(&mut self, stage: &Option<String>, prefix: &str, table: &Table) {
        for (key, value) in table {
            let path = format!("{prefix}{key}");
            match (key.as_str(), value) {
                // Neither changes what is computed.
                ("name" | "published", _) => {}
                (_, Value::Table(inner)) if !inner.contains_key("name") => {
                    let prefix = if key == "train" { String::new() } else { format!("{path}.") };
                    self.add(stage, &prefix, inner);
                }
                _ => self.0.push(Setting { stage: stage.clone(), key: path, value: unquoted(value) }),
            }
        }
    }

    /// Sets the value of `key`, in `stage` or in the recipe.
    pub(super) fn set(&mut self, stage: Option<&str>, key: &str, value: impl ToString) {
        let (value, is) = (value.to_string(), |s: &Setting| s.stage.as_deref() == stage && s.key == key);
        match self.0.iter_mut().find(|setting| is(setting)) {
            Some(setting) => setting.value = value,
            None => self.0.push(Setting { stage: stage.map(str::to_string), key: key.into(), value }),
        }
    }

    /// Sets the value of `key` of the recipe unless it has one.
    pub(super) fn set_default(&mut self, key: &str, value: impl ToString) {
        if self.get(&None, key).is_none() {
            self.set(None, key, value);
        }
    }

    fn get(&self, stage: &Option<String>, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|setting| setting.stage == *stage && setting.key == key);
        found.map(|setting| setting.value.as_str())
    }

    /// The differences between these, the full settings, and those of a run.
    pub(super) fn changes(&self, here: &Self) -> Scaling {
        let mut changes = Vec::new();
        let has = |of: &Self, stage: &Option<String>| stage.is_none() || of.get(stage, WHOLE).is_some();
        let both = self.0.iter().chain(here.0.iter().filter(|s| self.get(&s.stage, &s.key).is_none()));
        for Setting { stage, key, .. } in both {
            let change = |full: Option<&str>, here: Option<&str>| Change {
                stage: stage.clone(),
                key: key.clone(),
                full: full.map(str::to_string),
                here: here.map(str::to_string),
            };
            match (has(self, stage) && has(here, stage), key == WHOLE) {
                (false, true) => {
                    let run = |of| has(of, stage).then_some("run");
                    changes.push(change(run(self), run(here)));
                }
                (true, false) if self.get(stage, key) != here.get(stage, key) => {
                    changes.push(change(self.get(stage, key), here.get(stage, key)));
                }
                _ => {}
            }
        }
        Scaling(changes)
    }
}

impl Scaling {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Scaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups: Vec<(&Change, Vec<&str>)> = Vec::new();
        for change in &self.0 {
            let same = |(other, _): &&mut (&Change, Vec<&str>)| {
                (&other.key, &other.full, &other.here) == (&change.key, &change.full, &change.here)
            };
            match groups.iter_mut().find(same) {
                Some((_, stages)) => stages.extend(change.stage.as_deref()),
                None => groups.push((change, change.stage.as_deref().into_iter().collect())),
            }
        }
        for (i, (change, stages)) in groups.iter().enumerate() {
            f.write_str(if i > 0 { ", " } else { "" })?;
            let Change { key, full, here, .. } = change;
            let long = |value: &Option<String>| value.as_ref().is_some_and(|v| v.chars().count() > LONGEST);
            let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
            match (key.as_str(), full) {
                (WHOLE, Some(_)) => f.write_str("without")?,
                (WHOLE, None) => f.write_str("with")?,
                _ if long(full) || long(here) => write!(f, "another {key}")?,
                _ => write!(f, "{key} {} → {}", shown(full), shown(here))?,
            }
            match (key == WHOLE, stages.is_empty()) {
                (true, _) => write!(f, " {}", stages.join(", "))?,
                (false, false) => write!(f, " ({})", stages.join(", "))?,
                (false, true) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(full: &str, here: &str) -> String {
        let of = |text: &str| Settings::of(&text.parse().unwrap());
        of(full).changes(&of(here)).to_string()
    }

    #[test]
    fn changes_are_grouped_and_named_by_their_keys() {
        let full = "seed = 1\ndata = { size = 128, batch = 16 }\n[[stage]]\nname = \"a\"\ntrain = { epochs = 10 }\n\
                    [[stage]]\nname = \"b\"\ntrain = { epochs = 10 }\n[[stage]]\nname = \"c\"\nprune = { fraction = 0.5 }";
        assert_eq!(changes(full, full), "");
        let here = full.replace("size = 128", "size = 64, train_limit = 9").replace("10", "2");
        assert_eq!(changes(full, &here), "size 128 → 64, epochs 10 → 2 (a, b), train_limit none → 9");
        assert_eq!(changes(full, &full.replace("0.5", "0.25")), "prune.fraction 0.5 → 0.25 (c)");
        assert_eq!(changes(full, full.split("[[stage]]\nname = \"b\"").next().unwrap()), "without b, c");
        let long = full.replace("batch = 16", "augment = [\"one\", \"two\", \"three\", \"four\", \"five\"]");
        assert_eq!(changes(full, &long), "batch 16 → none, another augment");
    }
}
