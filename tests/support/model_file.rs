//! Handwritten model files, so that tests can create files that lopper itself would not write.

use serde_json::{Map, Value, json};

/// Tensor in a file: name, type, shape and bytes.
#[derive(Clone)]
pub struct Stored {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<u64>,
    pub bytes: Vec<u8>,
}

/// Parts of a model file: the program, which may be invalid, and tensors.
#[derive(Clone)]
pub struct ModelFile {
    pub program: Value,
    pub tensors: Vec<Stored>,
}

impl ModelFile {
    /// Creates a program of `nodes`, each with name, layer and inputs, for images of `input` = [height, width,
    /// channels].
    pub fn new(nodes: &[(&str, Value, &[usize])], input: [usize; 3], classes: &[&str]) -> Self {
        let node = |(name, layer, inputs): &(&str, Value, &[usize])| json!({ "name": name, "layer": layer, "inputs": inputs });
        let info = json!({
            "arch": "", "input": input, "classes": classes, "mean": vec![0.5; input[2]], "std": vec![0.5; input[2]],
        });
        let graph = json!({ "nodes": nodes.iter().map(node).collect::<Vec<_>>(), "info": info });
        Self { program: json!({ "version": 2, "layout": "OHWI", "graph": graph }), tensors: Vec::new() }
    }

    /// Adds a tensor of small numbers in which no two neighbors are equal.
    pub fn with(mut self, name: &str, shape: &[u64]) -> Self {
        let count: u64 = shape.iter().product();
        let bytes = (0..count).flat_map(|i| (((i * 37) % 19) as f32 / 20.0 - 0.43).to_le_bytes()).collect();
        self.tensors.push(Stored { name: name.into(), dtype: "F32", shape: shape.into(), bytes });
        self
    }

    /// Adds the four tensors of the batch norm `name` with `channels` channels.
    pub fn with_norm(mut self, name: &str, channels: u64) -> Self {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            self = self.with(&format!("{name}.{part}"), &[channels]);
        }
        let variance = self.tensors.last_mut().expect("the running variance");
        variance.bytes = std::iter::repeat_n(1f32.to_le_bytes(), channels as usize).flatten().collect();
        self
    }

    /// Adds a mask of zeros and ones for the tensor `name`.
    pub fn with_mask(mut self, name: &str, shape: &[u64]) -> Self {
        let bytes = (0..shape.iter().product::<u64>()).map(|i| u8::from(i % 2 == 0)).collect();
        self.tensors.push(Stored { name: format!("{name}.mask"), dtype: "U8", shape: shape.into(), bytes });
        self
    }

    /// Returns the JSON header.
    pub fn header(&self) -> Vec<u8> {
        let mut header = Map::new();
        header.insert("__metadata__".into(), json!({ "lopper": self.program.to_string() }));
        let mut end = 0;
        for Stored { name, dtype, shape, bytes } in &self.tensors {
            let start = end;
            end += bytes.len();
            header.insert(
                name.clone(),
                json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] }),
            );
        }
        let mut text = Value::Object(header).to_string().into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        text
    }

    /// Returns the whole file.
    pub fn bytes(&self) -> Vec<u8> {
        let (header, body) =
            (self.header(), self.tensors.iter().flat_map(|t| &t.bytes).copied().collect::<Vec<u8>>());
        [&(header.len() as u64).to_le_bytes(), &header[..], &body[..]].concat()
    }
}

/// Returns a trainable parameter of a program.
pub fn param() -> Value {
    json!({ "trainable": true })
}

/// Returns a convolution with stride 1, size-preserving padding and no bias, with the entries of `more` replaced.
pub fn conv(kernel: usize, more: Value) -> Value {
    let mut conv = json!({
        "weight": param(), "bias": null, "stride": [1, 1], "padding": [kernel / 2, kernel / 2], "dilation": [1, 1], "groups": 1,
    });
    merge(&mut conv, more);
    json!({ "Conv2d": conv })
}

/// Returns a batch norm.
pub fn norm() -> Value {
    json!({ "BatchNorm": { "weight": param(), "bias": param(), "momentum": 0.1, "eps": 1e-5 } })
}

/// Returns an activation.
pub fn activation(name: &str) -> Value {
    json!({ "Activation": name })
}

/// Returns a pooling; `kind` is `Max` or `Average`.
pub fn pool(kind: &str, window: Value) -> Value {
    json!({ "Pool": { "kind": kind, "window": window } })
}

/// Returns an input layer of `channels` channels.
pub fn input(channels: usize) -> Value {
    json!({ "Input": { "channels": channels } })
}

/// Inserts the entries of `more` into `object`.
pub fn merge(object: &mut Value, more: Value) {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
}

/// Returns a small residual network for 32×32 images of `classes.len()` classes.
pub fn small(classes: &[&str]) -> ModelFile {
    let nodes = [
        ("input", input(3), &[][..]),
        ("c1", conv(3, json!({})), &[0]),
        ("b1", norm(), &[1]),
        ("r1", activation("Relu"), &[2]),
        ("c2", conv(3, json!({})), &[3]),
        ("b2", norm(), &[4]),
        ("add", json!("Add"), &[5, 3]),
        ("pool", pool("Average", json!({ "Adaptive": [1, 1] })), &[6]),
        ("flat", json!("Flatten"), &[7]),
        ("fc", json!({ "Linear": { "weight": param(), "bias": param() } }), &[8]),
    ];
    let outputs = classes.len() as u64;
    ModelFile::new(&nodes, [32, 32, 3], classes)
        .with("c1.weight", &[4, 3, 3, 3])
        .with_norm("b1", 4)
        .with("c2.weight", &[4, 3, 3, 4])
        .with_norm("b2", 4)
        .with("fc.weight", &[outputs, 4])
        .with("fc.bias", &[outputs])
}
