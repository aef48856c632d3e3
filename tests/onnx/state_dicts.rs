//! State dicts as `torch.save` writes them: read back here, and by PyTorch.

use crate::runtime::{compressed, small};
use crate::support::python::Package;
use crate::support::random_graph::networks;
use lopper_engine::{Graph, Tensor, python, torchvision};
use lopper_models::names;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use safetensors::SafeTensors;
use std::fs;
use std::path::Path;

/// `graph` with other weights and statistics.
fn blank(graph: &Graph) -> Graph {
    let mut blank = graph.clone();
    for (_, param) in blank.params_mut() {
        let zeros = Tensor::zeros(param.value().shape());
        param.set_value(zeros).unwrap();
    }
    blank.buffers_mut().for_each(|(_, buffer)| *buffer = Tensor::full(buffer.shape(), 1.0));
    blank
}

/// Asserts that the file `path` has the weights and statistics of `graph`.
#[track_caller]
fn assert_holds(path: &Path, graph: &Graph) {
    let mut read = blank(graph);
    let report = torchvision::import_weights(&mut read, path).unwrap();
    let tensors = graph.params().count() + graph.buffers().count();
    assert_eq!((report.imported, &report.notes), (tensors, &Vec::new()), "{}", path.display());
    for ((name, ours), (_, read)) in graph.params().zip(read.params()) {
        assert!(ours.value().same_bits(read.value()), "{}: {name}", path.display());
    }
    for ((name, ours), (_, read)) in graph.buffers().zip(read.buffers()) {
        assert!(ours.same_bits(read), "{}: {name}", path.display());
    }
}

#[test]
fn state_dicts_keep_the_bits() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, graph: &Graph| {
        let path = folder.path().join(format!("{name}.pth"));
        assert_eq!(torchvision::export_state_dict(graph, &path).unwrap().flushed, 0, "{name}");
        assert_holds(&path, graph);
    };
    for name in names() {
        check(name, &small(name, 5));
    }
    let mut runner = TestRunner::deterministic();
    let random = networks().prop_map(|net| net.graph());
    for i in 0..60 {
        check(&format!("random{i}"), &random.new_tree(&mut runner).unwrap().current());
    }
}

#[test]
fn compact_convolutions_have_no_state_dict() {
    let folder = tempfile::tempdir().unwrap();
    let graphs = compressed(&small("resnet8", 4), 4);
    let (_, compact) = graphs.iter().find(|(technique, _)| *technique == "compact").unwrap();
    let path = folder.path().join("x.pth");
    let error = torchvision::export_state_dict(compact, &path).unwrap_err().to_string();
    assert!(error.contains("x.pth") && error.contains("compact"), "{error}");
    assert!(!path.exists());
}

/// What PyTorch loads has the names and bytes of the safetensors file, in the order of the module, and what it then saves is
/// read back.
#[test]
fn pytorch_loads_state_dicts() {
    let folder = tempfile::tempdir().unwrap();
    let mut graphs = Vec::new();
    for (seed, name) in (0..).zip(["resnet18", "mobilenet_v2", "efficientnet_lite0", "vgg8_bn"]) {
        let graph = small(name, seed);
        let pruned = compressed(&graph, seed).swap_remove(0).1;
        graphs.push((format!("{name}_pruned"), pruned));
        graphs.push((name.to_string(), graph));
    }
    for (name, graph) in &graphs {
        let path = folder.path().join(name);
        torchvision::export_state_dict(graph, path.with_extension("pth")).unwrap();
        torchvision::export_weights(graph, path.with_extension("safetensors")).unwrap();
        python::export(graph, path.with_extension("py")).unwrap();
    }
    if Package::Torch.run("torch_state_dicts.py", &[folder.path().to_str().unwrap()]).is_none() {
        return;
    }
    for (name, graph) in &graphs {
        let path = folder.path().join(name);
        let (bytes, list) = (fs::read(path.with_extension("bytes")).unwrap(), path.with_extension("names"));
        let expected = fs::read(path.with_extension("safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&expected).unwrap();
        let (list, mut at) = (fs::read_to_string(list).unwrap(), 0);
        for tensor in list.lines() {
            let data =
                expected.tensor(tensor).unwrap_or_else(|e| panic!("{name}: {tensor}: {e}")).data().to_vec();
            assert_eq!(bytes.get(at..at + data.len()), Some(&data[..]), "{name}: {tensor}");
            at += data.len();
        }
        assert_eq!((list.lines().count(), at), (expected.len(), bytes.len()), "{name}");
        assert_holds(&path.with_extension("again"), graph);
    }
}
