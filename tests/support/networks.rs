//! Small networks as handwritten model files that together cover every layer and its options.

use crate::model_file::{ModelFile, Stored, activation, conv, input, norm, param, pool, small};
use serde_json::{Value, json};

/// Classes of Fashion-MNIST, as lopper names them.
pub const FASHION: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// Returns a network for the built-in images, with their normalization.
pub fn fashion() -> ModelFile {
    let mut model = small(&FASHION);
    let info = &mut model.program["graph"]["info"];
    info["mean"] = json!(vec![0.2860f32; 3]);
    info["std"] = json!(vec![0.3530f32; 3]);
    model
}

/// Returns all networks by name.
pub fn all() -> Vec<(&'static str, ModelFile)> {
    vec![
        ("small", small(&["a", "b", "c"])),
        ("fashion", fashion()),
        ("mix", mix()),
        ("short", short()),
        ("compact", compact()),
        ("group", group()),
        ("sparse", short_forms(false, false)),
        ("codes", short_forms(true, false)),
        ("bits", short_forms(false, true)),
        ("gates", gates()),
        ("norms", norms()),
    ]
}

/// Returns a network with every activation, pool and join, a depthwise convolution and a mask.
fn mix() -> ModelFile {
    let window = |kernel: usize, stride: usize, padding: usize, ceil: bool| {
        json!({ "Fixed": { "kernel": [kernel, kernel], "stride": [stride, stride], "padding": [padding, padding],
                           "ceil_mode": ceil, "count_include_pad": !ceil } })
    };
    let nodes: [(&str, Value, &[usize]); 10] = [
        ("input", input(2), &[]),
        ("c", conv(3, json!({})), &[0]),
        ("b", norm(), &[1]),
        ("r", activation("Relu6"), &[2]),
        ("m", pool("Max", window(2, 2, 0, false)), &[3]),
        ("d", conv(3, json!({ "groups": 4 })), &[4]),
        ("a", pool("Average", window(3, 1, 1, true)), &[5]),
        ("k", json!("Concat"), &[4, 6]),
        ("f", json!("Flatten"), &[7]),
        ("l", json!({ "Linear": { "weight": param(), "bias": null } }), &[8]),
    ];
    ModelFile::new(&nodes, [6, 6, 2], &[])
        .with("c.weight", &[4, 3, 3, 2])
        .with_norm("b", 4)
        .with("d.weight", &[4, 3, 3, 1])
        .with("l.weight", &[2, 72])
        .with_mask("c.weight", &[4, 3, 3, 2])
}

/// Returns a residual block whose shortcut pads channels.
fn short() -> ModelFile {
    let nodes: [(&str, Value, &[usize]); 7] = [
        ("input", input(3), &[]),
        ("c", conv(1, json!({ "stride": [2, 2] })), &[0]),
        ("s", json!({ "PadShortcut": { "stride": 2, "before": 0, "after": 1 } }), &[0]),
        ("a", json!("Add"), &[1, 2]),
        ("b", norm(), &[3]),
        ("p", pool("Max", json!({ "Adaptive": [2, 1] })), &[4]),
        ("dr", json!({ "Dropout": { "p": 0.5 } }), &[5]),
    ];
    ModelFile::new(&nodes, [5, 7, 3], &[]).with("c.weight", &[4, 1, 1, 3]).with_norm("b", 4)
}

/// Returns a compacted convolution with a carrier.
fn compact() -> ModelFile {
    let inner = conv(3, json!({ "bias": param() }))["Conv2d"].clone();
    let nodes: [(&str, Value, &[usize]); 3] = [
        ("input", input(3), &[]),
        (
            "cc",
            json!({ "CompactConv2d": { "conv": inner, "inputs": [0, 2], "outputs": [1, 3], "in_width": 3,
                       "carrier": true, "fill": [0.5, 0, -1, 0] } }),
            &[0],
        ),
        ("r", activation("Relu"), &[1]),
    ];
    ModelFile::new(&nodes, [5, 5, 3], &[]).with("cc.weight", &[2, 3, 3, 3]).with("cc.bias", &[2])
}

/// Returns a network with groups, dilation, and padding and strides that differ by axis.
fn group() -> ModelFile {
    let nodes: [(&str, Value, &[usize]); 3] = [
        ("input", input(4), &[]),
        ("c", conv(3, json!({ "groups": 2, "dilation": [2, 1], "padding": [2, 1] })), &[0]),
        ("c2", conv(2, json!({ "padding": [0, 1], "stride": [1, 2], "bias": param() })), &[1]),
    ];
    ModelFile::new(&nodes, [7, 6, 4], &[])
        .with("c.weight", &[8, 3, 3, 2])
        .with("c2.weight", &[4, 2, 2, 8])
        .with("c2.bias", &[4])
}

