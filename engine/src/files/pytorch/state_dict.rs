//! Finding the weights in what a file holds: a dictionary of tensors, or a checkpoint with one among its entries.

use super::value::{Id, Pickle, Value};
use super::view::View;

/// The entries that hold a checkpoint's weights, the preferred first.
const NESTED: [&str; 8] =
    ["state_dict", "model_state_dict", "model", "module", "net", "params", "ema", "state_dict_ema"];

/// How deeply such entries are nested at most.
const DEPTH: usize = 3;

/// Names shown of a list.
const SHOWN: usize = 8;

/// The weights of a file.
pub(super) struct Found<'p> {
    pub tensors: Vec<(&'p str, &'p View)>,
    /// Entries between the tensors that are none.
    pub ignored: Vec<String>,
    /// Remarks about the choice, for the user.
    pub notes: Vec<String>,
}

/// Finds the dictionary of tensors in `pickle`.
pub(super) fn find<'p>(pickle: &'p Pickle) -> Result<Found<'p>, String> {
    let (mut at, mut notes) = (pickle.root, Vec::new());
    for _ in 0..DEPTH {
        let Some((key, inner)) = nested(pickle, at) else { break };
        let others = names(pickle, at).filter(|name| *name != key).collect::<Vec<_>>();
        let others = if others.is_empty() { String::new() } else { format!("; not {}", listed(&others)) };
        notes.push(format!("the weights are its entry `{key}`{others}"));
        at = inner;
    }
    let Some(entries) = pickle.dict(at) else {
        return Err("expected a dictionary of tensors, found another object".into());
    };
    let (mut tensors, mut ignored) = (Vec::new(), Vec::new());
    for &(key, value) in entries {
        match (pickle.text(key), &pickle.values[value]) {
            (Some(name), Value::Tensor(view)) => tensors.push((name, view)),
            (name, _) => ignored.push(name.unwrap_or("an entry without a name").to_string()),
        }
    }
    if tensors.is_empty() {
        let entries = listed(&names(pickle, at).collect::<Vec<_>>());
        let places = NESTED.join(", ");
        return Err(format!(
            "expected a dictionary of tensors, alone or in one of the entries {places}; found the entries {entries}"
        ));
    }
    Ok(Found { tensors, ignored, notes })
}

/// The preferred entry of `dict` that is a dictionary with tensors or with such an entry of its own.
fn nested(pickle: &Pickle, dict: Id) -> Option<(&'static str, Id)> {
    let entries = pickle.dict(dict)?;
    let holds = |id: Id| {
        let inner = pickle.dict(id).unwrap_or_default();
        inner.iter().any(|&(key, value)| match &pickle.values[value] {
            Value::Tensor(_) => true,
            Value::Dict(_) => pickle.text(key).is_some_and(|key| NESTED.contains(&key)),
            _ => false,
        })
    };
    NESTED.iter().find_map(|&name| {
        let named = entries.iter().rev().find(|(key, _)| pickle.text(*key) == Some(name));
        named.filter(|&&(_, value)| holds(value)).map(|&(_, value)| (name, value))
    })
}

/// The names of the entries of `dict`.
fn names<'p>(pickle: &'p Pickle, dict: Id) -> impl Iterator<Item = &'p str> {
    pickle.dict(dict).unwrap_or_default().iter().filter_map(|&(key, _)| pickle.text(key))
}

fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 if names.is_empty() => "none".into(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
