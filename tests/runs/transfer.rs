//! Transfer learning on the command line: new heads, frozen layers, learning rates by layer, gradual unfreezing.
#![cfg(unix)]

use crate::support::child::{end, signal, start, wait_until};
use crate::support::command::{Run, image_folder, lopper, text};
use crate::support::random_graph::networks;
use lopper::recipe::Recipe;
use lopper_engine::train::Layers;
use lopper_engine::{Device, Graph, file};
use lopper_models::{Head, last_layer, new_head, numbered_classes};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Built-in images of ten classes.
const BUILT_IN: [&str; 6] = ["--data", "fashion-mnist", "--limit", "2", "--batch", "5"];

/// Trains `arch` on the built-in images for one epoch.
fn body(dir: &Path, arch: &str) -> PathBuf {
    let path = dir.join(format!("{arch}.safetensors"));
    let build = ["train", "--arch", arch, "--width", "0.1", "--epochs", "1", "--out", text(&path)];
    lopper(&[&build[..], &BUILT_IN].concat()).succeeded();
    path
}

/// Trains `model` further on the two classes in `data`.
fn transfer(model: &Path, data: &Path, out: &Path, more: &[&str]) -> Run {
    let train = ["train", "--model", text(model), "--data", text(data), "--batch", "4", "--out", text(out)];
    lopper(&[&train[..], more].concat())
}

/// Parameters that `after` does not share with `before`, by path.
fn changed(before: &Graph, after: &Graph) -> Vec<String> {
    let same = |path: &str| before.param(path).unwrap().value().same_bits(after.param(path).unwrap().value());
    after.params().map(|(path, _)| path).filter(|path| before.param(path).is_err() || !same(path)).collect()
}

/// The rows of a CSV file, by column.
fn rows(path: &Path) -> Vec<HashMap<String, String>> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_string).collect::<Vec<_>>());
    let heading = lines.next().unwrap();
    lines.map(|line| heading.iter().cloned().zip(line).collect()).collect()
}

#[test]
fn a_new_head_takes_the_classes_of_the_images_and_keeps_a_frozen_body() {
    let (dir, data) = (tempfile::tempdir().unwrap(), image_folder());
    let start = body(dir.path(), "resnet8");
    let out = dir.path().join("new.safetensors");
    // Without the option, other classes are an error.
    transfer(&start, data.path(), &out, &["--epochs", "1"]).failed_naming(&["classes"]);
    let run =
        transfer(&start, data.path(), &out, &["--new-head", "--freeze", "body", "--epochs", "2"]).succeeded();
    for words in [
        "new head: drew fc for 2 classes; kept all other layers",
        "trains 316 of 11,542 parameters",
        "frozen but for batch norms: body",
    ] {
        assert!(run.err.contains(words), "{words}: {}", run.err);
    }
    assert_eq!(run.err.matches("new head: drew").count(), 1, "it is drawn once: {}", run.err);
    assert!(run.out.contains("new head, 2 epochs"), "{}", run.out);
    let (before, after) = (file::load(&start).unwrap(), file::load(&out).unwrap());
    let (old, new) = (&before.info, &after.info);
    assert_eq!(new.classes, ["dark", "light"]);
    let of_body =
        |info: &lopper_engine::Info| (info.input, info.mean.clone(), info.std.clone(), info.preparation);
    assert_eq!(of_body(new), of_body(old), "size, normalization and preparation stay");
    for path in changed(&before, &after) {
        assert!(path.contains("bn") || path.contains("downsample.1") || path.starts_with("fc."), "{path}");
    }
    assert!(changed(&before, &after).iter().any(|path| path.starts_with("layer1.0.bn1")));
    assert!(after.params().all(|(_, param)| param.trainable), "nothing stays frozen");
    // Options prevail over the body's file, and the difference is named.
    let other = ["--new-head", "--epochs", "1", "--mean", "0.5,0.5,0.5", "--size", "40", "--force"];
    let run = transfer(&start, data.path(), &dir.path().join("other.safetensors"), &other).succeeded();
    assert!(run.err.contains("the body was trained on images normalized by"), "{}", run.err);
    let other = file::load(dir.path().join("other.safetensors")).unwrap().info;
    assert_eq!((other.mean, other.input), (vec![0.5; 3], [40, 40, 3]));
    // The result is a network like any other.
    let eval = lopper(&["eval", text(&out), "--data", text(data.path()), "--json"]).succeeded();
    assert_eq!(serde_json::from_str::<Value>(&eval.out).unwrap()["images"], 16);
    transfer(&out, data.path(), &dir.path().join("more.safetensors"), &["--epochs", "1"]).succeeded();
}

