//! Control stages: what the network of a stage would be without the technique, with a random choice, or without all the
//! training before the cut.
//!
//! ```text
//!   base ──┬─ sparse           sparsify by a criterion, 3 epochs ──► pruned ──► next stage
//!          ├─ sparse-without   3 epochs
//!          └─ sparse-random    sparsify at random, 3 epochs          pruned-scratch   the widths of `pruned` with fresh
//!                                                                                     weights, trained as long as all before
//!                                                                    pruned-dense     all widths, trained as long
//! ```
//!
//! If the stage beats none, its technique or its criterion has shown nothing (Liu et al. 2019, "Rethinking the value of
//! network pruning").

use super::lineage::Lineage;
use lopper_compress::StageKeys;
use serde::Deserialize;
use toml::{Table, Value};

/// Which control stages a recipe asks for: all of them, none, or some by name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected true, false, or a list of `without`, `random`, `scratch` and `dense`"
)]
pub enum Controls {
    /// All or none.
    All(bool),
    /// Some.
    Some(Vec<Kind>),
}

/// A kind of control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The same training without the techniques.
    Without,
    /// The same with random choices.
    Random,
    /// Fresh weights at the widths that pruning leaves, trained as long as the network before and in the stage.
    Scratch,
    /// The network before any technique, trained as long.
    Dense,
}

impl Default for Controls {
    fn default() -> Self {
        Self::All(false)
    }
}

impl Controls {
    const KINDS: [Kind; 4] = [Kind::Without, Kind::Random, Kind::Scratch, Kind::Dense];

    /// The kinds that are asked for.
    fn kinds(&self) -> Vec<Kind> {
        match self {
            Self::All(true) => Self::KINDS.to_vec(),
            Self::All(false) => Vec::new(),
            Self::Some(kinds) => Self::KINDS.into_iter().filter(|kind| kinds.contains(kind)).collect(),
        }
    }
}

