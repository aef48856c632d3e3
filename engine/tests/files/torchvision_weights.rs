//! PyTorch's names and layouts: a known example by hand, round trips, and mismatched files.

use crate::support::random_graph;
use lopper_engine::layer::{BatchNorm, Conv2d, Linear, Pool, Window};
use lopper_engine::torchvision::{self, Assignment};
use lopper_engine::{Graph, Layer, Param, Tensor};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::path::Path;

/// Writes `F32` tensors as PyTorch does.
fn pytorch_file(path: &Path, tensors: &[(&str, &[usize], &[f32])]) {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, v)| v.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Builds 1×2 images of one channel → convolution to 2 channels → flatten → batch norm → linear to one.
fn tiny() -> Graph {
    let mut graph = Graph::new(1);
    let conv = Conv2d {
        weight: Param::new(Tensor::zeros(&[2, 1, 3, 1])),
        bias: None,
        stride: [1; 2],
        padding: [0, 1],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
    };
    graph.push("features.0", Layer::Conv2d(conv), &[0]).unwrap();
    graph.push("flatten", Layer::Flatten, &[1]).unwrap();
    graph.push("bn", Layer::BatchNorm(BatchNorm::new(4)), &[2]).unwrap();
    graph.push("dropout", Layer::Dropout { p: 0.5 }, &[3]).unwrap();
    let linear =
        Linear { weight: Param::new(Tensor::zeros(&[4, 4])), bias: Some(Param::new(Tensor::zeros(&[4]))) };
    graph.push("fc", Layer::Linear(linear), &[4]).unwrap();
    graph.info.input = [1, 2, 1];
    graph
}

const COLUMNS: &[f32] = &[0., 1., 2., 3., 10., 11., 12., 13., 20., 21., 22., 23., 30., 31., 32., 33.];

fn tiny_tensors() -> Vec<(&'static str, &'static [usize], &'static [f32])> {
    vec![
        ("features.0.weight", &[2, 1, 1, 3], &[1., 2., 3., 4., 5., 6.]),
        ("bn.weight", &[4], &[0., 1., 2., 3.]),
        ("bn.bias", &[4], &[0., 1., 2., 3.]),
        ("bn.running_mean", &[4], &[0., 1., 2., 3.]),
        ("bn.running_var", &[4], &[0., 1., 2., 3.]),
        ("fc.weight", &[4, 4], COLUMNS),
        ("fc.bias", &[4], &[5., 6., 7., 8.]),
    ]
}

#[test]
fn a_tiny_network_matches_values_by_hand() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.safetensors");
    pytorch_file(&path, &[tiny_tensors(), vec![("bn.num_batches_tracked", &[], &[9.])]].concat());
    let mut graph = tiny();
    let report = torchvision::import_weights(&mut graph, &path).unwrap();
    assert_eq!(
        (report.imported, report.ignored.as_slice()),
        (7, &["bn.num_batches_tracked".to_string()][..])
    );
    assert_eq!(graph.param("features.0.weight").unwrap().value().data(), [1., 2., 3., 4., 5., 6.]);
    // PyTorch's features are (channel 0: left, right), (channel 1: left, right); ours (left: 0, 1), (right: 0, 1).
    for (name, tensor) in graph.params().map(|(n, p)| (n, p.value())).chain(graph.buffers()) {
        if name.starts_with("bn.") {
            assert_eq!(tensor.data(), [0., 2., 1., 3.], "{name}");
        }
    }
    assert_eq!(graph.param("fc.weight").unwrap().value().data()[..8], [0., 2., 1., 3., 10., 12., 11., 13.]);
    assert_eq!(
        graph.param("fc.bias").unwrap().value().data(),
        [5., 6., 7., 8.],
        "as long as a row, not permuted"
    );
}

#[test]
fn the_exported_file_matches_pytorchs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.safetensors");
    pytorch_file(&path, &tiny_tensors());
    let mut graph = tiny();
    torchvision::import_weights(&mut graph, &path).unwrap();
    torchvision::export_weights(&graph, &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), 8);
    for (name, shape, values) in tiny_tensors() {
        let tensor = file.tensor(name).unwrap();
        let expected: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!((tensor.shape(), tensor.data()), (shape, expected.as_slice()), "{name}");
    }
    let counter = file.tensor("bn.num_batches_tracked").unwrap();
    assert_eq!((counter.dtype(), counter.data()), (Dtype::I64, &[0; 8][..]));
}

