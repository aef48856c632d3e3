//! Which tensor of a file belongs to which layer: by names, or by shapes and order.
//!
//! **By names**, after the prefixes that wrappers put before every name are removed.
//!
//! **By shapes and order**, if a file has other names. Tensors whose names differ in the last part only are a *module*:
//! `stem.conv.weight`, `stem.conv.bias`. Modules come in the order in which the file holds their tensors, and in the
//! order of their names, where numbers count as numbers. An order fits if it has as many modules as the network has
//! layers with weights, and module i has the same tensors with the same shapes as layer i, for every i. If one order
//! fits, module i becomes layer i. If none does, or both do and differ, nothing is read. `torch.save` keeps the order
//! in which a network was defined; safetensors files of PyTorch are sorted by name.
//!
//! Two layers of equal shapes next to each other may be exchanged in another network of the same shapes, which nothing
//! in a file shows: the pairs are reported, and accuracy tells.

use crate::files::weights_file::WeightsFile;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const COUNTER: &str = ".num_batches_tracked";

/// The number of averaged models in the state of `torch.optim.swa_utils.AveragedModel`.
const AVERAGED: &str = "n_averaged";

/// What data parallelism, `torch.compile` and training frameworks put before the names.
const PREFIXES: [&str; 3] = ["module.", "_orig_mod.", "model."];

/// Our name of a tensor, from the name in a file, if they differ.
pub type Rename<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How the tensors of a file are assigned to layers.
#[derive(Clone, Copy)]
pub struct Assignment<'a> {
    /// Our name of a tensor, from its name in the file without prefixes.
    pub rename: Rename<'a>,
    /// Whether shapes and order decide instead of names.
    pub by_order: bool,
    /// Layers that the file may lack. They then keep their weights.
    pub absent: &'a [String],
    /// Whether a tensor, by its name in the file without prefixes, belongs to a part that the network lacks on purpose.
    pub auxiliary: &'a dyn Fn(&str) -> bool,
}

impl<'a> Assignment<'a> {
    /// By names: all layers are in the file, and nothing else.
    pub fn named(rename: Rename<'a>) -> Self {
        Self { rename, by_order: false, absent: &[], auxiliary: &nothing }
    }
}

/// No part of a file is left out on purpose.
fn nothing(_theirs: &str) -> bool {
    false
}

/// A layer with weights, or the tensors of a file that belong together: their last names, with shapes in PyTorch's
/// layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    pub name: String,
    pub tensors: BTreeMap<String, Vec<usize>>,
}

impl Assignment<'_> {
    /// The names in `file` of the tensors of `layers`, by our names. What was done is remarked in `notes`.
    pub(crate) fn names(
        &self,
        layers: &[Module],
        file: &WeightsFile,
        notes: &mut Vec<String>,
    ) -> Result<BTreeMap<String, String>, String> {
        if !self.by_order {
            return self.by_name(layers, file.left(), notes);
        }
        let orders = orders(file);
        let lacking: Vec<Module> =
            layers.iter().filter(|layer| !self.absent.contains(&layer.name)).cloned().collect();
        let (assigned, some) = match (by_order(layers, &orders), self.absent) {
            (Err(_), [_, ..]) => (by_order(&lacking, &orders)?, &lacking[..]),
            (found, _) => (found?, layers),
        };
        let pairs: Vec<String> = some
            .iter()
            .zip(&assigned)
            .map(|(layer, module)| format!("\n    {} ← {module}", layer.name))
            .collect();
        let count = pairs.len();
        notes
            .push(format!("{count} layers are matched by shapes and order, not by names:{}", pairs.concat()));
        let mut names: BTreeMap<String, String> = file
            .left()
            .into_iter()
            .filter(|name| is_counter(name))
            .map(|name| (name.clone(), name))
            .collect();
        for (layer, module) in some.iter().zip(assigned) {
            let slots = layer.tensors.keys();
            names.extend(slots.map(|slot| (format!("{}.{slot}", layer.name), joined(&module, slot))));
        }
        Ok(names)
    }

    /// The names `theirs` of the tensors in a file, by our names. Prefixes that are removed and parts that are ignored
    /// are remarked in `notes`.
    fn by_name(
        &self,
        layers: &[Module],
        theirs: Vec<String>,
        notes: &mut Vec<String>,
    ) -> Result<BTreeMap<String, String>, String> {
        let start = prefixes(layers, &theirs, notes);
        let (mut names, mut ignored) = (BTreeMap::new(), BTreeSet::new());
        for name in theirs {
            let stripped = name.get(start..).unwrap_or(&name);
            if (self.auxiliary)(stripped) {
                ignored.insert(stripped.split('.').next().unwrap_or_default().to_string());
                continue;
            }
            let ours = (self.rename)(stripped).unwrap_or_else(|| stripped.to_string());
            if let Some(other) = names.insert(ours.clone(), name.clone()) {
                return Err(format!("`{other}` and `{name}` are both `{ours}`"));
            }
        }
        if !ignored.is_empty() {
            let parts: Vec<String> = ignored.into_iter().collect();
            notes.push(format!("ignored `{}`, which only training uses", parts.join("`, `")));
        }
        Ok(names)
    }

    /// The number of outputs that the layer called `name` has in `file`, if that has it and everything else fits by
    /// order.
    pub(crate) fn outputs_by_order(layers: &[Module], file: &WeightsFile, name: &str) -> Option<usize> {
        let at = layers.iter().position(|layer| layer.name == name)?;
        let mut found = BTreeSet::new();
        for order in orders(file).iter().filter(|order| order.len() == layers.len()) {
            let outputs = *order[at].tensors.get("weight")?.first()?;
            let mut layers = layers.to_vec();
            // What follows the last layer has a channel for each class, too.
            for shape in layers[at..].iter_mut().flat_map(|layer| layer.tensors.values_mut()) {
                shape[0] = outputs;
            }
            found.extend(difference(&layers, order).is_none().then_some(outputs));
        }
        (found.len() == 1).then(|| found.pop_first()).flatten()
    }
}

