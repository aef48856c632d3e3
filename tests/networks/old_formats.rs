//! Files written in earlier formats still load and describe the same networks.

use lopper_engine::info::Preparation;
use lopper_engine::layer::{GroupNorm, Linear};
use lopper_engine::train::Checkpoint;
use lopper_engine::{Device, Graph, Layer, Param, Tensor, file};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Kinds of the layers that format 1 can describe, in the order of the fixture's nodes.
const KINDS: [&str; 19] = [
    "input",
    "conv2d",
    "batch norm",
    "relu",
    "max pool",
    "grouped conv2d",
    "relu6",
    "add",
    "pad shortcut",
    "avg pool",
    "compact conv2d",
    "concat",
    "adaptive max pool",
    "adaptive avg pool",
    "flatten",
    "flatten",
    "concat",
    "dropout",
    "linear",
];

fn fixture(name: &str) -> PathBuf {
    fixture_of(1, name)
}

fn fixture_of(format: u32, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/format{format}")).join(name)
}

fn kinds(graph: &Graph) -> Vec<&'static str> {
    graph.nodes().iter().map(|node| node.layer.kind()).collect()
}

/// Asserts that `graph` gives the logits that were computed when the fixture `name` was written.
#[track_caller]
fn assert_logits(name: &str, graph: &Graph) {
    let stored = std::fs::read_to_string(fixture("logits.json")).unwrap();
    let stored: BTreeMap<String, Vec<f32>> = serde_json::from_str(&stored).unwrap();
    let images = Tensor::from_fn(&[2, 9, 10, 3], |i| ((i * 37 + 33) % 41) as f32 / 41.0 - 0.48);
    let logits = graph.logits(&Device::cpu(), images).unwrap();
    assert_eq!(logits.len(), stored[name].len());
    for (got, want) in logits.data().iter().zip(&stored[name]) {
        assert!((got - want).abs() <= 1e-5, "{name}: {got}, expected {want}");
    }
}

#[test]
fn a_model_of_format_1_gives_the_same_logits() {
    let graph = file::load(fixture("model.safetensors")).unwrap();
    assert_eq!(kinds(&graph), KINDS);
    assert_logits("model", &graph);
}

