//! Names of Python for a graph's nodes.

use crate::{Graph, Tensor};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// The file of weights of the module `path`: `small.weights.safetensors` for `small.py`, so that it is no model file's
/// name.
pub fn weights_of(path: &Path) -> PathBuf {
    path.with_extension("weights.safetensors")
}

/// A term that a module adds to each image: the path of its module, and its values `[O, OH, OW]`.
pub(super) type Term = (Vec<String>, Tensor);

/// Names that a module or a dictionary of modules already uses, and Python's keywords.
const TAKEN: &str = "T_destination add_module apply bfloat16 buffers call_super_init children clear compile cpu cuda \
    double dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu \
    items keys load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters pop \
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook \
    register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook register_module \
    register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state \
    set_submodule share_memory state_dict to to_empty train training type update values xpu zero_grad \
    False None True and as assert async await break class continue def del elif else except finally for from global if \
    import in is lambda nonlocal not or pass raise return try while with yield \
    F nn torch json math Path self x Model load read Plus ChannelNorm CLASSES MEAN STD";

/// The name of a variable for a node called `name`.
pub(super) fn variable(name: &str) -> String {
    let mut text: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit() || c == '_') {
        text.insert(0, 'n');
    }
    free(text)
}

/// `name`, with a further underscore if Python or PyTorch uses it.
fn free(mut name: String) -> String {
    if TAKEN.split_whitespace().any(|taken| taken == name) {
        name.push('_');
    }
    name
}

/// The paths of the modules of a graph's layers with parameters, by the layers' names: the names themselves
/// (`layer1.0.conv1`), as far as PyTorch accepts them.
pub(super) fn paths(graph: &Graph) -> BTreeMap<String, Vec<String>> {
    let mut paths = BTreeMap::new();
    // Modules, and groups of modules.
    let (mut leaves, mut groups) = (HashSet::new(), HashSet::new());
    for node in graph.nodes().iter().filter(|node| !node.layer.params().is_empty()) {
        let parts = node.name.split('.').enumerate();
        let mut path: Vec<String> =
            parts.map(|(i, part)| if i == 0 { variable(part) } else { key(part) }).collect();
        let inside = |path: &[String], leaves: &HashSet<Vec<String>>| {
            (1..path.len()).any(|len| leaves.contains(&path[..len]))
        };
        while leaves.contains(&path) || groups.contains(&path) || inside(&path, &leaves) {
            path[0].push('_');
        }
        groups.extend((1..path.len()).map(|len| path[..len].to_vec()));
        leaves.insert(path.clone());
        paths.insert(node.name.clone(), path);
    }
    paths
}

/// The key of a module in its dictionary.
fn key(part: &str) -> String {
    let text: String =
        part.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if text.is_empty() { "_".into() } else { free(text) }
}

/// The variable of each node's value: `x` while only the next layer reads it.
pub(super) fn variables(graph: &Graph) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    let name = |(id, readers): (usize, &Vec<usize>)| {
        if readers.iter().all(|&reader| reader == id + 1) {
            return "x".to_string();
        }
        let mut name = variable(&graph.nodes()[id].name);
        while !taken.insert(name.clone()) {
            name.push('_');
        }
        name
    };
    graph.readers().iter().enumerate().map(name).collect()
}
