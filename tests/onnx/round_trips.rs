//! What is written as ONNX is read as the same function with the same weights.

use crate::runtime::{compressed, small};
use crate::support::random_graph::{networks, relative_difference};
use lopper_compress::fold;
use lopper_engine::onnx::{
    Batch, CompactForm, Images, ImportOptions, Imported, MAX_OPSET, MIN_OPSET, OnnxOptions, export, import,
};
use lopper_engine::train::{CrossEntropy, InMemory, Optimizer, OptimizerConfig, Trainer};
use lopper_engine::{Device, Graph, Layer, Tensor};
use lopper_models::{init, names};
use proptest::prelude::*;
use std::fs;
use std::path::Path;

/// Writes `graph` with `options` and reads it again.
fn again(graph: &Graph, options: &OnnxOptions) -> Imported {
    let file = tempfile::Builder::new().suffix(".onnx").tempfile().unwrap();
    export(graph, file.path(), options).unwrap();
    import(file.path(), &ImportOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn images(graph: &Graph) -> Tensor {
    let [h, w, c] = graph.info.input;
    init::normal(5, "images", &[2, h, w, c], 1.0)
}

fn logits(graph: &Graph) -> Tensor {
    graph.logits(&Device::cpu(), images(graph)).unwrap()
}

/// Asserts that both have the same parameters and statistics, by name and bit by bit, and compute the same.
fn assert_same(before: &Graph, after: &Graph) {
    let difference = relative_difference(&logits(before), &logits(after));
    assert!(difference <= 1e-6, "{difference}");
    let (ours, theirs) = (before.params().collect::<Vec<_>>(), after.params().collect::<Vec<_>>());
    assert_eq!(ours.len(), theirs.len());
    for (name, param) in ours {
        let found = after.param(&name).unwrap().value();
        assert!(found.same_bits(param.value()), "{name}");
    }
    for ((name, ours), (_, theirs)) in before.buffers().zip(after.buffers()) {
        assert!(ours.same_bits(theirs), "{name}");
    }
    let kinds = |graph: &Graph| {
        let dense = |layer: &&Layer| !matches!(layer, Layer::Activation(a) if a.name() == "identity");
        graph.nodes().iter().map(|node| &node.layer).filter(dense).map(Layer::kind).collect::<Vec<_>>()
    };
    let (mut ours, mut theirs) = (kinds(before), kinds(after));
    ours.sort_unstable();
    theirs.sort_unstable();
    assert!(theirs.len() <= ours.len(), "{theirs:?} of {ours:?}");
}

/// `graph` after a file that holds its weights, and after one with its weights beside it.
fn beside_and_inside(graph: &Graph, options: OnnxOptions, folder: &Path) -> [Graph; 2] {
    [("beside.onnx", true), ("inside.onnx", false)].map(|(name, external_data)| {
        let path = folder.join(name);
        export(graph, &path, &OnnxOptions { external_data, ..options }).unwrap();
        import(&path, &ImportOptions::default()).unwrap_or_else(|e| panic!("{e}")).graph
    })
}

/// Asserts that both have the same parameters and statistics, bit by bit.
fn assert_same_bits([first, second]: &[Graph; 2]) {
    assert_eq!(first.info, second.info);
    let values = |graph: &Graph| -> Vec<(String, Tensor)> {
        let params = graph.params().map(|(name, param)| (name, param.value().clone()));
        params.chain(graph.buffers().map(|(name, buffer)| (name, buffer.clone()))).collect()
    };
    let (ours, theirs) = (values(first), values(second));
    assert_eq!(ours.len(), theirs.len());
    for ((name, ours), (other, theirs)) in ours.iter().zip(&theirs) {
        assert!(name == other && ours.same_bits(theirs), "{name}, {other}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_networks_keep_their_function_and_weights(net in networks(), opset in MIN_OPSET..=MAX_OPSET, fixed: bool) {
        let graph = net.graph();
        let batch = if fixed { Batch::Fixed(1) } else { Batch::Any };
        let read = again(&graph, &OnnxOptions { opset, batch, ..OnnxOptions::default() });
        prop_assert!(read.notes.is_empty(), "{:?}", read.notes);
        prop_assert_eq!(&read.graph.info, &graph.info);
        assert_same(&graph, &read.graph);
    }

    #[test]
    fn weights_beside_a_file_are_those_inside(net in networks(), opset in MIN_OPSET..=MAX_OPSET) {
        let folder = tempfile::tempdir().unwrap();
        let options = OnnxOptions { opset, ..OnnxOptions::default() };
        assert_same_bits(&beside_and_inside(&net.graph(), options, folder.path()));
    }

    #[test]
    fn the_same_network_gives_the_same_file(net in networks()) {
        let graph = net.graph();
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a.onnx", "b.onnx"].map(|name| folder.path().join(name));
        export(&graph, &a, &OnnxOptions::default()).unwrap();
        export(&net.graph(), &b, &OnnxOptions::default()).unwrap();
        let first = fs::read(&a).unwrap();
        prop_assert_eq!(&first, &fs::read(&b).unwrap());
        // What is read is written as it was, as soon as it has been written once.
        let read = import(&a, &ImportOptions::default()).unwrap().graph;
        export(&read, &b, &OnnxOptions::default()).unwrap();
        let third = import(&b, &ImportOptions::default()).unwrap().graph;
        assert_same(&read, &third);
    }
}

#[test]
fn architectures_keep_their_layers_and_names() {
    for name in names() {
        let graph = small(name, 4);
        let read = again(&graph, &OnnxOptions::default()).graph;
        assert_same(&graph, &read);
        let names = |graph: &Graph| graph.params().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&graph), names(&read), "{name}");
    }
}

#[test]
fn large_weights_lie_beside_the_file() {
    for (seed, name) in (0..).zip(["resnet8", "vgg8_bn", "mobilenet_v2", "convnext_tiny"]) {
        let (graph, folder) = (small(name, seed), tempfile::tempdir().unwrap());
        let files = ["beside.onnx", "beside.onnx.data", "inside.onnx"].map(|name| folder.path().join(name));
        let bytes = || files.each_ref().map(|path| fs::read(path).unwrap());
        assert_same_bits(&beside_and_inside(&graph, OnnxOptions::default(), folder.path()));
        let [beside, data, inside] = bytes();
        assert!(beside.len() < inside.len() && beside.len() + data.len() > inside.len(), "{name}");
        beside_and_inside(&graph, OnnxOptions::default(), folder.path());
        assert!(bytes() == [beside, data, inside], "{name}: the same network gives the same files");
    }
}

#[test]
fn techniques_keep_their_weights() {
    for (seed, name) in (0..).zip(["resnet8", "vgg8_bn", "mobilenet_v2"]) {
        for (technique, graph) in compressed(&small(name, seed), seed) {
            let options = OnnxOptions { compact: CompactForm::Dense, ..OnnxOptions::default() };
            // What a carrier contributes has no layer here.
            let carries = |layer: &Layer| matches!(layer, Layer::CompactConv2d(conv) if conv.carrier);
            if graph.nodes().iter().any(|node| carries(&node.layer)) {
                continue;
            }
            let read = again(&graph, &options).graph;
            let difference = relative_difference(&logits(&graph), &logits(&read));
            assert!(difference <= 1e-5, "{name}, {technique}: {difference}");
            if technique != "compact" {
                assert_same(&graph, &read);
            }
        }
    }
}

/// The network of bytes has their normalization as a layer, and is described as one of plain bytes.
#[test]
fn a_network_of_bytes_is_read_with_its_normalization() {
    let graph = small("resnet8", 3);
    let bytes = OnnxOptions { images: Images::Bytes, ..OnnxOptions::default() };
    let read = again(&graph, &bytes).graph;
    let [h, w, c] = graph.info.input;
    assert_eq!((&read.info.mean, &read.info.std), (&vec![0.0; c], &vec![1.0 / 255.0; c]));
    let pixels = Tensor::from_fn(&[2, h, w, c], |i| (i * 31 % 256) as f32);
    let normal = Tensor::from_fn(&[2, h, w, c], |i| {
        (pixels.data()[i] / 255.0 - graph.info.mean[i % c]) / graph.info.std[i % c]
    });
    let [ours, theirs] =
        [(&graph, normal), (&read, pixels)].map(|(g, x)| g.logits(&Device::cpu(), x).unwrap());
    let difference = relative_difference(&ours, &theirs);
    assert!(difference <= 1e-5, "{difference}");
}

/// Subnormal weights would make other programs slow.
#[test]
fn subnormal_weights_are_written_as_zeros() {
    let mut graph = small("resnet8", 3);
    let tiny = f32::MIN_POSITIVE / 4.0;
    graph.param_mut("fc.bias").unwrap().update(|bias| bias.fill(tiny));
    graph.param_mut("conv1.weight").unwrap().update(|weight| weight[3] = -tiny);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    let written = export(&graph, &path, &OnnxOptions::default()).unwrap();
    assert_eq!(written.flushed, 8);
    let read = import(&path, &ImportOptions::default()).unwrap().graph;
    assert!(read.params().all(|(_, param)| param.value().data().iter().all(|v| !v.is_subnormal())));
    let weights = folder.path().join("x.safetensors");
    assert_eq!(lopper_engine::torchvision::export_weights(&graph, &weights).unwrap().flushed, 8);
    let mut copy = graph.clone();
    lopper_engine::torchvision::import_weights(&mut copy, &weights).unwrap();
    assert!(copy.param("fc.bias").unwrap().value().data().iter().all(|&v| v == 0.0));
}

/// An imported network is one of ours: it trains, and it is pruned, folded and factorized.
#[test]
fn an_imported_network_trains_and_is_compressed() {
    let mut graph = again(&small("resnet8", 3), &OnnxOptions::default()).graph;
    let [h, w, c] = graph.info.input;
    let images = init::normal(1, "images", &[8, h, w, c], 1.0);
    let classes = graph.info.classes.clone();
    let mut data = InMemory::new(images, (0..8).map(|i| i % 7).collect(), classes).unwrap().batch(4);
    let before = graph.param("conv1.weight").unwrap().value().clone();
    let (device, mut optimizer) = (Device::cpu(), Optimizer::new(OptimizerConfig::adam()));
    let mut loss = CrossEntropy::default();
    let trainer = Trainer::new(&device, &mut optimizer, &mut loss).epochs(1).learning_rate(1e-3);
    trainer.fit(&mut graph, &mut data, None).unwrap();
    assert!(!graph.param("conv1.weight").unwrap().value().same_bits(&before));
    for (technique, small) in compressed(&graph, 2) {
        assert!(logits(&small).data().iter().all(|v| v.is_finite()), "{technique}");
    }
    assert!(fold(&graph).unwrap().graph.nodes().len() < graph.nodes().len());
}
