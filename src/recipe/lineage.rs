//! From which stages the network of a stage comes, in the table of a recipe.

use toml::{Table, Value};

/// The stages so far, by the names under which later stages start from them.
#[derive(Default)]
pub struct Lineage(Vec<(String, Table)>);

impl Lineage {
    /// Adds a stage, which starts from the one before unless it says otherwise, and then says so. Returns the name of its
    /// network: a stage that repeats ends with its last round.
    pub fn add(&mut self, stage: &mut Table) -> String {
        if let (Some((last, _)), false) =
            (self.0.last(), stage.contains_key("arch") || stage.contains_key("from"))
        {
            stage.insert("from".into(), Value::String(last.clone()));
        }
        let name = stage.get("name").and_then(Value::as_str).unwrap_or_default();
        let name = match rounds(stage) {
            1 => name.to_string(),
            rounds => format!("{name}-{rounds}"),
        };
        self.0.push((name.clone(), stage.clone()));
        name
    }

    /// The stages that the network of `stage` comes from, the nearest first.
    pub fn ancestors(&self, stage: &Table) -> Vec<&Table> {
        let mut found: Vec<&Table> = Vec::new();
        let mut from = stage.get("from").and_then(Value::as_str);
        // An earlier stage cannot start from a later one.
        let mut before = self.0.len();
        while let Some(at) =
            from.and_then(|name| self.0[..before].iter().rposition(|(known, _)| known == name))
        {
            let ancestor = &self.0[at].1;
            found.push(ancestor);
            (from, before) = (ancestor.get("from").and_then(Value::as_str), at);
        }
        found
    }

    /// The stage with which the network of `stage` begins, if it begins in the recipe.
    pub fn root<'l>(&'l self, stage: &'l Table) -> Option<&'l Table> {
        let root = self.ancestors(stage).pop().unwrap_or(stage);
        (!root.contains_key("from")).then_some(root)
    }

    /// The options of the first training of the network of `stage`, for the epochs of all of its trainings, and their
    /// number; `None` if it is not trained.
    pub fn training(&self, stage: &Table) -> Option<(Table, i64)> {
        let all: Vec<&Table> = [stage].into_iter().chain(self.ancestors(stage)).collect();
        let train = |stage: &&Table| stage.get("train").and_then(Value::as_table).cloned();
        let epochs = |stage: &Table| {
            let epochs = stage.get("train").and_then(|train| train.get("epochs")).and_then(Value::as_integer);
            epochs.unwrap_or(0) * rounds(stage)
        };
        let total = all.iter().map(|stage| epochs(stage)).sum();
        let mut first = all.iter().rev().find_map(train)?;
        first.insert("epochs".into(), Value::Integer(total));
        Some((first, total))
    }
}

/// Number of rounds of a stage.
fn rounds(stage: &Table) -> i64 {
    stage.get("repeat").and_then(Value::as_integer).unwrap_or(1)
}
