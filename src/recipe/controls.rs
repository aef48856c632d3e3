//! Control stages: what the network of a stage would be without the technique, or with a random choice.
//!
//! ```text
//!   base ──┬─ sparse           sparsify by a criterion, 3 epochs ──► next stage
//!          ├─ sparse-without   3 epochs
//!          └─ sparse-random    sparsify at random, 3 epochs
//! ```
//!
//! If the stage beats neither, its technique or its criterion has shown nothing.

use lopper_compress::StageKeys;
use toml::{Table, Value};

/// Adds the controls of every stage of the list `stages` behind it. A control that an earlier stage already is, as the
/// network trained without a teacher often is, is left out. The stages behind start from the same networks as before.
pub fn add(stages: &mut Vec<Value>) {
    let mut found: Vec<Value> = Vec::new();
    let mut last: Option<String> = None;
    for stage in std::mem::take(stages) {
        let Value::Table(mut stage) = stage else {
            found.push(stage);
            continue;
        };
        if let (Some(last), false) = (&last, stage.contains_key("arch") || stage.contains_key("from")) {
            stage.insert("from".into(), Value::String(last.clone()));
        }
        let name = stage.get("name").and_then(Value::as_str);
        // A stage that repeats ends with its last round.
        last = name.map(|name| match stage.get("repeat").and_then(Value::as_integer) {
            Some(rounds) => format!("{name}-{rounds}"),
            None => name.to_string(),
        });
        let controls = [without(&stage), random(&stage)];
        found.push(Value::Table(stage));
        for control in controls.into_iter().flatten() {
            let twin = |earlier: &Value| earlier.as_table().is_some_and(|e| content(e) == content(&control));
            if !found.iter().any(twin) {
                found.push(Value::Table(control));
            }
        }
    }
    *stages = found;
}

/// The same training without the techniques, if the stage has both.
fn without(stage: &Table) -> Option<Table> {
    let techniques: Vec<&str> = keys().filter(|key| stage.contains_key(*key)).collect();
    if techniques.is_empty() || !stage.contains_key("train") {
        return None;
    }
    let kinds = StageKeys::KINDS.iter().map(|kind| kind.name).filter(|name| stage.contains_key(*name));
    let label = format!("without {}", kinds.collect::<Vec<_>>().join(", "));
    let mut control = control(stage, "without", label);
    techniques.into_iter().for_each(|key| drop(control.remove(key)));
    Some(control)
}

/// The same stage with random choices, if a criterion makes them.
fn random(stage: &Table) -> Option<Table> {
    let mut control = control(stage, "random", "random criterion".into());
    let mut changed = false;
    for key in keys() {
        let Some(Value::Table(options)) = control.get_mut(key) else { continue };
        let criterion = options.get("criterion").and_then(Value::as_str);
        // Sparsification has a criterion by default.
        if criterion.is_some_and(|name| name != "random") || criterion.is_none() && key == "sparsify" {
            options.insert("criterion".into(), Value::String("random".into()));
            changed = true;
        }
    }
    changed.then_some(control)
}

/// A copy of `stage` under another name that reports no more than its scores.
fn control(stage: &Table, suffix: &str, label: String) -> Table {
    let mut control = stage.clone();
    let name = stage.get("name").and_then(Value::as_str).unwrap_or_default();
    control.insert("name".into(), Value::String(format!("{name}-{suffix}")));
    control.insert("control".into(), Value::String(label));
    for key in ["published", "lr_find", "save_plan"] {
        control.remove(key);
    }
    control
}

/// Everything of a stage that its network depends on.
fn content(stage: &Table) -> Table {
    let mut content = stage.clone();
    for key in ["name", "control", "published", "evaluate", "lr_find"] {
        content.remove(key);
    }
    content
}

/// The keys of all techniques.
fn keys() -> impl Iterator<Item = &'static str> {
    StageKeys::NAMES.iter().copied().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controls(stages: &str) -> Vec<String> {
        let mut table: Table = stages.parse().unwrap();
        let stages = table["stage"].as_array_mut().unwrap();
        add(stages);
        stages.iter().map(|stage| stage.to_string()).collect()
    }

    #[test]
    fn a_technique_gets_a_control_as_long_and_a_random_one() {
        let found = controls(
            "[[stage]]\nname = \"a\"\narch = \"x\"\ntrain = { epochs = 1 }\n[[stage]]\nname = \"b\"\n\
             sparsify = { sparsity = 0.5 }\npublished = { top1 = 5 }\ntrain = { epochs = 2 }\n[[stage]]\nname = \"c\"\n\
             prune = {}",
        );
        let expected = [
            r#"{ arch = "x", name = "a", train = { epochs = 1 } }"#,
            r#"{ from = "a", name = "b", published = { top1 = 5 }, sparsify = { sparsity = 0.5 }, train = { epochs = 2 } }"#,
            r#"{ control = "without sparsify", from = "a", name = "b-without", train = { epochs = 2 } }"#,
            r#"{ control = "random criterion", from = "a", name = "b-random", sparsify = { criterion = "random", sparsity = 0.5 }, train = { epochs = 2 } }"#,
            r#"{ from = "b", name = "c", prune = {} }"#,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_control_that_is_there_already_is_left_out() {
        let found = controls(
            "[[stage]]\nname = \"base\"\narch = \"x\"\ntrain = { epochs = 1 }\n[[stage]]\nname = \"taught\"\narch = \"x\"\n\
             teacher = \"base\"\ndistill = {}\ntrain = { epochs = 1 }\n[[stage]]\nname = \"cut\"\n\
             prune = { criterion = \"random\", fraction = 0.5 }",
        );
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