#[test]
fn pruned_folded_and_factorized_networks_get_new_heads() {
    let (dir, data) = (tempfile::tempdir().unwrap(), image_folder());
    let vgg = body(dir.path(), "vgg8_bn");
    let file = |name: &str| dir.path().join(name);
    let step = |args: &[&str], from: &Path, to: &Path| {
        lopper(&[&args[..1], &[text(from)], &args[1..], &["--out", text(to)]].concat()).succeeded();
    };
    let sparse = ["sparsify", "--sparsity", "0.5", "--granularity", "filter", "--epochs", "0"];
    step(&sparse, &vgg, &file("s.safetensors"));
    step(&["prune"], &file("s.safetensors"), &file("p.safetensors"));
    step(&["fold"], &file("p.safetensors"), &file("f.safetensors"));
    step(&["factorize", "--fraction", "0.5"], &vgg, &file("x.safetensors"));
    for (name, head, drawn) in [
        ("s.safetensors", "own", "classifier.6"),
        ("p.safetensors", "fastai", "head.2"),
        ("f.safetensors", "own", "classifier.6"),
        ("f.safetensors", "fastai", "head.2"),
        ("x.safetensors", "own", "classifier."),
    ] {
        let (from, out) = (file(name), file("new.safetensors"));
        let run =
            transfer(&from, data.path(), &out, &["--new-head", "--head", head, "--epochs", "1", "--force"])
                .succeeded();
        assert!(run.err.contains(&format!("new head: drew {drawn}")), "{name}: {}", run.err);
        let (before, after) = (file::load(&from).unwrap(), file::load(&out).unwrap());
        let outputs = after.nodes()[last_layer(&after).unwrap()].layer.params()[0].1.value().dim(0);
        assert_eq!((outputs, after.info.classes.len()), (2, 2), "{name}");
        for id in Layers::Body.nodes(&before).unwrap() {
            let layer = &before.nodes()[id].name;
            let weight = format!("{layer}.weight");
            let masks = [&before, &after].map(|graph| graph.param(&weight).unwrap().mask().is_some());
            assert_eq!(masks[0], masks[1], "{name}: {layer}");
        }
    }
}

