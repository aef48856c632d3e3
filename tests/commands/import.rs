//! `lopper import`: files of PyTorch, and restricting a classifier to some of its classes.

use crate::support::command::{image_folder, lopper, text};
use lopper_engine::{Device, Graph, Tensor, file};
use lopper_models::{init, keep_outputs};
use std::path::Path;

fn weights() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cifar_resnet20");
    text(&folder.join("model.safetensors")).to_string()
}

/// Imports the CIFAR-10 network into `out` with the additional options `more`.
fn import(out: &Path, more: &[&str]) -> crate::support::command::Run {
    let weights = weights();
    let network = ["import", &weights, "--arch", "cifar_resnet20", "--classes", "10", "--size", "32"];
    lopper(&[&network[..], &["--out", text(out)], more].concat())
}

fn logits(graph: &Graph, images: &Tensor) -> Tensor {
    graph.logits(&Device::cpu(), images.clone()).unwrap()
}

#[test]
fn chosen_outputs_keep_their_logits() {
    let directory = tempfile::tempdir().unwrap();
    let [all, few] = ["all.safetensors", "few.safetensors"].map(|name| directory.path().join(name));
    import(&all, &[]).succeeded();
    import(&few, &["--outputs", "5,3", "--class-names", "dog,cat"]).succeeded();
    let (all, few) = (file::load(all).unwrap(), file::load(few).unwrap());
    assert_eq!((few.info.classes.as_slice(), few.info.folders.len()), (&["dog".into(), "cat".into()][..], 0));
    let images = init::normal(0, "images", &[3, 32, 32, 3], 1.0);
    assert!(logits(&few, &images).same_bits(&logits(&all, &images).select(1, &[5, 3])));
}

#[test]
fn classes_are_named_by_the_folders_of_images() {
    let (directory, images) = (tempfile::tempdir().unwrap(), image_folder());
    let out = directory.path().join("few.safetensors");
    import(&out, &["--outputs", "5,3", "--data", text(images.path())]).succeeded();
    assert_eq!(file::load(&out).unwrap().info.classes, ["dark", "light"]);
    let scored = lopper(&["eval", text(&out), "--data", text(images.path())]).succeeded();
    assert!(scored.out.contains("top-1"), "{}", scored.out);

    let other = directory.path().join("other.safetensors");
    let wrong = import(&other, &["--outputs", "5,3,1", "--data", text(images.path())]);
    wrong.failed_naming(&["--data: expected 3 classes, one an output, found 2"]);
    assert!(!other.exists());
}

#[test]
fn outputs_that_do_not_exist_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("x.safetensors");
    for (outputs, words) in [
        ("1,10", "--outputs: layer `linear`: output 10 does not exist: there are 10, from 0 on"),
        ("1,2,1", "--outputs: layer `linear`: output 1 is kept twice"),
    ] {
        import(&out, &["--outputs", outputs]).failed_naming(&[words]);
    }
    assert_eq!(import(&out, &["--outputs", "one"]).status, Some(2));
    assert!(!out.exists());
}

#[test]
fn masks_stay_with_their_outputs() {
    let options = lopper_models::Options::new(lopper_models::numbered_classes(4), [32, 32, 3]);
    let mut graph = lopper_models::build("resnet8", &options).unwrap();
    let shape = graph.param("fc.weight").unwrap().value().shape().to_vec();
    let mask = Tensor::from_fn(&shape, |i| f32::from(i / shape[1] != 2));
    graph.param_mut("fc.weight").unwrap().set_mask(Some(mask.clone())).unwrap();
    keep_outputs(&mut graph, &[2, 0]).unwrap();
    assert!(graph.param("fc.weight").unwrap().mask().unwrap().same_bits(&mask.select(0, &[2, 0])));
    assert_eq!(graph.info.classes, ["2", "0"]);
    assert!(keep_outputs(&mut graph, &[]).is_err() && graph.info.classes.len() == 2);
}

/// The choice of an entry, removed prefixes and ignored counters are said.
#[test]
fn a_file_of_pytorch_is_read_and_what_was_done_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let [start, out] = ["start.safetensors", "out.safetensors"].map(|name| directory.path().join(name));
    let mut net = lopper_models::builder::Builder::new([1, 2, 1], None);
    let conv = lopper_models::builder::Conv::new(2, 1);
    net.conv("features.0", lopper_models::builder::Conv { kernel: [1, 3], padding: [0, 1], ..conv });
    net.flatten("flatten").batch_norm("bn").linear("fc", 4);
    let mut graph = net.finish().unwrap();
    graph.info.input = [1, 2, 1];
    file::save(&graph, &start).unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/tests/fixtures/pth/checkpoint.pth");
    let run = lopper(&["import", text(&fixture), "--arch", text(&start), "--out", text(&out)]).succeeded();
    assert!(run.out.starts_with("7 tensors read; wrote "), "{}", run.out);
    for words in [
        "the weights are its entry `state_dict`; not `epoch`",
        "the prefix `module.` of all names is removed",
        "ignored counters of batches (1)",
    ] {
        assert!(run.err.contains(words), "expected `{words}` in: {}", run.err);
    }
    assert_eq!(file::load(&out).unwrap().param("fc.bias").unwrap().value().data()[0], 39.0 / 4.0);
    lopper(&["summary", text(&fixture)])
        .refused(&["a file of PyTorch, not a model of lopper: `lopper import`"]);
}
