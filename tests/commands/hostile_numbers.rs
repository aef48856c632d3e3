//! Invalid numbers, numbers that single precision cannot represent, and unknown keys are refused before any work
//! starts.

use crate::support::command::{Run, lopper, lopper_after};
use lopper_engine::layer::{
    Activation, BatchNorm, CompactConv2d, Conv2d, FixedWindow, GroupNorm, LayerNorm, Linear, PRelu, Pool,
    Resize, Window,
};
use lopper_engine::{Graph, Layer, Param, Tensor, file};
use serde_json::Value;
use std::path::Path;

/// Runs `recipe`.
fn run(recipe: &str) -> Run {
    run_with(recipe, &[])
}

/// Runs `recipe` with additional options.
fn run_with(recipe: &str, options: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("recipe.toml");
    std::fs::write(&path, recipe).unwrap();
    let out = dir.path().join("out");
    lopper(&[&["run", path.to_str().unwrap(), "--out", out.to_str().unwrap()], options].concat())
}

/// Returns a recipe that trains briefly, with `data` and `train` added to the entries of these tables.
fn recipe(data: &str, train: &str) -> String {
    format!(
        "[data]\nname = \"fashion-mnist\"\nbatch = 8\nlimit = 1\n{data}\n\
         [[stage]]\nname = \"a\"\narch = \"vgg8_bn\"\ntrain = {{ epochs = 1, learning_rate = 1e-3, {train} }}\n"
    )
}

#[test]
fn numbers_of_a_training_are_checked_in_single_precision() {
    let optimizer = |options: &str| recipe("", &format!("optimizer = {{ name = \"adamw\", {options} }}"));
    let sgd = |options: &str| recipe("", &format!("optimizer = {{ name = \"sgd\", {options} }}"));
    let schedule = |options: &str| recipe("", &format!("schedule = {{ {options} }}"));
    let rate = |rate: &str| recipe("", "").replace("1e-3", rate);
    let epochs = |epochs: &str| recipe("", "").replace("epochs = 1", &format!("epochs = {epochs}"));
    for (recipe, words) in [
        (optimizer("betas = [0.999999999999, 0.99999999999]"), &["betas", "[0, 1)", "single precision"][..]),
        (optimizer("betas = [0.9, 1.0]"), &["betas", "[0, 1)"]),
        (optimizer("betas = [nan, 0.9]"), &["betas"]),
        (optimizer("eps = 1e-308"), &["eps", "vanishes"]),
        (optimizer("eps = 0.0"), &["eps", "above 0"]),
        (optimizer("eps = 1e39"), &["eps", "overflows"]),
        (optimizer("weight_decay = 1e300"), &["weight_decay", "overflows"]),
        (optimizer("weight_decay = -1.0"), &["weight_decay", "at least 0"]),
        (sgd("momentum = 0.99999999999"), &["momentum", "[0, 1)"]),
        (sgd("momentum = 1e-60"), &["momentum", "vanishes"]),
        (schedule("name = \"one_cycle\", div = 1e300"), &["learning_rate / div"]),
        (schedule("name = \"one_cycle\", div_final = 1e-300"), &["learning_rate / div_final"]),
        (schedule("name = \"one_cycle\", pct_start = 2.0"), &["pct_start"]),
        (schedule("name = \"cosine\", warmup = 1.0"), &["warmup"]),
        (rate("1e39"), &["learning_rate", "overflows"]),
        (rate("1e-50"), &["learning_rate", "vanishes"]),
        (rate("0.0"), &["learning_rate", "above 0"]),
        (rate("inf"), &["learning_rate", "above 0"]),
        (recipe("", "label_smoothing = 0.99999999999"), &["label_smoothing", "[0, 1)"]),
        (recipe("", "label_smoothing = 1e-300"), &["label_smoothing", "vanishes"]),
        (epochs("0"), &["epochs", "1 to 1000000"]),
        (epochs("1000000000"), &["epochs", "1 to 1000000"]),
        (epochs("10000000000000000000"), &["epochs"]),
        (epochs("-1"), &["epochs"]),
    ] {
        run(&recipe).refused(words);
    }
}