/// Whether a tensor of this name counts batches or averaged models, which no network needs.
pub fn is_counter(name: &str) -> bool {
    name.ends_with(COUNTER) || name == AVERAGED
}

/// The length of the prefixes that wrappers put before all the names `theirs`, which are remarked in `notes`.
fn prefixes(layers: &[Module], theirs: &[String], notes: &mut Vec<String>) -> usize {
    let mut start = 0;
    let wraps = |prefix: &&&str, start: usize| {
        let wrapped = |name: &String| name[start..].starts_with(**prefix);
        let mut tensors = theirs.iter().filter(|name| *name != AVERAGED).peekable();
        let ours = layers.iter().any(|layer| layer.name.starts_with(**prefix));
        tensors.peek().is_some() && tensors.all(wrapped) && !ours
    };
    while let Some(prefix) = PREFIXES.iter().find(|prefix| wraps(prefix, start)) {
        start += prefix.len();
        notes.push(format!("the prefix `{prefix}` of all names is removed"));
    }
    start
}

/// Whether the numbers of a tensor of the shape `theirs` are those of one of the shape `ours`, in the same order. Axes
/// of one element at the end do not matter: a linear layer over pixels is a 1×1 convolution. A convolution over the
/// whole image is a linear layer.
pub(crate) fn agree(theirs: &[usize], ours: &[usize]) -> bool {
    let trimmed = |shape: &[usize]| shape.iter().rposition(|&axis| axis != 1).map_or(0, |last| last + 1);
    let is_whole = || match (theirs, ours) {
        (&[o, c, h, w], &[outputs, inputs]) => {
            o == outputs && c.checked_mul(h).and_then(|n| n.checked_mul(w)) == Some(inputs)
        }
        _ => false,
    };
    theirs[..trimmed(theirs)] == ours[..trimmed(ours)] || is_whole()
}

/// The name of the tensor `slot` of the module `name`.
fn joined(name: &str, slot: &str) -> String {
    if name.is_empty() { slot.into() } else { format!("{name}.{slot}") }
}

/// The modules of `file` in the order of its tensors, and in that of their names.
fn orders(file: &WeightsFile) -> [Vec<Module>; 2] {
    let mut modules: Vec<Module> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (name, shape) in file.in_order().into_iter().filter(|(name, _)| !is_counter(name)) {
        let (module, slot) = name.rsplit_once('.').unwrap_or(("", &name));
        let place = *places.entry(module.to_string()).or_insert_with(|| {
            modules.push(Module { name: module.into(), tensors: BTreeMap::new() });
            modules.len() - 1
        });
        modules[place].tensors.insert(slot.into(), shape);
    }
    let mut sorted = modules.clone();
    sorted.sort_by_key(|module| natural(&module.name));
    [modules, sorted]
}

/// A key that sorts `layer2` before `layer10`.
fn natural(name: &str) -> Vec<(u64, String)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest[text..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - text);
        let number = rest[text..text + digits].parse().unwrap_or(u64::MAX);
        key.extend([(0, rest[..text].to_string()), (number, String::new())]);
        rest = &rest[text + digits..];
    }
    key
}