/// Returns an image that is scaled by a gate, normalized, shuffled, enlarged and dilated.
fn gates() -> ModelFile {
    let norm = json!({ "LayerNorm": { "weight": param(), "bias": param(), "eps": 1e-3, "width": 5, "sum": 0.5, "squares": 0.25 } });
    let sampling = json!({ "Nearest": ["Asymmetric", "Floor"] });
    let nodes: [(&str, Value, &[usize]); 12] = [
        ("input", input(2), &[]),
        ("c", conv(3, json!({})), &[0]),
        ("m", pool("Average", json!("Global")), &[1]),
        ("e", conv(1, json!({ "padding": [0, 0] })), &[2]),
        ("g", activation("HardSigmoid"), &[3]),
        ("x", json!("Multiply"), &[1, 4]),
        ("n", norm, &[5]),
        ("s", json!({ "PRelu": { "weight": param() } }), &[6]),
        ("o", json!({ "Gather": { "channels": [0, 2, 1, 3] } }), &[7]),
        ("a", json!({ "Activation": { "LeakyRelu": { "slope": 0.125 } } }), &[8]),
        ("r", json!({ "Resize": { "sampling": sampling, "size": { "Times": [2, 1] } } }), &[9]),
        ("d", json!({ "Dilate": { "stride": [1, 2] } }), &[10]),
    ];
    let mut model = ModelFile::new(&nodes, [4, 5, 2], &[])
        .with("c.weight", &[4, 3, 3, 2])
        .with("e.weight", &[4, 1, 1, 4])
        .with("n.weight", &[4])
        .with("n.bias", &[4])
        .with("s.weight", &[4]);
    model.program["version"] = json!(6);
    model
}

/// Returns an image that is normalized in groups of channels, then channel by channel, and its softmax.
fn norms() -> ModelFile {
    let norm = |groups: usize| json!({ "GroupNorm": { "weight": param(), "bias": param(), "groups": groups, "eps": 1e-3 } });
    let nodes: [(&str, Value, &[usize]); 6] = [
        ("input", input(2), &[]),
        ("c", conv(3, json!({})), &[0]),
        ("g", norm(2), &[1]),
        ("r", activation("Relu"), &[2]),
        ("i", norm(4), &[3]),
        ("s", json!({ "Softmax": { "log": true } }), &[4]),
    ];
    let mut model = ModelFile::new(&nodes, [4, 5, 2], &[]).with("c.weight", &[4, 3, 3, 2]);
    for name in ["g.weight", "g.bias", "i.weight", "i.bias"] {
        model = model.with(name, &[4]);
    }
    model.program["version"] = json!(8);
    model
}

/// Returns a linear layer of 16 weights in a short form: half of them live, as values or as codes of three values, and which
/// as bits or as codes of two bytes.
fn short_forms(codes: bool, coded_bits: bool) -> ModelFile {
    let nodes: [(&str, Value, &[usize]); 3] = [
        ("input", input(2), &[]),
        ("f", json!("Flatten"), &[0]),
        ("l", json!({ "Linear": { "weight": param(), "bias": null } }), &[1]),
    ];
    let mut model = ModelFile::new(&nodes, [2, 2, 2], &[]);
    model.program["version"] = json!(if coded_bits { 6 } else { 5 });
    let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut add = |suffix: &str, dtype: &'static str, length: u64, bytes: Vec<u8>| {
        model.tensors.push(Stored { name: format!("l.weight{suffix}"), dtype, shape: vec![length], bytes });
    };
    add(".form", "I64", 2, [2i64, 8].iter().flat_map(|length| length.to_le_bytes()).collect());
    match codes {
        false => add(".sparse.values", "F32", 8, floats(&[0.5, -1.0, 2.0, 0.25, 0.5, -1.0, 2.0, 0.0])),
        true => {
            add(".codes.values", "F32", 3, floats(&[0.5, -1.0, 2.0]));
            // 0, 10 and 11: the codes of a b c a b c a a.
            add(".codes", "U8", 2, vec![0b0101_1010, 0b1100_0000]);
            add(".codes.lengths", "U8", 3, vec![1, 2, 2]);
        }
    }
    let bits = [0b0101_0101, 0b1010_1010];
    match coded_bits {
        false => add(".sparse.bits", "U8", 2, bits.to_vec()),
        true => {
            // 0 and 1: the smaller byte has the first code.
            let lengths = (0..=255).map(|byte| u8::from(bits.contains(&byte))).collect();
            add(".sparse.bits.codes", "U8", 1, vec![0b0100_0000]);
            add(".sparse.bits.lengths", "U8", 256, lengths);
        }
    }
    model
}
