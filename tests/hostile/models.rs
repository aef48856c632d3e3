//! Hostile model files: invalid numbers, entries, tensors and bytes.

use crate::model_file::{ModelFile, activation, pool};
use crate::mutate::{self, Random};
use crate::networks::{self, FASHION};
use crate::runner::{Case, OUT};
use serde_json::{Value, json};

const MODEL: &str = "m.safetensors";

/// Returns a random command on a changed model file.
pub fn case(random: &mut Random) -> Case {
    let all = networks::all();
    let (network, model) = &all[random.below(all.len())];
    let (change, bytes) = match random.below(4) {
        0 => ("changed bytes", changed_bytes(random, model.bytes())),
        1 => ("a changed number", changed_numbers(random, model)),
        2 => ("a changed entry", changed_entries(random, model)),
        _ => ("a changed tensor", changed_tensors(random, model)),
    };
    Case::new(format!("{network} with {change}"), &command(random)).with(MODEL, bytes)
}

/// Returns a random command that reads the file.
fn command(random: &mut Random) -> Vec<&'static str> {
    let commands: [&[&str]; 17] = [
        &["summary", MODEL],
        &["bench", MODEL, "--seconds", "0"],
        &["bench", MODEL, "--seconds", "0", "--training", "--batch", "2"],
        &["eval", MODEL, "--data", "fashion-mnist", "--limit", "1"],
        &["fold", MODEL, "--out", OUT],
        &["prune", MODEL, "--out", OUT],
        &["prune", MODEL, "--criterion", "large_final", "--fraction", "0.9", "--out", OUT],
        &["prune", MODEL, "--criterion", "l2_magnitude", "--width", "0.6", "--out", OUT],
        &["compact", MODEL, "--out", OUT],
        &["factorize", MODEL, "--fraction", "0.5", "--out", OUT],
        &["factorize", MODEL, "--error", "0.3", "--conv", "cp", "--out", OUT],
        &["factorize", MODEL, "--target-macs", "0.5x", "--out", OUT],
        &["share", MODEL, "--bits", "2", "--out", OUT],
        &["sparsify", MODEL, "--sparsity", "0.5", "--epochs", "0", "--out", OUT],
        &["diff", MODEL, MODEL],
        &["export", MODEL, "--out", OUT],
        &[
            "train",
            "--model",
            MODEL,
            "--data",
            "fashion-mnist",
            "--limit",
            "1",
            "--batch",
            "4",
            "--epochs",
            "1",
            "--out",
            OUT,
        ],
    ];
    commands[random.below(commands.len())].to_vec()
}

/// Changes some bytes, truncates the file or appends to it.
pub fn changed_bytes(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..[1, 2, 5, 20][random.below(4)] {
        let reach = if random.below(2) == 0 { bytes.len() } else { bytes.len().min(64) };
        if reach > 0 {
            bytes[random.below(reach)] = random.below(256) as u8;
        }
    }
    match random.below(6) {
        0 => bytes.truncate(random.below(bytes.len().max(1))),
        1 => bytes.extend((0..random.below(40)).map(|i| i as u8)),
        _ => {}
    }
    bytes
}

/// Replaces numbers of the header but keeps the tensors.
fn changed_numbers(random: &mut Random, model: &ModelFile) -> Vec<u8> {
    let mut header = model.header();
    for _ in 0..1 + random.below(3) {
        let size = header.len();
        header.resize(size + 64, b' ');
        let seed = random.below(1 << 32) as u32;
        let new_size = mutate::number(&mut header, size, size + 64, seed).unwrap_or(size);
        header.truncate(new_size);
    }
    let body: Vec<u8> = model.tensors.iter().flat_map(|tensor| &tensor.bytes).copied().collect();
    [&(header.len() as u64).to_le_bytes(), &header[..], &body[..]].concat()
}

/// Replaces one entry of the program.
fn changed_entries(random: &mut Random, model: &ModelFile) -> Vec<u8> {
    let mut model = model.clone();
    let mut at = &mut model.program;
    // Descends to a random entry: each step may be the last.
    while random.below(6) > 0 {
        let count = match &*at {
            Value::Object(map) => map.len(),
            Value::Array(list) => list.len(),
            _ => break,
        };
        if count == 0 {
            break;
        }
        let index = random.below(count);
        at = match at {
            Value::Object(map) => map.values_mut().nth(index).expect("an entry"),
            Value::Array(list) => &mut list[index],
            _ => unreachable!("counted above"),
        };
    }
    let values = [
        json!(null),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(65_536),
        json!(65_537),
        json!(4_294_967_296u64),
        json!(u64::MAX),
        json!(1e39),
        json!("x"),
        json!(""),
        json!([]),
        json!({}),
        json!([0, 0]),
        json!([1, 1]),
        json!([65_536, 65_536]),
        json!([30_000, 30_000]),
        json!([3, 3]),
        json!([4096, 4096, 3]),
        json!([1, 1, 3]),
        json!([0]),
        json!([5, 3, 5, 3]),
        json!(vec![0; 1000]),
        activation("Relu"),
        activation("Swish"),
        json!({ "Activation": { "Clamp": { "low": 1.0, "high": -1.0 } } }),
        json!("Add"),
        json!("Concat"),
        pool("Average", json!({ "Adaptive": [65_536, 65_536] })),
        pool("Max", json!({ "Adaptive": [4096, 4096] })),
        pool("Max", json!("Global")),
        json!({ "PadShortcut": { "stride": 1, "before": 65_536, "after": 65_536 } }),
        json!(FASHION),
        pool(
            "Max",
            json!({ "Fixed": { "kernel": [5000, 5000], "stride": [1, 1], "padding": [2500, 2500], "ceil_mode": true, "count_include_pad": true } }),
        ),
    ];
    *at = values[random.below(values.len())].clone();
    model.bytes()
}

/// Renames, removes or duplicates a tensor, or changes its type, shape or content.
fn changed_tensors(random: &mut Random, model: &ModelFile) -> Vec<u8> {
    let mut model = model.clone();
    let index = random.below(model.tensors.len());
    let floats =
        |value: f32, bytes: usize| value.to_le_bytes().into_iter().cycle().take(bytes).collect::<Vec<u8>>();
    let tensor = &mut model.tensors[index];
    match random.below(8) {
        0 => tensor.name = ["", "x", "c1.weight", "input", "../x"][random.below(5)].into(),
        1 => tensor.dtype = ["F16", "BF16", "F64", "U8", "I64", "BOOL", "F8_E4M3"][random.below(7)],
        2 => tensor.shape.reverse(),
        3 => tensor.shape.push([0, 1, 2, u64::MAX][random.below(4)]),
        4 | 5 => {
            let value = [f32::NAN, f32::INFINITY, 3e38, -3e38, 1e-40, 1e-38, 0.0, -1.0][random.below(8)];
            tensor.bytes = floats(value, tensor.bytes.len());
        }
        6 => drop(model.tensors.remove(index)),
        _ => {
            let again = tensor.clone();
            model.tensors.push(again);
        }
    }
    model.bytes()
}
