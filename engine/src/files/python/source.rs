//! The text of a module of PyTorch.

use super::forward::forward;
use super::names::{Term, weights_of};
use super::resizes::size;
use crate::graph::layer::Conv2d;
use crate::{Graph, Layer, Result};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// The file of Python for `graph`, whose nodes have the output `shapes`, to be written to `path`.
pub(super) fn source(
    graph: &Graph,
    shapes: &[Vec<usize>],
    (paths, terms): (&BTreeMap<String, Vec<String>>, &[Option<Term>]),
    path: &Path,
) -> Result<String> {
    let mut modules = Group::default();
    for (id, node) in graph.nodes().iter().enumerate() {
        if let Some(path) = paths.get(&node.name) {
            let input = &shapes[node.inputs[0]];
            modules.insert(path, constructor(&node.layer, input));
        }
        if let Some((path, term)) = &terms[id] {
            modules.insert(path, format!("Plus({})", tuple(term.shape())));
        }
    }
    let mut text = opening(graph, path);
    if terms.iter().any(Option::is_some) {
        text += PLUS;
    }
    if graph.nodes().iter().any(|node| matches!(node.layer, Layer::LayerNorm(_))) {
        text += CHANNEL_NORM;
    }
    text += "\n\nclass Model(nn.Module):\n    def __init__(self):\n        super().__init__()\n";
    for (name, module) in &modules.0 {
        text += &format!("        self.{name} = ");
        module.write(&mut text, 2);
        text.push('\n');
    }
    text += &forward(graph, shapes, paths, terms)?;
    text += READ;
    Ok(text)
}

/// Imports, and what the network is made for.
fn opening(graph: &Graph, path: &Path) -> String {
    let info = &graph.info;
    let stem = path.file_stem().map_or("model".into(), |stem| stem.display().to_string());
    let (arch, [h, w, c]) = (safe(&info.arch), info.input);
    let weights = safe(&weights_of(Path::new(&stem)).display().to_string());
    let stem = safe(&stem);
    let mut text = format!(
        "\"\"\"A network for PyTorch ({arch}), written by lopper.\n\n    from {stem} import load\n    \
         net = load()  # with the weights of {weights} beside this file\n    \
         logits = net(images)  # [N, {c}, {h}, {w}]: (pixel / 255 - MEAN) / STD\n"
    );
    if let Some(preparation) = info.preparation {
        let _ = writeln!(text, "\nHow an image becomes one of this size: {preparation}.");
    }
    text += "\"\"\"\n\nimport json\nimport math\nfrom pathlib import Path\n\nimport torch\nfrom torch import nn\n\
             from torch.nn import functional as F\n\n";
    let json = |values: &[String]| serde_json::to_string(values).unwrap_or_default();
    let _ = writeln!(text, "CLASSES = {}", json(&info.classes));
    let _ = writeln!(text, "MEAN = {:?}\nSTD = {:?}", info.mean, info.std);
    text
}

/// Text that ends no comment of Python and starts no escape.
fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == '"' || c == '\\' { '_' } else { c }).collect()
}

const PLUS: &str = r#"

class Plus(nn.Module):
    """Adds the same term to each image: what dead channels that are constant but not zero contribute."""

    def __init__(self, shape):
        super().__init__()
        self.register_buffer("term", torch.zeros(shape))

    def forward(self, x):
        return x + self.term
"#;

const CHANNEL_NORM: &str = r#"

