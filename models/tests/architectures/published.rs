//! Published networks: names and shapes of every tensor, and logits, as torchvision, timm and repositories for CIFAR
//! have them. `fixtures/published/make.py` writes what is expected; weights follow from the position of each number.

use crate::by_formula::{images, weights};
use flate2::read::GzDecoder;
use lopper_engine::plan::Plan;
use lopper_engine::torchvision::{Assignment, import_assigned, published_tensors};
use lopper_engine::{Device, Graph, Layer};
use lopper_models::{Options, build, is_auxiliary, names, numbered_classes, our_name, pretraining};
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

/// A network of another program.
struct Published {
    source: String,
    /// Its name there.
    theirs: String,
    arch: String,
    /// Number of parameters there.
    params: u64,
    /// Names and shapes in its order.
    tensors: Vec<(String, Vec<usize>)>,
}

fn published() -> Vec<Published> {
    let mut text = String::new();
    let zipped = include_bytes!("../fixtures/published/tensors.txt.gz");
    GzDecoder::new(&zipped[..]).read_to_string(&mut text).unwrap();
    let mut all: Vec<Published> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["=", source, theirs, arch, params] => all.push(Published {
                source: source.into(),
                theirs: theirs.into(),
                arch: arch.into(),
                params: params.parse().unwrap(),
                tensors: Vec::new(),
            }),
            [name, shape] => {
                let shape = shape.split(',').map(|axis| axis.parse().unwrap()).collect();
                all.last_mut().unwrap().tensors.push((name.into(), shape));
            }
            _ => panic!("{line}"),
        }
    }
    all
}

/// The network for images of `size` pixels with zero weights and as many classes as the published weights have.
fn network(arch: &str, size: usize) -> Graph {
    let classes = numbered_classes(pretraining(arch).unwrap().classes);
    build(arch, &Options { seed: None, ..Options::new(classes, [size, size, 3]) }).unwrap()
}

/// The tensors of `graph` with their shapes in PyTorch's layout, without axes of one element at the end.
fn ours(graph: &Graph) -> BTreeMap<String, Vec<usize>> {
    let mut found = BTreeMap::new();
    for node in graph.nodes() {
        let params = node.layer.params().into_iter().map(|(slot, param)| (slot, param.value()));
        for (slot, tensor) in params.chain(node.layer.buffers()) {
            let shape = match (&node.layer, tensor.shape()) {
                (Layer::Conv2d(_), &[o, kh, kw, c]) => vec![o, c, kh, kw],
                (_, shape) => shape.to_vec(),
            };
            found.insert(format!("{}.{slot}", node.name), trimmed(&shape));
        }
    }
    found
}

fn trimmed(shape: &[usize]) -> Vec<usize> {
    let last = shape.iter().rposition(|&axis| axis != 1).map_or(0, |last| last + 1);
    shape[..last].to_vec()
}

#[test]
fn every_published_tensor_has_its_place() {
    let mut covered = BTreeSet::new();
    for Published { source, theirs, arch, params, tensors } in published() {
        let name = format!("{source} {theirs}");
        let graph = network(&arch, pretraining(&arch).unwrap().size);
        let expected = ours(&graph);
        let auxiliary = |name: &str| is_auxiliary(&arch, name);
        let mut seen = BTreeSet::new();
        for (tensor, shape) in tensors.iter().filter(|(tensor, _)| !auxiliary(tensor)) {
            let place = our_name(&arch, tensor).unwrap_or_else(|| tensor.clone());
            let found = expected.get(&place).unwrap_or_else(|| panic!("{name}: {tensor}: no `{place}`"));
            // timm's VGG has convolutions over the whole image for linear layers.
            let is_whole =
                shape.len() == 4 && found.len() == 2 && shape[1..].iter().product::<usize>() == found[1];
            assert!(
                *found == trimmed(shape) || is_whole,
                "{name}: {tensor}: {shape:?}, `{place}`: {found:?}"
            );
            assert!(seen.insert(place.clone()), "{name}: two tensors become `{place}`");
        }
        assert_eq!(seen.len(), expected.len(), "{name}");
        let only_training: usize = tensors
            .iter()
            .filter(|(tensor, _)| auxiliary(tensor))
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        let counts = |name: &str| name.ends_with("running_mean") || name.ends_with("running_var");
        let statistics: usize = tensors
            .iter()
            .filter(|(tensor, _)| auxiliary(tensor) && counts(tensor))
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        assert_eq!(graph.param_count() + (only_training - statistics) as u64, params, "{name}");
        covered.insert(arch);
    }
    let own = ["student_net", "small_net", "vgg8_bn", "resnet8"];
    for name in names().filter(|name| !own.contains(name)) {
        assert!(covered.contains(name), "{name} is not compared with any published network");
    }
}