/// Networks made from `graph` by compression, and itself.
fn compressed(graph: &Graph) -> Vec<Graph> {
    let mut all = vec![graph.clone()];
    for keys in
        ["fold = {}", "factorize = { fraction = 0.3 }", "prune = { criterion = \"random\", fraction = 0.4 }"]
    {
        let first = "[data]\nname = \"fashion-mnist\"\n[[stage]]\nname = \"a\"\narch = \"vgg8_bn\"\n";
        let recipe = Recipe::parse(&format!("{first}[[stage]]\nname = \"b\"\n{keys}\n")).unwrap();
        let rewritten = recipe.stages[1].rewrites().map(|technique| technique.apply(graph, None));
        all.extend(rewritten.filter_map(|applied| Some(applied.ok()?.rewrite.graph)));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Any network with a classifier takes a new head, compressed or not. What is not drawn keeps its bits and masks.
    #[test]
    fn random_networks_get_new_heads(net in networks(), classes in 1..6usize, seed in any::<u64>()) {
        for old in compressed(&net.graph()) {
            for head in [Head::Own, Head::Fastai] {
                let new = new_head(&old, numbered_classes(classes), head, Some(seed)).unwrap();
                new.graph.check().unwrap();
                let logits = new.graph.logits(&Device::cpu(), net.images(2)).unwrap();
                prop_assert_eq!(logits.shape(), &[2, classes]);
                let is_drawn = |path: &str| new.drawn.iter().any(|layer| path.rsplit_once('.').unwrap().0 == layer);
                let mut kept = 0;
                for (path, param) in new.graph.params().filter(|(path, _)| !is_drawn(path)) {
                    let before = old.param(&path).unwrap();
                    prop_assert!(param.value().same_bits(before.value()), "{}", path);
                    prop_assert_eq!(param.mask().map(|m| m.data()), before.mask().map(|m| m.data()));
                    kept += param.value().len() as u64;
                }
                prop_assert_eq!(new.kept, kept);
                for (path, buffer) in new.graph.buffers().filter(|(path, _)| !is_drawn(path)) {
                    let before = old.buffers().find(|(other, _)| *other == path).unwrap().1;
                    prop_assert!(buffer.same_bits(before), "{}", path);
                }
            }
        }
    }
}

#[test]
fn rates_by_layer_are_columns_of_the_history() {
    let (dir, data) = (tempfile::tempdir().unwrap(), image_folder());
    let (start, recipe, out) =
        (body(dir.path(), "resnet8"), dir.path().join("r.toml"), dir.path().join("out"));
    let stages = format!(
        "[data]\nname = \"folder\"\npath = \"{}\"\nbatch = 4\n\
         [[stage]]\nname = \"head\"\nfrom = \"{}\"\nnew_head = true\nhead = \"fastai\"\n\
         train = {{ epochs = 1, learning_rate = 1e-2, schedule = {{ name = \"constant\" }}, freeze = \"body\" }}\n\
         [[stage]]\nname = \"all\"\n\
         train = {{ epochs = 2, rates = {{ body = [1e-5, 1e-4], head = 1e-3 }}, schedule = {{ name = \"step\", at = [0.5] }} }}\n",
        text(data.path()),
        text(&start)
    );
    fs::write(&recipe, stages).unwrap();
    let run = lopper(&["run", text(&recipe), "--out", text(&out)]).succeeded();
    assert!(run.err.contains("kept all other layers"), "{}", run.err);
    let history = rows(&out.join("history.csv"));
    let rate = |row: usize, column: &str| history[row][column].parse::<f64>().ok();
    for (row, expected) in [
        (0, [Some(1e-2), None, None, None]),
        (1, [Some(1e-3), Some(1e-5), Some(1e-4), Some(1e-3)]),
        (2, [Some(1e-4), Some(1e-6), Some(1e-5), Some(1e-4)]),
    ] {
        let columns =
            ["learning_rate", "learning_rate_body_first", "learning_rate_body_last", "learning_rate_head"];
        for (column, expected) in columns.iter().zip(expected) {
            let close = match (rate(row, column), expected) {
                (Some(found), Some(expected)) => (found / expected - 1.0).abs() < 1e-9,
                (found, expected) => found == expected,
            };
            assert!(close, "{column} of row {row}: {history:?}");
        }
    }
    let last = file::load(out.join("2-all.safetensors")).unwrap();
    assert_eq!(last.info.classes, ["dark", "light"]);
    let frozen = changed(&file::load(out.join("1-head.safetensors")).unwrap(), &last);
    assert!(frozen.contains(&"conv1.weight".to_string()), "the second stage trains the body: {frozen:?}");
}

#[test]
fn a_training_stopped_while_layers_are_unfrozen_ends_with_the_same_bits() {
    let (dir, data) = (tempfile::tempdir().unwrap(), image_folder());
    let start_file = body(dir.path(), "resnet8");
    let file = |name: &str| dir.path().join(name);
    let train = |out: &Path, more: &[&str]| -> Vec<String> {
        let args = ["train", "--model", text(&start_file), "--new-head", "--data", text(data.path())];
        let rates = ["--rates", "body=1e-4..1e-3/2,head=1e-2", "--freeze", "body", "--epochs", "6"];
        let thaw = ["--unfreeze", "layer3@3,body@75%", "--batch", "4", "--out", text(out)];
        [&args[..], &rates, &thaw, more].concat().iter().map(|arg| arg.to_string()).collect()
    };
    let run = |args: Vec<String>| lopper(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let whole = run(train(&file("whole.safetensors"), &[])).succeeded();
    assert!(whole.err.contains("layer3 from epoch 3 on, body after 75 % of the steps"), "{}", whole.err);
    let broken = file("broken.safetensors");
    let checkpoint = file("broken.safetensors.checkpoint");
    let again = train(&broken, &["--resume", "--checkpoint-every", "0"]);
    let args: Vec<&str> = again.iter().map(String::as_str).collect();
    // Interrupted after a few new checkpoints, again and again, until it is done. The first may be that of an epoch
    // which only lacked its validation.
    let mut interruptions = 0;
    loop {
        let (mut last, mut new) = (fs::read(&checkpoint).ok(), 0);
        let mut child = start(&args);
        let asked = wait_until(&mut child, || {
            let now = fs::read(&checkpoint).ok();
            new += usize::from(now.is_some() && now != last);
            last = now;
            new == 2 + interruptions % 2
        });
        if asked {
            signal(&child, "INT");
        }
        match end(child).status {
            Some(0) => break,
            status => assert!(asked && matches!(status, Some(130) | None), "{status:?}"),
        }
        interruptions += 1;
        assert!(interruptions < 60, "it makes no progress");
    }
    assert!(interruptions > 2, "{interruptions}");
    assert!(fs::read(file("whole.safetensors")).unwrap() == fs::read(&broken).unwrap());
    let (first, last) = (file::load(&start_file).unwrap(), file::load(&broken).unwrap());
    assert!(changed(&first, &last).contains(&"conv1.weight".to_string()), "the body is trained at the end");
}

#[test]
fn weights_of_other_classes_are_imported_with_a_new_head() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let net = body(dir.path(), "small_net");
    lopper(&["export", text(&net), "--out", text(&file("w.safetensors"))]).succeeded();
    // Narrow networks have no names, so the architecture is a network of other classes.
    let data = image_folder();
    transfer(&net, data.path(), &file("two.safetensors"), &["--new-head", "--epochs", "1"]).succeeded();
    let import = |arch: &str, more: &[&str]| {
        let weights = file("w.safetensors");
        let out = file("i.safetensors");
        lopper(&[&["import", text(&weights), "--arch", arch, "--out", text(&out), "--force"], more].concat())
    };
    let two = file("two.safetensors");
    import(text(&two), &[]).failed_naming(&["w.safetensors", "has 10 classes, expected 2", "--new-head"]);
    let run = import(text(&two), &["--new-head", "--seed", "7"]).succeeded();
    assert!(run.err.contains("new head: drew fc2 for 2 classes; kept all other layers"), "{}", run.err);
    let imported = file::load(file("i.safetensors")).unwrap();
    assert_eq!(imported.info.classes, ["dark", "light"]);
    assert_eq!(changed(&file::load(&net).unwrap(), &imported), ["fc2.weight", "fc2.bias"]);
    let first = fs::read(file("i.safetensors")).unwrap();
    import(text(&two), &["--new-head", "--seed", "7"]).succeeded();
    assert!(first == fs::read(file("i.safetensors")).unwrap(), "the seed determines the head");
    import(text(&two), &["--new-head", "--seed", "8"]).succeeded();
    assert_ne!(first, fs::read(file("i.safetensors")).unwrap());
    // Weights of the same classes get a new head, too.
    import(text(&net), &["--new-head", "--head", "fastai"]).succeeded();
    assert!(file::load(file("i.safetensors")).unwrap().param("head.8.weight").is_ok());
    // An architecture by name: weights of twelve classes, read for three.
    let options = lopper_models::Options::new(numbered_classes(12), [32, 32, 3]);
    let twelve = lopper_models::build("small_net", &options).unwrap();
    lopper_engine::torchvision::export_weights(&twelve, file("w.safetensors")).unwrap();
    let named = |more: &[&str]| import("small_net", &[&["--classes", "3", "--size", "32"], more].concat());
    import("small_net", &["--size", "32"]).failed_naming(&[
        "has 12 classes, expected 1000",
        "--new-head keeps the body",
        "--classes 12",
    ]);
    named(&["--new-head"]).succeeded();
    // A number of classes of one's own says the same.
    let run = named(&[]).succeeded();
    assert!(run.err.contains("new head: drew fc2 for 3 classes"), "{}", run.err);
    let imported = file::load(file("i.safetensors")).unwrap();
    assert_eq!(changed(&twelve, &imported), ["fc2.weight", "fc2.bias"]);
    import("resnet8", &["--classes", "3", "--size", "32", "--new-head"])
        .failed_naming(&["w.safetensors", "is missing"]);
}

#[test]
fn a_summary_counts_what_is_trained() {
    let summary = |more: &[&str]| {
        let args = ["summary", "resnet18", "--head", "fastai", "--classes", "43", "--size", "96"];
        lopper(&[&args[..], more].concat()).succeeded().out
    };
    let counts = |more: &[&str]| {
        let value: Value = serde_json::from_str(&summary(&[&["--json"], more].concat())).unwrap();
        let of_layers: u64 =
            value["layers"].as_array().unwrap().iter().map(|l| l["trainable"].as_u64().unwrap()).sum();
        assert_eq!(of_layers, value["trainable"].as_u64().unwrap());
        (value["params"].as_u64().unwrap(), of_layers)
    };
    assert_eq!(counts(&[]), (11_725_888, 11_725_888));
    assert_eq!(counts(&["--freeze", "body"]), (11_725_888, 558_976));
    assert_eq!(counts(&["--freeze", "body,head"]), (11_725_888, 12_672));
    let table = summary(&["--freeze", "body"]);
    let total = table.lines().last().unwrap();
    assert!(table.lines().next().unwrap().contains("trainable"), "{table}");
    assert!(total.contains("11,725,888") && total.contains("558,976"), "{total}");
    assert!(!summary(&[]).contains("trainable"));
    let missing = ["summary", "resnet18", "--freeze", "layer9"];
    lopper(&missing).failed_naming(&["freeze: `layer9`: the network has no such layer"]);
}

#[test]
fn the_range_test_takes_a_new_head_and_a_frozen_body() {
    let (dir, data) = (tempfile::tempdir().unwrap(), image_folder());
    let model = body(dir.path(), "resnet8");
    let found = |more: &[&str]| {
        let find = ["lr-find", "--model", text(&model), "--data", text(data.path()), "--batch", "4"];
        let run = lopper(&[&find[..], &["--steps", "20", "--new-head", "--json"], more].concat()).succeeded();
        assert!(run.err.contains("new head: drew"), "{}", run.err);
        let value: Value = serde_json::from_str(&run.out).unwrap();
        value["steps"].as_array().unwrap().iter().map(|s| s["loss"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    let (all, frozen) = (found(&[]), found(&["--freeze", "body"]));
    // The first step is taken from the same network, and later ones with other weights.
    assert_eq!(all[0], frozen[0]);
    assert_ne!(all[1..], frozen[1..]);
    found(&["--head", "fastai"]);
    lopper(&["lr-find", "--arch", "resnet8", "--new-head"]).refused(&["cannot be used with"]);
}
