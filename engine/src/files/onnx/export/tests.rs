//! When weights get a file of their own.

use super::export::{Writer, data_of};
use super::model::Model;
use super::options::OnnxOptions;
use crate::files::onnx::import::{ImportOptions, import};
use crate::graph::layer::{Conv2d, Linear};
use crate::{Graph, Layer, Param, Tensor};
use std::fs;
use std::path::Path;

fn network() -> Graph {
    let weight = |shape: &[usize]| Param::new(Tensor::from_fn(shape, |i| (i as f32).sin()));
    let conv = Conv2d {
        weight: weight(&[16, 3, 3, 2]),
        bias: Some(weight(&[16])),
        stride: [1; 2],
        padding: [1; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
    };
    let linear = Linear { weight: weight(&[5, 256]), bias: Some(weight(&[5])) };
    let mut graph = Graph::new(2);
    graph.info.input = [4, 4, 2];
    graph.info.classes = (0..5).map(|class| class.to_string()).collect();
    graph.push("conv", Layer::Conv2d(conv), &[0]).unwrap();
    graph.push("flat", Layer::Flatten, &[1]).unwrap();
    graph.push("fc", Layer::Linear(linear), &[2]).unwrap();
    graph
}

#[test]
fn weights_that_do_not_fit_get_a_file_of_their_own() {
    let (graph, folder) = (network(), tempfile::tempdir().unwrap());
    let path = folder.path().join("x.onnx");
    let options = OnnxOptions::default();
    let length = Model::of(&graph, &options).unwrap().message(None).len();
    let whole = Writer::within(length, &graph, &path, &options).unwrap();
    assert_eq!(whole.data(), None);
    whole.write().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), length as u64);
    let split = Writer::within(length - 1, &graph, &path, &options).unwrap();
    let data = folder.path().join("x.onnx.data");
    assert_eq!(split.data(), Some(data.as_path()));
    split.write().unwrap();
    // The weights of the convolution take a part of the first page.
    assert_eq!(fs::metadata(&data).unwrap().len(), 4096 + 4 * 5 * 256);
    assert!(fs::metadata(&path).unwrap().len() < 2000);
    let read = import(&path, &ImportOptions::default()).unwrap().graph;
    assert_eq!(read.params().count(), 4);
    for (name, param) in graph.params() {
        assert!(read.param(&name).unwrap().value().same_bits(param.value()), "{name}");
    }
}

#[test]
fn a_file_that_is_too_long_without_its_weights_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    let refused = Writer::within(300, &network(), &path, &OnnxOptions::default()).err().unwrap();
    let message = refused.to_string();
    assert!(message.contains("x.onnx: not written: an ONNX file has at most 300 bytes"), "{message}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn only_a_file_with_weights_beside_it_needs_a_name_in_unicode() {
    let external = OnnxOptions { external_data: true, ..OnnxOptions::default() };
    for (path, name) in [("x.onnx", "x.onnx.data"), ("a/x.onnx/", "x.onnx.data"), ("a/x", "x.data")] {
        assert_eq!(data_of(Path::new(path)).file_name().unwrap(), name);
    }
    #[cfg(unix)]
    {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        let path = Path::new(OsStr::from_bytes(b"\xFF.onnx"));
        assert!(Writer::new(&network(), path, &OnnxOptions::default()).is_ok());
        let message = Writer::new(&network(), path, &external).err().unwrap().to_string();
        assert!(message.contains("must be UTF-8"), "{message}");
    }
    assert!(Writer::new(&network(), "x.onnx", &external).unwrap().data().is_some());
}