/// Adds the controls of every stage of the list `stages` behind it. A control that an earlier stage already is, as the
/// network trained without a teacher often is, is left out. The stages behind start from the same networks as before.
/// `seed` is that of the recipe, which random choices take.
pub fn add(stages: &mut Vec<Value>, asked: &Controls, seed: Option<i64>) {
    let kinds = asked.kinds();
    let mut found: Vec<Value> = Vec::new();
    let mut lineage = Lineage::default();
    for stage in std::mem::take(stages) {
        let Value::Table(mut stage) = stage else {
            found.push(stage);
            continue;
        };
        if kinds.is_empty() {
            found.push(Value::Table(stage));
            continue;
        }
        let last = lineage.add(&mut stage);
        let controls = kinds.iter().filter_map(|kind| match kind {
            Kind::Without => without(&stage),
            Kind::Random => random(&stage, seed),
            Kind::Scratch => scratch(&stage, &lineage, &last),
            Kind::Dense => dense(&stage, &lineage, &last),
        });
        let against = Value::Array(vec![Value::String(last.clone())]);
        let controls: Vec<Table> = controls.collect();
        found.push(Value::Table(stage));
        for mut control in controls {
            control.insert("against".into(), against.clone());
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
    let techniques = techniques(stage);
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
fn random(stage: &Table, seed: Option<i64>) -> Option<Table> {
    let mut control = control(stage, "random", "random criterion".into());
    let mut changed = false;
    for key in keys() {
        let Some(Value::Table(options)) = control.get_mut(key) else { continue };
        let criterion = options.get("criterion").and_then(Value::as_str);
        // Sparsification has a criterion by default.
        if criterion.is_some_and(|name| name != "random") || criterion.is_none() && key == "sparsify" {
            options.insert("criterion".into(), Value::String("random".into()));
            if let (Some(seed), false) = (seed, options.contains_key("seed")) {
                options.insert("seed".into(), Value::Integer(seed));
            }
            changed = true;
        }
    }
    changed.then_some(control)
}

/// The network of the stage, which ends as `last`, with fresh weights, trained as long as it and all before it, if it is
/// pruned and its weights were drawn in the recipe.
fn scratch(stage: &Table, lineage: &Lineage, last: &str) -> Option<Table> {
    let root = stage.contains_key("prune").then(|| lineage.root(stage))??;
    let (train, epochs) = lineage.training(stage)?;
    let label = format!("from scratch at the same widths, {epochs} epochs");
    let mut control = control(&kept(stage, &["evaluate"]), "scratch", label);
    rename(&mut control, stage, "scratch");
    control.insert("from".into(), Value::String(last.into()));
    control.insert("fresh".into(), Value::Boolean(true));
    control.insert("train".into(), Value::Table(train));
    root.contains_key("arch").then_some(control)
}

/// The network before any technique, trained as long as that of the stage, if the stage trains and one before it applies a
/// technique: otherwise [`without`] is that.
fn dense(stage: &Table, lineage: &Lineage, _last: &str) -> Option<Table> {
    let root = lineage.root(stage)?;
    let cut_before = lineage.ancestors(stage).iter().any(|ancestor| !techniques(ancestor).is_empty());
    if !cut_before
        || !stage.contains_key("train")
        || techniques(stage).is_empty()
        || !root.contains_key("arch")
    {
        return None;
    }
    let (train, epochs) = lineage.training(stage)?;
    let mut control =
        control(&kept(root, &["arch", "width", "head"]), "dense", format!("dense, {epochs} epochs"));
    rename(&mut control, stage, "dense");
    if let Some(evaluate) = stage.get("evaluate") {
        control.insert("evaluate".into(), evaluate.clone());
    }
    control.insert("train".into(), Value::Table(train));
    Some(control)
}

/// The entries of `stage` under these keys.
fn kept(stage: &Table, keys: &[&str]) -> Table {
    stage
        .iter()
        .filter(|(key, _)| keys.contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// Names `control` after `stage`.
fn rename(control: &mut Table, stage: &Table, suffix: &str) {
    let name = stage.get("name").and_then(Value::as_str).unwrap_or_default();
    control.insert("name".into(), Value::String(format!("{name}-{suffix}")));
}

/// A copy of `stage` under another name that reports no more than its scores.
fn control(stage: &Table, suffix: &str, label: String) -> Table {
    let mut control = stage.clone();
    rename(&mut control, stage, suffix);
    control.insert("control".into(), Value::String(label));
    for key in ["published", "lr_find", "save_plan", "save_scores"] {
        control.remove(key);
    }
    control
}

/// Everything of a stage that its network depends on.
fn content(stage: &Table) -> Table {
    let mut content = stage.clone();
    for key in ["name", "control", "against", "published", "evaluate", "lr_find"] {
        content.remove(key);
    }
    content
}

/// The keys of techniques that a stage has.
fn techniques(stage: &Table) -> Vec<&'static str> {
    keys().filter(|key| stage.contains_key(*key)).collect()
}

/// The keys of all techniques.
fn keys() -> impl Iterator<Item = &'static str> {
    StageKeys::NAMES.iter().copied().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controls(stages: &str, asked: &Controls) -> Vec<String> {
        let mut table: Table = stages.parse().unwrap();
        let stages = table["stage"].as_array_mut().unwrap();
        add(stages, asked, Some(4));
        stages.iter().map(|stage| stage.to_string()).collect()
    }

    const CHAIN: &str = "[[stage]]\nname = \"a\"\narch = \"x\"\ntrain = { epochs = 1, learning_rate = 0.5 }\n[[stage]]\n\
                         name = \"b\"\nsparsify = { sparsity = 0.5 }\npublished = { top1 = 5 }\ntrain = { epochs = 2 }\n\
                         [[stage]]\nname = \"c\"\nprune = {}";

    #[test]
    fn a_technique_gets_a_control_as_long_and_a_random_one() {
        let found = controls(CHAIN, &Controls::All(true));
        let expected = [
            r#"{ arch = "x", name = "a", train = { epochs = 1, learning_rate = 0.5 } }"#,
            r#"{ from = "a", name = "b", published = { top1 = 5 }, sparsify = { sparsity = 0.5 }, train = { epochs = 2 } }"#,
            r#"{ against = ["b"], control = "without sparsify", from = "a", name = "b-without", train = { epochs = 2 } }"#,
            r#"{ against = ["b"], control = "random criterion", from = "a", name = "b-random", sparsify = { criterion = "random", seed = 4, sparsity = 0.5 }, train = { epochs = 2 } }"#,
            r#"{ from = "b", name = "c", prune = {} }"#,
            r#"{ against = ["c"], control = "from scratch at the same widths, 3 epochs", fresh = true, from = "c", name = "c-scratch", train = { epochs = 3, learning_rate = 0.5 } }"#,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn only_the_kinds_that_are_asked_for_are_added() {
        assert_eq!(controls(CHAIN, &Controls::All(false)).len(), 3);
        let some = controls(CHAIN, &Controls::Some(vec![Kind::Scratch]));
        assert!(some.len() == 4 && some[3].contains("c-scratch"), "{some:?}");
    }

    #[test]
    fn a_dense_network_is_trained_as_long_as_a_chain_of_techniques() {
        let found = controls(
            "[[stage]]\nname = \"a\"\narch = \"x\"\nwidth = 0.5\ntrain = { epochs = 1 }\n[[stage]]\nname = \"b\"\n\
             repeat = 2\nslim = {}\ntrain = { epochs = 2 }\n[[stage]]\nname = \"c\"\nprune = { criterion = \"random\", \
             fraction = 0.5 }\ntrain = { epochs = 3 }",
            &Controls::Some(vec![Kind::Dense, Kind::Scratch]),
        );
        let expected = [
            r#"{ against = ["c"], control = "from scratch at the same widths, 8 epochs", fresh = true, from = "c", name = "c-scratch", train = { epochs = 8 } }"#,
            r#"{ against = ["c"], arch = "x", control = "dense, 8 epochs", name = "c-dense", train = { epochs = 8 }, width = 0.5 }"#,
        ];
        assert_eq!(found[3..], expected);
        assert!(found[2].contains(r#"from = "b-2""#), "{found:?}");
    }

    #[test]
    fn a_control_that_is_there_already_is_left_out() {
        let found = controls(
            "[[stage]]\nname = \"base\"\narch = \"x\"\ntrain = { epochs = 1 }\n[[stage]]\nname = \"taught\"\narch = \"x\"\n\
             teacher = \"base\"\ndistill = {}\ntrain = { epochs = 1 }\n[[stage]]\nname = \"cut\"\n\
             from = \"file.safetensors\"\nprune = { criterion = \"random\", fraction = 0.5 }",
            &Controls::All(true),
        );
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