#[test]
fn a_negative_number_is_refused_by_the_name_of_its_option() {
    let train = ["train", "--arch", "vgg8_bn", "--data", "fashion-mnist", "--out", "never.safetensors"];
    for (option, name) in [
        ("--clip-norm", "clip_norm"),
        ("--learning-rate", "learning_rate"),
        ("--weight-decay", "weight_decay"),
        ("--ema", "ema"),
        ("--accumulate", "--accumulate"),
        ("--epochs", "--epochs"),
        ("--batch", "--batch"),
        ("--size", "--size"),
        ("--seed", "--seed"),
    ] {
        for value in ["-1", "-0.5", "-1e3"] {
            lopper(&[&train[..], &[option, value]].concat()).refused(&[name]);
        }
    }
}

#[test]
fn numbers_of_a_data_set_are_checked() {
    for (data, words) in [
        ("center_fraction = 1e-300", &["center_fraction"][..]),
        ("center_fraction = nan", &["center_fraction"]),
        ("size = 1000000000000", &["size"]),
        ("workers = 1000000", &["workers"]),
        ("std = [1e-44, 1.0, 1.0]", &["std"]),
        ("std = [1e-300, 1.0, 1.0]", &["std"]),
        ("mean = [1e39, 0.0, 0.0]", &["mean"]),
        ("std = [0.1, 0.1, 0.1]\nmean = [3e38, 0.0, 0.0]", &["overflows single precision"]),
        ("augment = { scale = [0.0, 1.0] }", &["augment.scale"]),
        ("augment = { ratio = [1e-300, 1e300] }", &["augment.ratio"]),
        ("augment = { padding = 1000000000000 }", &["augment.padding"]),
        ("augment = { flip = 1.5 }", &["augment.flip"]),
    ] {
        let recipe = recipe(data, "");
        let recipe = if data.contains("batch") { recipe.replacen("batch = 8\n", "", 1) } else { recipe };
        run(&recipe).refused(words);
    }
    run(&recipe("", "").replace("batch = 8", "batch = 0")).refused(&["batch"]);
    run(&recipe("", "").replace("limit = 1", "limit = 0")).refused(&["limit"]);
}

#[test]
fn numbers_of_distillation_are_checked() {
    let distill = |options: &str| {
        format!(
            "{}[[stage]]\nname = \"b\"\nteacher = \"a\"\ndistill = {{ {options} }}\n\
             train = {{ epochs = 1, learning_rate = 1e-3 }}\n",
            recipe("", "")
        )
    };
    for (options, words) in [
        ("weight = 1e-60", &["vanishes"][..]),
        ("weight = 1.5", &["weight", "[0, 1]"]),
        ("temperature = 1e39", &["overflows"]),
        ("temperature = 1e-30", &["temperature, squared", "vanishes"]),
        ("temperature = 1e30", &["temperature, squared", "overflows"]),
        ("temperature = 0.0", &["temperature", "above 0"]),
        ("map_temperature = 1e-30", &["map_temperature, squared", "vanishes"]),
        ("contrast_temperature = 0", &["contrast_temperature", "above 0"]),
        ("bank = 0", &["bank", "expected 1 to"]),
        ("hints = [{ student = \"x\", teacher = \"y\", weight = 1e60 }]", &["overflows"]),
        ("hints = [{ student = \"x\", teacher = \"y\", weight = -1.0 }]", &["hint x", "at least 0"]),
    ] {
        run(&distill(options)).refused(words);
    }
}

