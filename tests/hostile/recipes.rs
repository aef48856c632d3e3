//! Hostile recipes: invalid values, keys and lines.

use crate::models::changed_bytes;
use crate::mutate::Random;
use crate::runner::Case;

/// Short runs that together use every table of a recipe.
const RECIPES: [&str; 4] = [
    r#"title = "t"
seed = 1
[data]
name = "fashion-mnist"
batch = 8
limit = 1
workers = 1
size = 32
center_fraction = 0.875
mean = [0.28, 0.28, 0.28]
std = [0.35, 0.35, 0.35]
[data.augment]
crop = "padded"
padding = 2
flip = 0.5
[[stage]]
name = "a"
arch = "vgg8_bn"
width = 0.25
[stage.train]
epochs = 1
learning_rate = 1e-3
label_smoothing = 0.1
clip_norm = 1.0
class_weights = "balanced"
accumulate = 2
ema = 0.9
monitor = "macro_f1"
save_best = true
[stage.train.early_stopping]
patience = 2
min_delta = 0.01
[[stage.train.groups]]
params = "classifier.*"
lr_factor = 0.5
weight_decay = 0.1
[stage.train.optimizer]
name = "adamw"
betas = [0.9, 0.999]
eps = 1e-8
weight_decay = 0.01
[stage.train.schedule]
name = "one_cycle"
pct_start = 0.3
div = 25.0
div_final = 1e4
"#,
    r#"[data]
name = "fashion-mnist"
batch = 8
limit = 1
[[stage]]
name = "a"
arch = "vgg8_bn"
width = 0.25
[stage.sparsify]
sparsity = 0.5
granularity = "filter"
context = "local"
criterion = "large_final"
schedule = "cosine"
start = 0.0
end = 0.9
every = 1
[stage.train]
epochs = 1
learning_rate = 1e-2
[stage.train.optimizer]
name = "sgd"
momentum = 0.9
nesterov = true
[stage.train.schedule]
name = "cosine"
warmup = 0.1
[[stage]]
name = "b"
[stage.prune]
criterion = "random"
fraction = 0.5
constants = "drop"
seed = 3
[[stage]]
name = "c"
fold = {}
"#,
    r#"[data]
name = "fashion-mnist"
batch = 8
limit = 1
[[stage]]
name = "a"
arch = "resnet8"
width = 0.25
[[stage]]
name = "b"
arch = "vgg8_bn"
width = 0.25
teacher = "a"
[stage.distill]
weight = 0.5
temperature = 2.0
loss = "kl"
[stage.train]
epochs = 1
learning_rate = 1e-3
[stage.train.schedule]
name = "piecewise"
points = [[0.0, 1.0], [0.5, 0.1]]
between = "cosine"
[[stage]]
name = "c"
[stage.factorize]
fraction = 0.5
[[stage]]
name = "d"
compact = {}
"#,
    r#"[data]
name = "fashion-mnist"
batch = 8
limit = 1
[[stage]]
name = "a"
arch = "vgg8_bn"
width = 0.25
[stage.slim]
l1 = 1e-4
exclude = ["features.1"]
[stage.train]
epochs = 1
learning_rate = 1e-3
[[stage]]
name = "b"
[stage.prune]
criterion = "taylor"
width = 0.5
schedule = "gradual"
start = 0.1
end = 0.9
every = 1
[stage.train]
epochs = 1
learning_rate = 1e-3
[[stage]]
name = "c"
repeat = 2
[stage.prune]
criterion = "batch_norm_gamma"
width = 0.9
relative_to = "a"
[[stage]]
name = "d"
from = "a"
[stage.prune]
criterion = "random"
widths = { "features.0" = 2, "features.1*" = 5 }
"#,
];

const VALUES: [&str; 40] = [
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1",
    "2",
    "0.5",
    "1.5",
    "1e308",
    "1e-308",
    "5e-324",
    "1e39",
    "1e-46",
    "-0.0",
    "99999999999999999999",
    "18446744073709551615",
    "9223372036854775807",
    "-9223372036854775808",
    "\"x\"",
    "\"\"",
    "\"a\"",
    "\"taylor\"",
    "\"random\"",
    "\"local\"",
    "\"sgd\"",
    "\"constant\"",
    "[]",
    "{}",
    "true",
    "[nan, 0.9]",
    "[0, 0]",
    "[0.9, 1.0]",
    "[0.999999999999, 0.99999999999]",
    "[1e-300, 1.0]",
    "[0, 0, 0]",
    "[1e-45, 1e-45, 1e-45]",
    "[\"nothing\"]",
    "1979-05-27",
    "'''",
];

/// Keys for which a valid value may take hours: they only get values that do not.
const SLOW: [&str; 4] = ["epochs", "size", "width", "arch"];

/// Returns a run of a changed recipe.
pub fn case(random: &mut Random) -> Case {
    let recipe = RECIPES[random.below(RECIPES.len())];
    let mut lines: Vec<String> = recipe.lines().map(str::to_string).collect();
    let mut changes = Vec::new();
    for _ in 0..1 + random.below(2) {
        let at = random.below(lines.len());
        let change = match random.below(8) {
            0 => format!("without `{}`", lines.remove(at)),
            1 => {
                lines.insert(at, lines[at].clone());
                format!("with `{}` twice", lines[at])
            }
            2 => {
                lines.insert(at, "nonsense = nan".into());
                format!("with nonsense before `{}`", lines[at + 1])
            }
            _ => {
                let Some((key, _)) = lines[at].split_once(" = ") else { continue };
                let values = if SLOW.contains(&key) { &VALUES[..6] } else { &VALUES[..] };
                lines[at] = format!("{key} = {}", values[random.below(values.len())]);
                format!("with `{}`", lines[at])
            }
        };
        changes.push(change);
    }
    let mut text = lines.join("\n").into_bytes();
    if random.below(12) == 0 {
        text = changed_bytes(random, text);
        changes.push("with changed bytes".into());
    }
    Case::new(format!("recipe {}", changes.join(", ")), &["run", "r.toml", "--out", "runs"])
        .with("r.toml", text)
}