#[test]
fn a_model_of_format_1_is_saved_in_the_current_format() {
    let graph = file::load(fixture("model.safetensors")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    file::save(&graph, &path).unwrap();
    let again = file::load(&path).unwrap();
    assert_eq!(kinds(&again), KINDS);
    assert_logits("model", &again);
}

#[test]
fn a_checkpoint_of_format_1_keeps_its_network_and_position() {
    let checkpoint = Checkpoint::read(fixture("checkpoint.safetensors")).unwrap();
    assert_eq!((checkpoint.position.epoch, checkpoint.position.batch), (1, 2));
    assert_eq!(checkpoint.history.len(), 1);
    assert_logits("checkpoint", &checkpoint.graph);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint.safetensors");
    checkpoint.write(&path).unwrap();
    assert_logits("checkpoint", &Checkpoint::read(&path).unwrap().graph);
}

/// Format 2 does not say how images are prepared; the same network in format 3 may.
#[test]
fn a_model_of_format_2_has_no_preparation_and_can_get_one() {
    let mut graph = file::load(fixture_of(2, "model.safetensors")).unwrap();
    assert_eq!(kinds(&graph), KINDS);
    assert_logits("model", &graph);
    assert_eq!((graph.info.preparation, graph.info.class_folders()), (None, &graph.info.classes[..]));
    graph.info.preparation = Some(Preparation::torchvision(12));
    graph.info.folders = graph.info.classes.iter().map(|class| format!("n{class}")).collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    file::save(&graph, &path).unwrap();
    assert_eq!(file::load(&path).unwrap().info, graph.info);
    graph.info.folders.push("one too many".into());
    let error = file::save(&graph, &path).unwrap_err().to_string();
    assert!(error.contains("class folders"), "{error}");
}

/// Up to format 3, the mask of a weight takes a byte of 0 or 1 for each element.
#[test]
fn a_model_of_format_3_keeps_its_mask_in_the_current_format() {
    let graph = file::load(fixture_of(3, "model.safetensors")).unwrap();
    assert_logits("model", &graph);
    let mask = |graph: &Graph| graph.param("conv1.weight").unwrap().mask().unwrap().data().to_vec();
    assert!(mask(&graph).contains(&0.0) && mask(&graph).contains(&1.0));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    file::save(&graph, &path).unwrap();
    assert_eq!(mask(&file::load(&path).unwrap()), mask(&graph));
    let bytes = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(bytes(&path) < bytes(&fixture_of(3, "model.safetensors")), "a mask takes fewer bytes");
    let mut damaged = std::fs::read(fixture_of(3, "model.safetensors")).unwrap();
    *damaged.last_mut().unwrap() = 2; // The mask is the last tensor.
    std::fs::write(&path, damaged).unwrap();
    let error = file::load(&path).unwrap_err().to_string();
    assert!(error.contains("`conv1.weight.mask`") && error.contains("zeros and ones"), "{error}");
}

/// Up to format 5, the bits of a mask are stored as they are; they still are where codes would not be shorter.
#[test]
fn a_model_of_format_5_keeps_its_mask() {
    let path = fixture_of(5, "model.safetensors");
    let graph = file::load(&path).unwrap();
    let weight = graph.param("l.weight").unwrap();
    assert_eq!(weight.value().data()[..4], [0.5, 0.0, -1.0, 0.0]);
    assert_eq!(weight.masked_fraction(), 0.5);
    let directory = tempfile::tempdir().unwrap();
    let again = directory.path().join("model.safetensors");
    let masked = |zeros: u32| {
        let mut graph = Graph::new(64);
        graph.info.input = [1, 1, 64];
        let mut weight = Param::new(Tensor::from_fn(&[256, 64], |i| i as f32 / 1e4 + 1.0));
        let drawn = |i: usize| (i as u32 + 1).wrapping_mul(2_654_435_761) >> 16;
        let live = |i: usize| f32::from(u8::from(drawn(i) % 100 >= zeros));
        weight.set_mask(Some(Tensor::from_fn(&[256, 64], live))).unwrap();
        let flat = graph.push("f", Layer::Flatten, &[0]).unwrap();
        graph.push("l", Layer::Linear(Linear { weight, bias: None }), &[flat]).unwrap();
        file::save(&graph, &again).unwrap();
        let read = file::load(&again).unwrap();
        let mask = |graph: &Graph| graph.param("l.weight").unwrap().mask().unwrap().clone();
        assert!(mask(&read).same_bits(&mask(&graph)));
        let text = String::from_utf8_lossy(&std::fs::read(&again).unwrap()).into_owned();
        text.contains(r#"\"version\":6"#)
    };
    assert!(!masked(50) && masked(98), "few live weights have bits in few bytes");
}

/// Up to format 6, there are no group norms, up to format 7 no softmaxes. What an earlier program can read is written for it.
#[test]
fn a_model_of_format_6_is_read_and_one_with_a_group_norm_has_format_7() {
    let path = fixture_of(6, "model.safetensors");
    let mut graph = file::load(&path).unwrap();
    assert!(kinds(&graph).contains(&"layer norm"), "{:?}", kinds(&graph));
    let directory = tempfile::tempdir().unwrap();
    let again = directory.path().join("model.safetensors");
    let version = |graph: &Graph| {
        file::save(graph, &again).unwrap();
        let text = String::from_utf8_lossy(&std::fs::read(&again).unwrap()).into_owned();
        (1..10).find(|version| text.contains(&format!(r#"\"version\":{version},"#)))
    };
    assert_eq!(version(&graph), Some(6));
    let images = Tensor::from_fn(&[2, 4, 5, 2], |i| ((i * 37 + 33) % 41) as f32 / 41.0 - 0.48);
    let logits = |graph: &Graph| graph.logits(&Device::cpu(), images.clone()).unwrap();
    assert!(logits(&file::load(&again).unwrap()).same_bits(&logits(&graph)));
    let norm = GroupNorm::new(4, 2, 1e-5);
    graph.push("group_norm", Layer::GroupNorm(norm), &[graph.output()]).unwrap();
    assert_eq!(version(&graph), Some(7));
    let read = file::load(&again).unwrap();
    let Layer::GroupNorm(norm) = &read.nodes()[read.output()].layer else { panic!("{:?}", kinds(&read)) };
    assert_eq!((norm.groups, norm.channels(), norm.eps), (2, 4, 1e-5));
    assert!(logits(&read).same_bits(&logits(&graph)));
    graph.push("softmax", Layer::Softmax { log: true }, &[graph.output()]).unwrap();
    assert_eq!(version(&graph), Some(8));
    let read = file::load(&again).unwrap();
    assert_eq!(kinds(&read).last(), Some(&"log softmax"));
    assert!(logits(&read).same_bits(&logits(&graph)));
}

/// Up to format 4, every weight is stored as all of its values.
#[test]
fn a_model_of_format_4_keeps_its_bits_and_a_later_one_is_refused() {
    let path = fixture_of(4, "model.safetensors");
    let graph = file::load(&path).unwrap();
    assert_logits("model", &graph);
    assert!(graph.param("conv1.weight").unwrap().mask().is_some_and(|mask| mask.data().contains(&0.0)));
    let directory = tempfile::tempdir().unwrap();
    let again = directory.path().join("model.safetensors");
    file::save(&graph, &again).unwrap();
    let written = std::fs::read(&path).unwrap();
    assert_eq!(std::fs::read(&again).unwrap(), written, "small weights are stored as before");
    let current = br#"\"version\":4"#;
    let at = written.windows(current.len()).position(|window| window == current).unwrap() + current.len() - 1;
    let mut later = written;
    later[at] = b'9';
    std::fs::write(&again, later).unwrap();
    let error = file::load(&again).unwrap_err().to_string();
    assert!(error.contains("model format 9") && error.contains("formats 1 to 8"), "{error}");
}

/// The formats of checkpoints differ only in the graph.
#[test]
fn a_checkpoint_of_format_2_is_read_and_a_later_one_refused() {
    let checkpoint = Checkpoint::read(fixture("checkpoint.safetensors")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint.safetensors");
    checkpoint.write(&path).unwrap();
    let written = std::fs::read(&path).unwrap();
    let current = br#"\"version\":4"#;
    let at = written.windows(current.len()).position(|window| window == current).unwrap() + current.len() - 1;
    let read = |format: u8| {
        let mut bytes = written.clone();
        bytes[at] = format;
        std::fs::write(&path, bytes).unwrap();
        Checkpoint::read(&path)
    };
    let earlier = read(b'2').unwrap();
    assert_eq!((earlier.graph.info.preparation, earlier.position), (None, checkpoint.position));
    assert_logits("checkpoint", &earlier.graph);
    let error = read(b'9').unwrap_err().to_string();
    assert!(error.contains("checkpoint format 9: this version of lopper reads formats 1 to 8"), "{error}");
}