#[test]
fn numbers_on_the_command_line_are_checked() {
    let train = |option: &str, value: &str| {
        let option = format!("{option}={value}");
        let data = ["--data", "fashion-mnist", "--limit", "2", "--batch", "8", "--out", "never.safetensors"];
        lopper(&[&["train", "--arch", "vgg8_bn", &option][..], &data].concat())
    };
    for (option, value, words) in [
        ("--epochs", "10000000000000000000", &["epochs"][..]),
        ("--epochs", "1000000000", &["epochs", "1 to 1000000"]),
        ("--learning-rate", "1e39", &["learning_rate", "overflows"]),
        ("--learning-rate", "nan", &["learning_rate"]),
        ("--rates", "body=1e39,head=1", &["rates: body", "overflows"]),
        ("--rates", "body=1e-50,head=1", &["rates: body", "vanishes"]),
        ("--rates", "body=-1,head=1", &["rates: body", "at least 0"]),
        ("--rates", "body=1e-3..2e-3/0,head=1", &["rates: body", "at least 1 part"]),
        ("--weight-decay", "1e300", &["weight_decay"]),
        ("--label-smoothing", "0.99999999999", &["label_smoothing"]),
        ("--clip-norm", "0", &["clip_norm", "above 0"]),
        ("--clip-norm", "1e39", &["clip_norm", "overflows"]),
        ("--width", "1e300", &["width"]),
        ("--width", "nan", &["width"]),
        ("--size", "4000000000", &["--size"]),
        ("--threads", "0", &["threads", "1 to 256"]),
        ("--threads", "65537", &["threads", "1 to 256"]),
        ("--threads", "1000000000000000000", &["threads", "1 to 256"]),
        ("--seed", "1e300", &["--seed"]),
        ("--max-memory", "0", &["--max-memory"]),
        ("--max-memory", "nanGB", &["--max-memory"]),
        ("--max-memory", "1e300", &["--max-memory"]),
    ] {
        train(option, value).refused(words);
    }
    assert!(!Path::new("never.safetensors").exists());
    for args in [
        &["bench", "resnet8", "--size", "32", "--seconds", "inf"][..],
        &["bench", "resnet8", "--size", "32", "--seconds=-1"],
        &["bench", "resnet8", "--size", "0"],
        &["bench", "resnet8", "--batch", "0"],
        &["summary", "resnet8", "--classes", "4294967295"],
        &["diff", "a", "b", "--tolerance", "nan"],
        &["diff", "a", "b", "--tolerance", "1e-300"],
        &["distill", "a", "--teacher", "b", "--temperature", "1e-300", "--out", "c"],
    ] {
        lopper(args).refused(&[]);
    }
}

#[test]
fn numbers_at_the_edge_are_accepted() {
    let bench = ["bench", "resnet8", "--size", "32", "--seconds", "0"];
    for option in [["--threads", "1"], ["--threads", "256"], ["--max-memory", "4GB"], ["--batch", "3"]] {
        lopper(&[&bench[..], &option].concat()).succeeded();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn threads_that_cannot_be_started_are_an_error() {
    let bench = ["bench", "resnet8", "--size", "32", "--seconds", "0", "--threads", "256"];
    lopper_after("ulimit -v 300000", &bench).refused(&["threads"]);
}

/// Recipe with every kind of table.
const EVERY_TABLE: &str = r#"
title = "all"
[data]
name = "fashion-mnist"
augment = { flip = 0.0 }
[[stage]]
name = "a"
arch = "vgg8_bn"
train = { epochs = 1, learning_rate = 1e-3, schedule = { name = "constant" }, optimizer = { name = "sgd" } }
sparsify = { sparsity = 0.5, schedule = { iterative = { steps = 2 } } }
[[stage]]
name = "b"
teacher = "a"
distill = { hints = [{ student = "x", teacher = "y" }] }
train = { epochs = 1, learning_rate = 1e-3, schedule = { name = "cosine" }, optimizer = { name = "adam" } }
[[stage]]
name = "c"
prune = {}
plan = { groups = [{ layers = ["x"], units = 1, keep = [0] }] }
train = { epochs = 1, learning_rate = 1e-3, schedule = { name = "one_cycle" }, optimizer = { name = "adamw" } }
[[stage]]
name = "d"
fold = {}
[[stage]]
name = "e"
factorize = { fraction = 0.5 }
[[stage]]
name = "f"
compact = {}
"#;

/// Collects the path of every table in `value`.
fn tables(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            found.push(path.to_string());
            entries.iter().for_each(|(key, value)| tables(value, &format!("{path}/{key}"), found));
        }
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(i, value)| tables(value, &format!("{path}/{i}"), found));
        }
        _ => {}
    }
}

/// Returns `value` with an entry `nonsense` in the table at `path`.
fn with_nonsense(value: &Value, path: &str) -> Value {
    let mut value = value.clone();
    let table = value.pointer_mut(path).and_then(Value::as_object_mut).expect("a path of a table");
    table.insert("nonsense".into(), Value::from(0.5));
    value
}