class ChannelNorm(nn.Module):
    """Layer normalization over the channels of each pixel. The statistics cover `width` channels: those of the input, and
    constants that are not part of it, with the sum `total` and the sum `squares` of their squares."""

    def __init__(self, channels, eps, width=None, total=0.0, squares=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps, self.width, self.total, self.squares = eps, width or channels, total, squares

    def forward(self, x):
        removed = self.width - len(self.weight)
        mean = (x.sum(1, keepdim=True) + self.total) / self.width
        centered = x - mean
        constants = self.squares + mean * (removed * mean - 2 * self.total)
        var = ((centered * centered).sum(1, keepdim=True) + constants) / self.width
        shape = [-1] + [1] * (x.dim() - 2)
        return centered * torch.rsqrt(var + self.eps) * self.weight.view(shape) + self.bias.view(shape)
"#;

const READ: &str = r#"

def read(path):
    """Returns the tensors of a safetensors file."""
    types = {"F32": torch.float32, "I64": torch.int64}
    data = bytearray(Path(path).read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            kind, shape, offset = types[entry["dtype"]], entry["shape"], start + entry["data_offsets"][0]
            values = torch.frombuffer(data, dtype=kind, count=math.prod(shape), offset=offset)
            tensors[name] = values.reshape(shape).clone()
    return tensors


def load(path=None):
    """Returns the network with the weights of `path`, by default those beside this file, ready for inference."""
    model = Model()
    model.load_state_dict(read(path or Path(__file__).with_suffix(".weights.safetensors")))
    return model.eval()
"#;

/// Modules by name, in the order of the graph.
#[derive(Default)]
struct Group(Vec<(String, Module)>);

enum Module {
    Leaf(String),
    Group(Group),
}

impl Group {
    fn insert(&mut self, path: &[String], constructor: String) {
        let [name, rest @ ..] = path else { return };
        if rest.is_empty() {
            return self.0.push((name.clone(), Module::Leaf(constructor)));
        }
        // A group's modules follow each other in nearly every graph, so the last is looked at first.
        let place = self.0.iter().rposition(|(found, _)| found == name).unwrap_or_else(|| {
            self.0.push((name.clone(), Module::Group(Self::default())));
            self.0.len() - 1
        });
        if let Module::Group(group) = &mut self.0[place].1 {
            group.insert(rest, constructor);
        }
    }
}

impl Module {
    fn write(&self, text: &mut String, depth: usize) {
        match self {
            Self::Leaf(constructor) => text.push_str(constructor),
            Self::Group(group) => {
                text.push_str("nn.ModuleDict({\n");
                for (name, module) in &group.0 {
                    let _ = write!(text, "{}\"{name}\": ", "    ".repeat(depth + 1));
                    module.write(text, depth + 1);
                    text.push_str(",\n");
                }
                let _ = write!(text, "{}}})", "    ".repeat(depth));
            }
        }
    }
}

/// The expression that creates the module of a layer with parameters, which reads a value of shape `x`.
fn constructor(layer: &Layer, x: &[usize]) -> String {
    match layer {
        Layer::Conv2d(conv) => conv2d(conv),
        Layer::Linear(linear) => {
            let bias = if linear.bias.is_some() { "" } else { ", bias=False" };
            format!("nn.Linear({}, {}{bias})", linear.in_features(), linear.out_features())
        }
        Layer::BatchNorm(bn) => {
            let (axes, channels) = (if x.len() == 4 { 2 } else { 1 }, bn.channels());
            format!("nn.BatchNorm{axes}d({channels}, eps={:?}, momentum={:?})", bn.eps, bn.momentum)
        }
        Layer::LayerNorm(norm) if norm.is_whole() => {
            format!("ChannelNorm({}, eps={:?})", norm.channels(), norm.eps)
        }
        Layer::LayerNorm(norm) => format!(
            "ChannelNorm({}, eps={:?}, width={}, total={:?}, squares={:?})",
            norm.channels(),
            norm.eps,
            norm.width,
            norm.sum,
            norm.squares
        ),
        // Of one channel a group, too: PyTorch's instance norm refuses images of one pixel.
        Layer::GroupNorm(norm) => {
            format!("nn.GroupNorm({}, {}, eps={:?})", norm.groups, norm.channels(), norm.eps)
        }
        Layer::PRelu(prelu) => format!("nn.PReLU({})", prelu.channels()),
        // Only these have parameters; compact convolutions have been made dense.
        _ => "nn.Identity()".into(),
    }
}

fn conv2d(conv: &Conv2d) -> String {
    let mut text =
        format!("nn.Conv2d({}, {}, {}", conv.in_channels(), conv.out_channels(), size(conv.kernel()));
    for (name, value, default) in
        [("stride", conv.stride, 1), ("padding", conv.padding, 0), ("dilation", conv.dilation, 1)]
    {
        if value != [default; 2] {
            let _ = write!(text, ", {name}={}", size(value));
        }
    }
    if conv.groups != 1 {
        let _ = write!(text, ", groups={}", conv.groups);
    }
    if conv.bias.is_none() {
        text += ", bias=False";
    }
    text + ")"
}

fn tuple(shape: &[usize]) -> String {
    format!("({})", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))
}