/// Every architecture is written with the names and shapes of the program that publishes it, torchvision's where it has it.
#[test]
fn every_architecture_is_written_as_it_is_published() {
    let mut written = BTreeSet::new();
    for Published { source, theirs, arch, tensors, .. } in published() {
        // torchvision comes first.
        if !written.insert(arch.clone()) {
            continue;
        }
        let graph = network(&arch, pretraining(&arch).unwrap().size);
        let ours = published_tensors(&graph, &|ours| lopper_models::published(&arch, ours)).unwrap();
        let sorted = |list: Vec<(String, Vec<usize>)>| list.into_iter().collect::<BTreeMap<_, _>>();
        let count = ours.len();
        let (ours, expected) = (
            sorted(ours),
            sorted(tensors.into_iter().filter(|(tensor, _)| !is_auxiliary(&arch, tensor)).collect()),
        );
        assert_eq!(ours.len(), count, "{source} {theirs}: two tensors have one name");
        assert_eq!(ours, expected, "{source} {theirs}");
    }
}

/// torchvision's files of DenseNets have names from before its modules were renamed.
#[test]
fn old_names_of_densenets_are_read() {
    let ours = |theirs: &str| our_name("densenet121", theirs);
    let block = "features.denseblock2.denselayer12";
    assert_eq!(ours(&format!("{block}.norm.1.running_mean")), Some(format!("{block}.norm1.running_mean")));
    assert_eq!(ours(&format!("{block}.conv.2.weight")), Some(format!("{block}.conv2.weight")));
    for same in ["features.conv0.weight", "features.transition1.norm.weight", "classifier.bias"] {
        assert_eq!(ours(same), None, "{same}");
    }
    assert_eq!(ours(&format!("{block}.norm1.weight")), None);
}

/// What make.py computed in double precision.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    source: String,
    arch: String,
    size: usize,
    /// The largest magnitude of all logits.
    largest: f64,
    /// The first logits of each image.
    logits: Vec<Vec<f64>>,
}

/// Writes `network` with its weights to `path`.
fn write(network: &Published, path: &Path) {
    let bytes = |values: Vec<f32>| values.into_iter().flat_map(f32::to_le_bytes).collect();
    let values: Vec<Vec<u8>> =
        (0..).zip(&network.tensors).map(|(i, (name, shape))| bytes(weights(name, i, shape))).collect();
    let views = network.tensors.iter().zip(&values).map(|((name, shape), bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn logits_are_pytorchs() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../fixtures/published/logits.json")).unwrap();
    let published = published();
    let (directory, device) = (tempfile::tempdir().unwrap(), Device::cpu());
    let path = directory.path().join("weights.safetensors");
    for Case { source, arch, size, largest, logits } in cases {
        let is_it = |network: &&Published| (&network.source, &network.arch) == (&source, &arch);
        write(published.iter().find(is_it).unwrap(), &path);
        let mut graph = network(&arch, size);
        let rename = |theirs: &str| our_name(&arch, theirs);
        let auxiliary = |theirs: &str| is_auxiliary(&arch, theirs);
        let assignment = Assignment { auxiliary: &auxiliary, ..Assignment::named(&rename) };
        let report = import_assigned(&mut graph, &path, &assignment).unwrap();
        assert_eq!(report.notes.is_empty(), arch != "googlenet", "{arch}: {:?}", report.notes);

        let images = images(logits.len(), size);
        let found = graph.logits(&device, images.clone()).unwrap();
        let mut plan = Plan::new(&graph, [logits.len(), size, size, 3], &device).unwrap();
        let planned = plan.run(images.data()).unwrap();
        let classes = found.dim(1);
        for (image, expected) in logits.iter().enumerate() {
            for (class, expected) in expected.iter().enumerate() {
                for (way, found) in [("graph", found.data()), ("plan", planned)] {
                    let error = (f64::from(found[image * classes + class]) - expected).abs();
                    assert!(
                        error <= 1e-4 * largest.max(1.0),
                        "{source} {arch}, {way}, image {image}, logit {class}: off by {error}, largest {largest}"
                    );
                }
            }
        }
    }
}
