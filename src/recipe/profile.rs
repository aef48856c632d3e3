//! Profiles: named overrides of a recipe, such as a short form that ends in minutes.
//!
//! ```toml
//! [profile.quick.data]
//! size = 64
//! [profile.quick.stage.baseline.train]
//! epochs = 2
//! ```
//!
//! Tables merge key by key, and stages by name. A table whose override has another `name`, such as a schedule, is
//! replaced, because the keys of one schedule mean nothing to another. So is everything that is not a table.

use lopper_engine::{Error, Result};
use std::collections::BTreeMap;
use toml::{Table, Value};

/// The profile that is the recipe as it is written, with the overrides of `[profile.full]`, if there are any.
pub const FULL: &str = "full";

/// The profile that is run unless another is asked for, if the recipe has it.
pub const QUICK: &str = "quick";

/// The key of the stages, and that of their names.
const STAGE: &str = "stage";
const NAME: &str = "name";

/// The profiles of a recipe, by name.
pub type Profiles = BTreeMap<String, Table>;

/// Returns the name of the profile to run: `wanted`, or `quick` if there is one, or `full`.
///
/// # Errors
/// [`Error::Invalid`] if there is no profile `wanted`.
pub fn choose(profiles: &Profiles, wanted: Option<&str>) -> Result<String> {
    let has = |name: &str| name == FULL || profiles.contains_key(name);
    let name = wanted.unwrap_or(if has(QUICK) { QUICK } else { FULL });
    if has(name) {
        return Ok(name.to_string());
    }
    let mut names: Vec<&str> = profiles.keys().map(String::as_str).filter(|&name| name != FULL).collect();
    names.push(FULL);
    Err(Error::invalid(format!("profile: expected {}, found `{name}`", names.join(" or "))))
}

/// Returns the table of a recipe, `base`, in the profile `name`.
///
/// # Errors
/// [`Error::Invalid`], with the key, if an override concerns something that the recipe does not have.
pub fn apply(base: &Table, profiles: &Profiles, name: &str) -> Result<Table> {
    let mut merged = base.clone();
    let Some(overrides) = profiles.get(name) else { return Ok(merged) };
    for (key, value) in overrides {
        match key.as_str() {
            STAGE => stages(&mut merged, value, name)?,
            "profile" => return Err(invalid(name, key, "a profile has no profiles")),
            _ => merge(&mut merged, key, value),
        }
    }
    Ok(merged)
}

/// Merges the overrides of stages, a table by their names, into the list of stages.
fn stages(recipe: &mut Table, overrides: &Value, profile: &str) -> Result<()> {
    let Value::Table(overrides) = overrides else {
        return Err(invalid(profile, STAGE, "expected a table of stages by name"));
    };
    let mut empty = Vec::new();
    let stages = recipe.get_mut(STAGE).and_then(Value::as_array_mut).unwrap_or(&mut empty);
    for (wanted, values) in overrides {
        let key = format!("{STAGE}.{wanted}");
        let named = |stage: &Value| stage.get(NAME).and_then(Value::as_str) == Some(wanted);
        let names: Vec<String> = stages.iter().filter_map(|stage| stage.get(NAME)).map(unquoted).collect();
        let Some(Value::Table(stage)) = stages.iter_mut().find(|stage| named(stage)) else {
            return Err(invalid(profile, &key, &format!("no such stage, only {}", names.join(", "))));
        };
        let Value::Table(values) = values else {
            return Err(invalid(profile, &key, "expected a table"));
        };
        if values.contains_key(NAME) {
            return Err(invalid(profile, &format!("{key}.{NAME}"), "a profile cannot rename a stage"));
        }
        values.iter().for_each(|(key, value)| merge(stage, key, value));
    }
    Ok(())
}

/// Sets `key` in `table` to `value`. Tables are merged, unless they have different names.
fn merge(table: &mut Table, key: &str, value: &Value) {
    match (table.get_mut(key), value) {
        (Some(Value::Table(old)), Value::Table(new))
            if new.get(NAME).is_none_or(|name| old.get(NAME) == Some(name)) =>
        {
            new.iter().for_each(|(key, value)| merge(old, key, value));
        }
        _ => {
            table.insert(key.to_string(), value.clone());
        }
    }
}

/// Returns the first key of the profile `name` whose override `fails`, if the recipe reads well up to it.
pub fn culprit(
    base: &Table,
    profiles: &Profiles,
    name: &str,
    fails: impl Fn(Table) -> bool,
) -> Option<String> {
    let mut leaves = Vec::new();
    flatten(profiles.get(name)?, &mut Vec::new(), &mut leaves);
    let mut partial = Table::new();
    for (path, value) in leaves {
        put(&mut partial, &path, value);
        let profiles = Profiles::from([(name.to_string(), partial.clone())]);
        if apply(base, &profiles, name).is_ok_and(&fails) {
            return Some(format!("profile.{name}.{}", path.join(".")));
        }
    }
    None
}