#[test]
fn an_unknown_key_in_any_table_of_a_recipe_is_refused() {
    let recipe: Value = serde_json::to_value(toml::from_str::<toml::Value>(EVERY_TABLE).unwrap()).unwrap();
    // The recipe itself is valid; it is refused only for the memory that it needs.
    run_with(EVERY_TABLE, &["--max-memory", "1kB"]).refused(&["take", "(--max-memory)"]);
    let mut paths = Vec::new();
    tables(&recipe, "", &mut paths);
    assert!(paths.len() > 25, "{paths:?}");
    for path in &paths {
        let text = toml::to_string(&with_nonsense(&recipe, path)).unwrap();
        let run = run(&text);
        run.refused(&[]);
        // An externally tagged variant is a table of exactly one entry, whatever its name.
        assert!(
            run.err.contains("nonsense") || run.err.contains("exactly 1 element"),
            "{path}: an unknown key passed: {}",
            run.err
        );
    }
}

/// Builds a network with every kind of layer that has fields.
fn every_layer() -> Graph {
    let param = |shape: &[usize]| Param::new(Tensor::full(shape, 0.5));
    let conv = |o: usize, c: usize| Conv2d {
        weight: param(&[o, 1, 1, c]),
        bias: Some(param(&[o])),
        stride: [1; 2],
        padding: [0; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
    };
    let compact = CompactConv2d {
        conv: Conv2d { bias: None, ..conv(1, 1) },
        inputs: vec![0],
        outputs: vec![1],
        in_width: 2,
        carrier: false,
        fill: vec![0.0; 2],
    };
    let layers = [
        Layer::Conv2d(conv(2, 1)),
        Layer::CompactConv2d(compact),
        Layer::BatchNorm(BatchNorm::new(2)),
        Layer::Pool(Pool::max(FixedWindow::square(2, 2, 0))),
        Layer::PadShortcut { stride: 1, before: 1, after: 0 },
        Layer::Gather { channels: vec![1, 0, 2] },
        Layer::LayerNorm(LayerNorm { width: 4, sum: 0.5, squares: 0.25, ..LayerNorm::new(3, 1e-5) }),
        Layer::GroupNorm(GroupNorm::new(3, 3, 1e-5)),
        Layer::PRelu(PRelu::new(3)),
        Layer::Activation(Activation::Elu { alpha: 1.0 }),
        Layer::Resize(Resize::nearest(2)),
        Layer::Dilate { stride: [2, 1] },
        Layer::Pool(Pool::average(Window::Adaptive([1, 1]))),
        Layer::Dropout { p: 0.5 },
        Layer::Flatten,
        Layer::Linear(Linear { weight: param(&[2, 3]), bias: None }),
    ];
    let mut graph = Graph::new(1);
    for (i, layer) in layers.into_iter().enumerate() {
        graph.push(format!("l{i}"), layer, &[i]).unwrap();
    }
    graph.info.input = [4, 4, 1];
    graph
}

#[test]
fn an_unknown_key_in_any_table_of_a_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, changed) = (dir.path().join("m.safetensors"), dir.path().join("changed.safetensors"));
    file::save(&every_layer(), &path).unwrap();
    file::load(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..end]).unwrap();
    let program: Value = serde_json::from_str(header["__metadata__"]["lopper"].as_str().unwrap()).unwrap();
    let mut paths = Vec::new();
    tables(&program, "", &mut paths);
    assert!(paths.len() > 30, "{paths:?}");
    for path in &paths {
        let mut header = header.clone();
        header["__metadata__"]["lopper"] = with_nonsense(&program, path).to_string().into();
        let mut text = serde_json::to_vec(&header).unwrap();
        text.resize(text.len().next_multiple_of(8), b' ');
        let file_bytes = [&(text.len() as u64).to_le_bytes(), &text[..], &bytes[end..]].concat();
        std::fs::write(&changed, file_bytes).unwrap();
        let message = file::load(&changed).expect_err(path).to_string();
        assert!(message.contains("damaged"), "{path}: {message}");
    }
}
