//! `lopper import` of weights that do not fit by their names: bodies without a last layer, and other repositories' names.

use crate::support::command::{lopper, text};
use lopper_engine::{Graph, file};
use lopper_models::numbered_classes;
use std::fs;
use std::path::Path;

/// Parameters whose values differ.
fn changed(before: &Graph, after: &Graph) -> Vec<String> {
    let same = |path: &str| before.param(path).unwrap().value().same_bits(after.param(path).unwrap().value());
    after.params().map(|(path, _)| path).filter(|path| !same(path)).collect()
}

/// Weights as timm saves a body: nothing of the classifier.
#[test]
fn a_body_alone_is_imported_with_a_new_head() {
    let dir = tempfile::tempdir().unwrap();
    let [weights, out] = ["w.safetensors", "i.safetensors"].map(|name| dir.path().join(name));
    let options = lopper_models::Options::new(numbered_classes(10), [32, 32, 3]);
    let net = lopper_models::build("resnet8", &options).unwrap();
    write_renamed(&net, &weights, &|name| (!name.starts_with("fc.")).then(|| name.to_string()));
    let import = |more: &[&str]| {
        let given =
            ["import", text(&weights), "--arch", "resnet8", "--size", "32", "--out", text(&out), "--force"];
        lopper(&[&given[..], more].concat())
    };
    import(&[])
        .failed_naming(&["w.safetensors", "has no `fc`: --new-head keeps the body and draws a new `fc`"]);
    for more in
        [&["--new-head", "--classes", "3"][..], &["--classes", "3"], &["--classes", "3", "--by-order"]]
    {
        let run = import(more).succeeded();
        assert!(run.err.contains("has no `fc`: it holds the body alone"), "{}", run.err);
        assert!(run.err.contains("new head: drew fc for 3 classes"), "{}", run.err);
        let imported = file::load(&out).unwrap();
        assert_eq!(
            (imported.info.classes.len(), changed(&net, &imported)),
            (3, vec!["fc.weight".into(), "fc.bias".into()])
        );
    }
    // Only the last layer may be missing.
    write_renamed(&net, &weights, &|name| (!name.starts_with("bn1.")).then(|| name.to_string()));
    import(&["--new-head"]).failed_naming(&["`bn1.weight` is missing"]);
}

/// Writes the weights of `net` under the names that `rename` gives to PyTorch's, in the order of the layers. Tensors without a
/// name are left out.
fn write_renamed(net: &Graph, path: &Path, rename: &dyn Fn(&str) -> Option<String>) {
    let all = path.with_extension("all");
    lopper_engine::torchvision::export_weights(net, &all).unwrap();
    let bytes = fs::read(&all).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let mut order: Vec<_> =
        metadata.tensors().into_iter().map(|(name, info)| (info.data_offsets, name)).collect();
    order.sort();
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (_, name) in order {
        let Some(theirs) = rename(&name) else { continue };
        let tensor = file.tensor(&name).unwrap();
        let start = data.len();
        data.extend_from_slice(tensor.data());
        let (dtype, shape) = (tensor.dtype().to_string(), tensor.shape());
        let entry =
            serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, data.len()] });
        header.insert(theirs, entry);
    }
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    fs::write(path, [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()).unwrap();
}

