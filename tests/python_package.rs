//! The Python package, as it is installed: bits of the plan, its own tests, and the programs of its page.

mod support;

use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, file};
use lopper_models::{Options, build, init, numbered_classes};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::fs;
use std::path::{Path, PathBuf};
use support::command::text;
use support::python::{Package, python, ran};
use support::random_graph::{networks, values::randomize};

/// A residual network of seven classes for small images.
fn small() -> Graph {
    let options = Options { width: 0.5, ..Options::new(numbered_classes(7), [20, 24, 3]) };
    let mut graph = build("resnet8", &options).unwrap();
    randomize(&mut graph, 3);
    (graph.info.mean, graph.info.std) = (vec![0.48, 0.45, 0.4], vec![0.22, 0.23, 0.25]);
    graph
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Random networks in files, run in Python on one and two threads, give the bits of the plan.
#[test]
fn random_networks_give_the_bits_of_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    let mut runner = TestRunner::deterministic();
    let random = networks().prop_map(|net| net.graph());
    let graphs = (0..60).map(|_| random.new_tree(&mut runner).unwrap().current()).chain([small()]);
    for (i, graph) in graphs.enumerate() {
        let ([h, w, c], n) = (graph.info.input, 1 + i % 3);
        let images = init::normal(i as u64, "images", &[n, h, w, c], 1.0);
        let mut plan = Plan::new(&graph, [n, h, w, c], &Device::open("cpu", Some(2)).unwrap()).unwrap();
        let path = folder.path().join(format!("{i}.safetensors"));
        file::save(&graph, &path).unwrap();
        fs::write(path.with_extension("images"), bytes(images.data())).unwrap();
        fs::write(path.with_extension("expected"), bytes(plan.run(images.data()).unwrap())).unwrap();
    }
    if let Some(run) = Package::Lopper.run("package_run.py", &[text(folder.path())]) {
        assert_eq!(run.out.trim(), "61 networks");
    }
}

/// The package's own tests, with numpy only, and with PyTorch if there is one.
#[test]
fn the_package_passes_its_tests() {
    if !Package::Lopper.is_found() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    file::save(&small(), &model).unwrap();
    let torch = Package::Torch.is_found();
    let packages = [Package::Lopper, Package::Torch];
    let tests = ["-m", "unittest", "discover", "--start-directory", "python/tests"];
    for packages in [&packages[..1], &packages[..]].iter().take(1 + usize::from(torch)) {
        // The times of the machine are measured here, not taken from the user's folder.
        let environment = [("LOPPER_TEST_MODEL", &model), ("LOPPER_CACHE", &folder.path().join("cache"))];
        let run = ran(python(packages, &tests).envs(environment).output()).succeeded();
        assert!(run.err.contains("\nRan ") && run.err.contains("\nOK"), "{}", run.err);
        assert_eq!(run.err.contains("skipped="), packages.len() == 1, "{}", run.err);
    }
}

/// The programs in Python of `docs/python.md`, one behind the other; those behind `import torch` only if there is one.
#[test]
fn the_programs_of_the_page_run() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/python.md")).unwrap();
    let blocks: Vec<&str> =
        page.split("```python\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    let torch =
        blocks.iter().position(|block| block.contains("import torch")).expect("a program with PyTorch");
    assert!(torch > 2 && torch < blocks.len(), "{} programs", blocks.len());
    if !Package::Lopper.is_found() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    file::save(&small(), folder.path().join("network.safetensors")).unwrap();
    let run = |packages: &[Package], blocks: &[&str]| {
        let script: PathBuf = folder.path().join("page.py");
        fs::write(&script, blocks.concat()).unwrap();
        let mut command = python(packages, &[text(&script)]);
        ran(command.current_dir(folder.path()).env("LOPPER_CACHE", folder.path().join("cache")).output())
            .succeeded()
    };
    let printed = run(&[Package::Lopper], &blocks[..torch]).out;
    assert!(printed.contains("top1=") && printed.contains("total"), "{printed}");
    assert!(folder.path().join("small.onnx").exists());
    if Package::Torch.is_found() {
        run(&[Package::Lopper, Package::Torch], &blocks);
    }
}