#[test]
fn every_mismatch_is_listed_and_nothing_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.safetensors");
    let mut tensors = tiny_tensors();
    tensors[0] = ("features.0.weight", &[2, 3, 1, 1], &[1., 2., 3., 4., 5., 6.]);
    tensors[6] = ("fc.offset", &[1], &[5.]);
    pytorch_file(&path, &tensors);
    let mut graph = tiny();
    let message = torchvision::import_weights(&mut graph, &path).unwrap_err().to_string();
    for expected in [
        "tiny.safetensors: ",
        "`features.0.weight` has the shape [2, 3, 1, 1], expected [2, 1, 1, 3]",
        "`fc.bias` is missing",
        "`fc.offset` belongs to no layer",
    ] {
        assert!(message.contains(expected), "{message}");
    }
    assert!(graph.params().zip(tiny().params()).all(|((_, a), (_, b))| a.value().same_bits(b.value())));
}

/// The outputs that a file claims are those of a new layer: they must come with their weights.
#[test]
fn outputs_are_those_of_a_weight_that_fits_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.safetensors");
    for (shape, expected) in [
        (&[2, 4][..], Some(2)),
        (&[2, 4, 1, 1], Some(2)),
        (&[4, 2], None),
        (&[1 << 40, 0], None),
        (&[], None),
    ] {
        let values = vec![1.0; shape.iter().product()];
        pytorch_file(&path, &[("fc.weight", shape, &values)]);
        let outputs = torchvision::outputs_of(&tiny(), &path, "fc", &Assignment::named(&|_| None));
        assert_eq!(outputs.unwrap(), expected, "{shape:?}");
    }
}

#[test]
fn non_finite_weights_and_negative_variances_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.safetensors");
    for (at, values, expected) in [
        (6, &[5., 6., f32::INFINITY, 8.], "tiny.safetensors: tensor `fc.bias` holds inf"),
        (4, &[0., 1., -2., 3.], "tiny.safetensors: tensor `bn.running_var` holds a negative variance"),
    ] {
        let mut tensors = tiny_tensors();
        tensors[at].2 = values;
        pytorch_file(&path, &tensors);
        let mut graph = tiny();
        let message = torchvision::import_weights(&mut graph, &path).unwrap_err().to_string();
        assert!(message.ends_with(expected), "{message}");
        assert!(graph.params().zip(tiny().params()).all(|((_, a), (_, b))| a.value().same_bits(b.value())));
    }
}

#[test]
fn concatenated_features_are_permuted_part_by_part() {
    let mut graph = Graph::new(2);
    graph.push("pool", Layer::Pool(Pool::max(Window::Adaptive([1, 1]))), &[0]).unwrap();
    graph.push("small", Layer::Flatten, &[1]).unwrap();
    graph.push("large", Layer::Flatten, &[0]).unwrap();
    graph.push("both", Layer::Concat, &[2, 3]).unwrap();
    let weight = Param::new(Tensor::from_fn(&[1, 6], |i| i as f32));
    graph.push("fc", Layer::Linear(Linear { weight, bias: None }), &[4]).unwrap();
    graph.info.input = [1, 2, 2];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("concat.safetensors");
    torchvision::export_weights(&graph, &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let expected: Vec<u8> = [0f32, 1., 2., 4., 3., 5.].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(SafeTensors::deserialize(&bytes).unwrap().tensor("fc.weight").unwrap().data(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn export_and_import_return_the_same_bits(seed in any::<u64>()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weights.safetensors");
        let graph = random_graph(seed);
        let compact = graph.nodes().iter().any(|n| matches!(n.layer, Layer::CompactConv2d(_)));
        if compact {
            let message = torchvision::export_weights(&graph, &path).unwrap_err().to_string();
            prop_assert!(message.contains("no counterpart in PyTorch") && !path.exists(), "{}", message);
            return Ok(());
        }
        torchvision::export_weights(&graph, &path).unwrap();
        let mut other = graph.clone();
        for (_, param) in other.params_mut() {
            param.update(|w| w.fill(-1.0));
        }
        for (_, buffer) in other.buffers_mut() {
            buffer.data_mut().fill(-1.0);
        }
        torchvision::import_weights(&mut other, &path).unwrap();
        for ((name, a), (_, b)) in graph.params().zip(other.params()) {
            prop_assert!(a.value().same_bits(b.value()), "{}", name);
        }
        for ((name, a), (_, b)) in graph.buffers().zip(other.buffers()) {
            prop_assert!(a.same_bits(b), "{}", name);
        }
    }
}
