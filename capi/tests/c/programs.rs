//! Programs in C get the bits of the plan, and an error for whatever they do wrong.

use crate::compiler::{Linkage, compile, finished};
use crate::random_graph::networks;
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, file};
use lopper_models::{Options, build, init, numbered_classes};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A residual network of seven classes for small images.
fn small() -> Graph {
    let options = Options { width: 0.5, ..Options::new(numbered_classes(7), [20, 24, 3]) };
    build("resnet8", &options).unwrap()
}

/// Runs the example on `count` images, and asserts that it finds the class and the bits of the plan.
fn check(program: &Path, graph: &Graph, count: usize, folder: &Path) {
    let [h, w, c] = graph.info.input;
    let images = init::normal(count as u64, "images", &[count, h, w, c], 1.0);
    let mut plan = Plan::new(graph, [count, h, w, c], &Device::open("cpu", Some(2)).unwrap()).unwrap();
    let expected = plan.run(images.data()).unwrap();
    let (model, file) = (folder.join("model.safetensors"), folder.join("images"));
    file::save(graph, &model).unwrap();
    fs::write(&file, images.data().iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    let outputs = expected.len() / count;
    for threads in ["1", "2"] {
        let text = finished(Command::new(program).arg(&model).arg(&file).arg(threads));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2 * count, "{text}");
        for (i, (pair, expected)) in lines.chunks(2).zip(expected.chunks(outputs)).enumerate() {
            let bits: Vec<u32> =
                pair[1].split(' ').map(|number| number.parse::<f32>().unwrap().to_bits()).collect();
            assert!(
                bits.iter().eq(expected.iter().map(|v| v.to_bits()).collect::<Vec<_>>().iter()),
                "{}",
                pair[1]
            );
            let best = (0..outputs).fold(0, |best, i| if expected[i] > expected[best] { i } else { best });
            let name = graph.info.classes.get(best).map_or("", String::as_str);
            assert_eq!(pair[0], format!("{i}: class {best} {name}"));
        }
    }
}

#[test]
fn the_example_gives_the_bits_of_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    for linkage in [Linkage::Shared, Linkage::Static] {
        let Some(program) = compile("examples/predict.c", linkage, folder.path()) else { return };
        check(&program, &small(), 3, folder.path());
    }
}

#[test]
fn random_networks_give_the_bits_of_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile("examples/predict.c", Linkage::Shared, folder.path()) else { return };
    let mut runner = TestRunner::deterministic();
    let random = networks().prop_map(|net| net.graph());
    for i in 0..40 {
        check(&program, &random.new_tree(&mut runner).unwrap().current(), 1 + i % 4, folder.path());
    }
}

#[test]
fn the_example_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile("examples/predict.c", Linkage::Shared, folder.path()) else { return };
    let (model, images) = (folder.path().join("model.safetensors"), folder.path().join("images"));
    file::save(&small(), &model).unwrap();
    fs::write(&images, vec![0; 20 * 24 * 3 * 4 + 4]).unwrap();
    let refused = |model: &Path, images: &Path, threads: &str, word: &str| {
        let output = Command::new(&program).arg(model).arg(images).arg(threads).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(word) && output.stdout.is_empty(), "{message}");
    };
    refused(&model, &images, "1", "images: expected 1440 numbers, found 1441");
    refused(&images, &images, "1", "images: ");
    refused(&model, &folder.path().join("none"), "1", "cannot read");
    fs::write(&images, vec![0; 20 * 24 * 3 * 4]).unwrap();
    refused(&model, &images, "1000", "threads: expected 1 to 256");
}

/// Under the sanitizers and without: wrong arguments, buffers beside pages that fault, threads.
#[test]
fn misuse_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    let mut graph = small();
    graph.info.arch = "resnet8".into();
    file::save(&graph, &model).unwrap();
    let images = folder.path().join("images");
    fs::write(&images, vec![0; 20 * 24 * 3 * 4]).unwrap();
    for linkage in [Linkage::Shared, Linkage::Sanitized] {
        let Some(program) = compile("tests/c/misuse.c", linkage, folder.path()) else { return };
        finished(Command::new(&program).arg(&model));
        let Some(program) = compile("examples/predict.c", linkage, folder.path()) else { return };
        finished(Command::new(&program).arg(&model).arg(&images));
    }
}