/// Lists the values of `table` with their paths. A table with a name is one value.
fn flatten(table: &Table, path: &mut Vec<String>, leaves: &mut Vec<(Vec<String>, Value)>) {
    for (key, value) in table {
        path.push(key.clone());
        match value {
            Value::Table(inner) if !inner.contains_key(NAME) => flatten(inner, path, leaves),
            value => leaves.push((path.clone(), value.clone())),
        }
        path.pop();
    }
}

fn put(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), value);
        }
        [key, rest @ ..] => {
            let inner = table.entry(key).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// A value as text, a string without its quotes.
pub fn unquoted(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

fn invalid(profile: &str, key: &str, problem: &str) -> Error {
    Error::invalid(format!("profile.{profile}.{key}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(text: &str) -> Table {
        text.parse().unwrap()
    }

    const BASE: &str = "seed = 1\ndata = { size = 128, augment = [1, 2] }\n[[stage]]\nname = \"a\"\n\
                        train = { epochs = 10, schedule = { name = \"step\", at = [0.5] } }\n[[stage]]\nname = \"b\"";

    fn merged(overrides: &str) -> Result<Table> {
        apply(&table(BASE), &Profiles::from([("p".to_string(), table(overrides))]), "p")
    }

    #[test]
    fn tables_merge_by_key_and_stages_by_name() {
        let found = merged("data.size = 64\ndata.augment = [3]\nstage.a.train.epochs = 2\nstage.b.fold = {}");
        let text = BASE.replace("128", "64").replace("[1, 2]", "[3]").replace("10,", "2,") + "\nfold = {}";
        assert_eq!(found.unwrap(), table(&text));
        let schedule = |overrides: &str| {
            let found = merged(&format!("stage.a.train.schedule = {overrides}")).unwrap();
            found["stage"][0]["train"]["schedule"].to_string()
        };
        assert_eq!(schedule("{ factor = 0.1 }"), "{ at = [0.5], factor = 0.1, name = \"step\" }");
        assert_eq!(schedule("{ name = \"step\", factor = 0.1 }"), schedule("{ factor = 0.1 }"));
        assert_eq!(schedule("{ name = \"cosine\" }"), "{ name = \"cosine\" }");
    }

    #[test]
    fn overrides_of_nothing_are_refused_with_their_key() {
        for (overrides, message) in [
            ("stage.c.fold = {}", "profile.p.stage.c: no such stage, only a, b"),
            ("stage = 3", "profile.p.stage: expected a table of stages by name"),
            ("stage.a = 3", "profile.p.stage.a: expected a table"),
            ("stage.a.name = \"x\"", "profile.p.stage.a.name: a profile cannot rename a stage"),
            ("profile.x.seed = 3", "profile.p.profile: a profile has no profiles"),
        ] {
            assert_eq!(merged(overrides).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_quick_profile_is_the_default_where_there_is_one() {
        let profiles = |names: &[&str]| -> Profiles {
            names.iter().map(|name| (name.to_string(), Table::new())).collect()
        };
        let both = profiles(&["quick", "full", "overnight"]);
        assert_eq!(choose(&both, None).unwrap(), QUICK);
        assert_eq!(choose(&both, Some("overnight")).unwrap(), "overnight");
        assert_eq!(choose(&profiles(&[]), None).unwrap(), FULL);
        assert_eq!(choose(&profiles(&["quick"]), Some("full")).unwrap(), FULL);
        let message = choose(&both, Some("fast")).unwrap_err().to_string();
        assert_eq!(message, "profile: expected overnight or quick or full, found `fast`");
    }

    proptest! {
        /// Merging twice changes nothing more; an empty profile changes nothing; the overridden keys have their values
        /// and all others keep theirs.
        #[test]
        fn merging_sets_exactly_the_given_keys(
            base in prop::collection::btree_map("[a-c]", 0i64..9, 0..4),
            over in prop::collection::btree_map("[a-d]", 0i64..9, 0..4),
        ) {
            let of = |map: &BTreeMap<String, i64>| -> Table {
                let inner: Table = map.iter().map(|(k, &v)| (k.clone(), Value::Integer(v))).collect();
                Table::from_iter([("t".to_string(), Value::Table(inner))])
            };
            let profiles = Profiles::from([("p".to_string(), of(&over))]);
            let once = apply(&of(&base), &profiles, "p").unwrap();
            prop_assert_eq!(&apply(&once, &profiles, "p").unwrap(), &once);
            prop_assert_eq!(apply(&of(&base), &Profiles::new(), "p").unwrap(), of(&base));
            let mut expected = base.clone();
            expected.extend(over.clone());
            prop_assert_eq!(once, of(&expected));
        }
    }
}