/// The module of each of `layers`, by the one order that fits.
fn by_order(layers: &[Module], orders: &[Vec<Module>; 2]) -> Result<Vec<String>, String> {
    let names = |order: &[Module]| order.iter().map(|module| module.name.clone()).collect::<Vec<_>>();
    let fitting: Vec<Vec<String>> =
        orders.iter().filter(|order| difference(layers, order).is_none()).map(|order| names(order)).collect();
    match &fitting[..] {
        [] => Err(format!("by shapes and order: {}", difference(layers, &orders[0]).unwrap_or_default())),
        [one, other] if one != other => Err(format!(
            "by shapes and order: the order in the file and that of the names both fit and differ, first in `{}` and `{}`",
            first_difference(one, other).0,
            first_difference(one, other).1,
        )),
        [one, ..] => Ok(one.clone()),
    }
}

fn first_difference<'a>(one: &'a [String], other: &'a [String]) -> (&'a str, &'a str) {
    one.iter().zip(other).find(|(a, b)| a != b).map_or(("", ""), |(a, b)| (a, b))
}

/// The first difference in shapes between `layers` and `modules`, in words.
fn difference(layers: &[Module], modules: &[Module]) -> Option<String> {
    let differ = |layer: &Module, module: &Module| {
        let (mut ours, mut theirs) = (layer.tensors.iter(), module.tensors.iter());
        layer.tensors.len() != module.tensors.len()
            || ours.any(|(slot, shape)| {
                theirs.next().is_none_or(|(other, found)| slot != other || !agree(found, shape))
            })
    };
    let found = layers.iter().zip(modules).find(|(layer, module)| differ(layer, module));
    if let Some((layer, module)) = found {
        return Some(format!(
            "layer `{}` has {}, and its place in the file `{}` has {}",
            layer.name,
            described(layer),
            module.name,
            described(module)
        ));
    }
    let (expected, found) = (layers.len(), modules.len());
    (expected != found).then(|| format!("expected {expected} layers with weights, found {found}"))
}

fn described(module: &Module) -> String {
    let tensors: Vec<String> =
        module.tensors.iter().map(|(slot, shape)| format!("{slot} {shape:?}")).collect();
    tensors.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, shape: &[usize]) -> Module {
        Module { name: name.into(), tensors: BTreeMap::from([("weight".to_string(), shape.to_vec())]) }
    }

    #[test]
    fn numbers_in_names_sort_as_numbers() {
        let mut names = ["b", "layer10.0", "layer2.11", "layer2.9", "0", "10", "9", "a1b"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["0", "9", "10", "a1b", "b", "layer2.9", "layer2.11", "layer10.0"]);
    }

    #[test]
    fn linear_layers_and_convolutions_over_one_pixel_agree() {
        assert!(agree(&[8, 4], &[8, 4, 1, 1]) && agree(&[8, 4, 1, 1], &[8, 4]));
        assert!(agree(&[8], &[8, 1, 1, 1]) && agree(&[8, 1, 1], &[8, 1, 1, 1]));
        assert!(agree(&[8, 4, 3, 3], &[8, 36]));
        // The order of a linear layer over an image is known, that of an image over a linear layer is not.
        assert!(!agree(&[8, 36], &[8, 4, 3, 3]) && !agree(&[8, 3, 3, 4], &[8, 4, 3, 3]));
        assert!(!agree(&[8, 4], &[4, 8]) && !agree(&[8, 4], &[8, 1, 4]));
        assert!(!agree(&[8, 4, usize::MAX, 2], &[8, 8]));
    }

    #[test]
    fn an_order_that_is_not_the_only_one_is_refused() {
        let layers = [module("x", &[2, 3]), module("y", &[2, 3]), module("z", &[4])];
        let file = |names: [&str; 3]| {
            let [a, b, c] = names;
            let modules = vec![module(a, &[2, 3]), module(b, &[2, 3]), module(c, &[4])];
            let mut sorted = modules.clone();
            sorted.sort_by_key(|module| natural(&module.name));
            [modules, sorted]
        };
        assert_eq!(by_order(&layers, &file(["1", "2", "3"])).unwrap(), ["1", "2", "3"]);
        // Sorted by name the shapes do not fit, so that the order in the file is the only one.
        assert_eq!(by_order(&layers, &file(["9", "2", "1"])).unwrap(), ["9", "2", "1"]);
        let message = by_order(&layers, &file(["2", "1", "3"])).unwrap_err();
        assert!(message.contains("both fit and differ, first in `2` and `1`"), "{message}");
        let message = by_order(&layers[..2], &file(["1", "2", "3"])).unwrap_err();
        assert!(message.ends_with("expected 2 layers with weights, found 3"), "{message}");
        let message = by_order(&[module("x", &[3, 2])], &file(["1", "2", "3"])).unwrap_err();
        assert!(
            message.ends_with("layer `x` has weight [3, 2], and its place in the file `1` has weight [2, 3]"),
            "{message}"
        );
    }
}