/// Other names in the order of the layers are read on request; a file in the order of its names only if shapes allow.
#[test]
fn weights_of_other_names_are_imported_by_shapes_and_order() {
    let dir = tempfile::tempdir().unwrap();
    let [weights, out] = ["w.safetensors", "i.safetensors"].map(|name| dir.path().join(name));
    let options = lopper_models::Options::new(numbered_classes(10), [32, 32, 3]);
    let net = lopper_models::build("resnet8", &options).unwrap();
    let import = |more: &[&str]| {
        let given =
            ["import", text(&weights), "--arch", "resnet8", "--size", "32", "--out", text(&out), "--force"];
        lopper(&[&given[..], more].concat())
    };
    let renamed = |name: &str| {
        let name =
            name.replace("layer", "stages.").replace("conv", "convolution").replace("downsample", "shortcut");
        Some(name.replace("fc.", "head.").replace("bn", "normalization"))
    };
    write_renamed(&net, &weights, &renamed);
    import(&["--classes", "10"])
        .failed_naming(&["is missing", "--by-order reads it: all shapes fit in their order"]);
    let run = import(&["--classes", "10", "--by-order"]).succeeded();
    for words in [
        "layers are matched by shapes and order, not by names",
        "layer1.0.downsample.0 ← stages.1.0.shortcut.0",
        "fc ← head",
    ] {
        assert!(run.err.contains(words), "expected `{words}` in: {}", run.err);
    }
    assert!(changed(&net, &file::load(&out).unwrap()).is_empty());
    let run = import(&["--classes", "3", "--by-order"]).succeeded();
    assert!(run.err.contains("new head: drew fc for 3 classes"), "{}", run.err);
    assert_eq!(changed(&net, &file::load(&out).unwrap()), ["fc.weight", "fc.bias"]);
    // Sorted by name, as safetensors are that PyTorch writes: batch norms come before their convolutions.
    write_renamed(&net, &weights, &|name| Some(name.replace("layer", "stage")));
    let bytes = fs::read(&weights).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    fs::write(&weights, safetensors::serialize(tensors.tensors(), None).unwrap()).unwrap();
    import(&["--classes", "10", "--by-order"]).failed_naming(&[
        "by shapes and order: layer `conv1` has weight [32, 3, 3, 3]",
        "`bn1` has bias [32]",
    ]);
}

/// GoogLeNet is published with classifiers that only training uses.
#[test]
fn auxiliary_classifiers_are_ignored_aloud() {
    let dir = tempfile::tempdir().unwrap();
    let [plain, weights, out] = ["p", "w", "o"].map(|name| dir.path().join(format!("{name}.safetensors")));
    let options = lopper_models::Options::new(numbered_classes(7), [64, 64, 3]);
    let net = lopper_models::build("googlenet", &options).unwrap();
    lopper_engine::torchvision::export_weights(&net, &plain).unwrap();
    let bytes = fs::read(&plain).unwrap();
    let stored = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let (mut tensors, zeros) = (stored.tensors(), [0; 16]);
    for name in ["aux1.fc2.weight", "aux2.conv.bn.running_var"] {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![4], &zeros).unwrap();
        tensors.push((name.to_string(), view));
    }
    fs::write(&weights, safetensors::serialize(tensors, None).unwrap()).unwrap();
    let given = [
        "import",
        text(&weights),
        "--arch",
        "googlenet",
        "--classes",
        "7",
        "--size",
        "64",
        "--out",
        text(&out),
    ];
    let run = lopper(&given).succeeded();
    assert!(run.err.contains("ignored `aux1`, `aux2`, which only training uses"), "{}", run.err);
    let imported = file::load(&out).unwrap();
    assert!(changed(&net, &imported).is_empty());
    assert_eq!((imported.info.mean, imported.info.std), (vec![0.5; 3], vec![0.5; 3]));
}

/// Size, classes and images of the published weights are the defaults.
#[test]
fn an_architecture_knows_the_images_of_its_weights() {
    let dir = tempfile::tempdir().unwrap();
    let [weights, out] = ["w", "o"].map(|name| dir.path().join(format!("{name}.safetensors")));
    for (arch, classes, size, resize) in
        [("cifar_resnet20_b", 10, 32, None), ("squeezenet1_1", 1000, 224, Some(256))]
    {
        let options = lopper_models::Options::new(numbered_classes(classes), [size, size, 3]);
        let net = lopper_models::build(arch, &options).unwrap();
        lopper_engine::torchvision::export_weights(&net, &weights).unwrap();
        lopper(&["import", text(&weights), "--arch", arch, "--out", text(&out), "--force"]).succeeded();
        let info = file::load(&out).unwrap().info;
        assert_eq!((info.input, info.classes.len()), ([size, size, 3], classes), "{arch}");
        let shorter = match info.preparation.unwrap().resize {
            lopper_engine::info::Resize::Shorter(side) => Some(side),
            _ => None,
        };
        assert_eq!(shorter, resize, "{arch}");
    }
}
