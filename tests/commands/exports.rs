//! `lopper export`, `import` and `convert` between formats.

use crate::support::command::{LOPPER, finished, lopper, text};
use lopper_engine::file;
use lopper_engine::torchvision::import_renamed;
use lopper_models::{Options, build, numbered_classes, our_name};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Weights with the names and layouts of PyTorch.
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cifar_resnet20/model.safetensors");

/// A trained network as a model file in `folder`.
fn model(folder: &Path) -> PathBuf {
    let out = folder.join("model.safetensors");
    let network = ["import", FIXTURE, "--arch", "cifar_resnet20", "--classes", "10", "--size", "32"];
    lopper(&[&network[..], &["--out", text(&out)]].concat()).succeeded();
    out
}

#[test]
fn conversions_keep_the_logits() {
    let folder = tempfile::tempdir().unwrap();
    let start = model(folder.path());
    let place = |name: &str| folder.path().join(name);
    let [onnx, again, back] = ["a.onnx", "b.onnx", "back.safetensors"].map(place);
    lopper(&["export", text(&start), "--out", text(&onnx)]).succeeded();
    lopper(&["convert", text(&onnx), text(&again), "--opset", "13", "--batch", "2"]).succeeded();
    lopper(&["import", text(&again), "--out", text(&back), "--class-names", "a,b,c,d,e,f,g,h,i,j"])
        .succeeded();
    lopper(&["diff", text(&start), text(&back), "--tolerance", "0"]).succeeded();
    let (before, after) = (file::load(&start).unwrap(), file::load(&back).unwrap());
    assert_eq!(after.info.classes[9], "j");
    assert_eq!((&before.info.mean, before.info.preparation), (&after.info.mean, after.info.preparation));
    for (command, name) in [("export", "a.pth"), ("convert", "b.pth")] {
        let path = place(name);
        let from = if command == "export" { &start } else { &again };
        let out: &[&str] = if command == "export" { &["--out", text(&path)] } else { &[text(&path)] };
        lopper(&[&[command, text(from)], out].concat()).succeeded();
        let mut read = before.clone();
        lopper_engine::torchvision::import_weights(&mut read, &path).unwrap();
        assert!(
            before.params().zip(read.params()).all(|((_, a), (_, b))| a.value().same_bits(b.value())),
            "{name}"
        );
    }
    let run = lopper(&["convert", text(&onnx), text(&place("net.py"))]).succeeded();
    assert!(run.out.contains("net.py and ") && run.out.contains("net.weights.safetensors"), "{}", run.out);
    assert!(fs::read_to_string(place("net.py")).unwrap().contains("def forward(self, x):"));
}

/// Weights have the names and shapes of the program that publishes the architecture, and are read back.
#[test]
fn weights_are_written_as_they_are_published() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    for (arch, tensors) in [
        (
            "convnext_tiny",
            [("features.1.0.layer_scale", 3), ("features.1.0.block.3.weight", 2), ("classifier.2.bias", 1)],
        ),
        (
            "mobilenetv3_small_100",
            [("blocks.1.0.conv_pwl.weight", 4), ("conv_head.weight", 4), ("blocks.0.0.bn1.running_var", 1)],
        ),
    ] {
        let options = Options { width: 0.5, ..Options::new(numbered_classes(3), [32, 32, 3]) };
        let network = build(arch, &options).unwrap();
        let start = place("start.safetensors");
        file::save(&network, &start).unwrap();
        for name in ["w.safetensors", "w.pth"] {
            lopper(&["export", text(&start), "--out", text(&place(name)), "--force"]).succeeded();
            let rename = |theirs: &str| our_name(arch, theirs);
            let mut read = network.clone();
            let report = import_renamed(&mut read, place(name), &rename).unwrap();
            assert_eq!(report.imported, network.params().count() + network.buffers().count(), "{arch}");
        }
        let bytes = fs::read(place("w.safetensors")).unwrap();
        let written = SafeTensors::deserialize(&bytes).unwrap();
        for (tensor, axes) in tensors {
            let found = written.tensor(tensor).unwrap_or_else(|e| panic!("{arch}, {tensor}: {e}"));
            assert_eq!(found.shape().len(), axes, "{arch}, {tensor}");
        }
    }
}

/// Weights beside an ONNX file are read from there, also while both files are replaced.
#[test]
fn external_data_lie_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let start = model(folder.path());
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (onnx, data) = (place("x.onnx"), place("x.onnx.data"));
    let run = lopper(&["export", text(&start), "--out", &onnx, "--external-data"]).succeeded();
    assert!(run.out.contains(&format!("wrote {onnx} and {data}")), "{}", run.out);
    assert!(fs::metadata(&onnx).unwrap().len() < fs::metadata(&data).unwrap().len() / 4);
    let again = ["convert", &onnx, &onnx, "--external-data", "--force", "--json"];
    let printed: Value = serde_json::from_str(&lopper(&again).succeeded().out).unwrap();
    assert_eq!(printed, json!({ "written": onnx, "weights": data }));
    lopper(&["convert", &onnx, &place("back.safetensors")]).succeeded();
    lopper(&["diff", text(&start), &place("back.safetensors"), "--tolerance", "0"]).succeeded();
    let run = lopper(&["export", text(&start), "--out", &onnx, "--force"]).succeeded();
    assert!(!run.out.contains(&data), "{}", run.out);
    fs::remove_file(data).unwrap();
    lopper(&["convert", &onnx, &place("back.safetensors"), "--force"]).succeeded();
}

/// A file may have any name that the system has.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_unicode_are_written() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let start = model(folder.path());
    let run = |line: &[&str], name: &[u8]| {
        let mut command = Command::new(LOPPER);
        command.args(line).arg(folder.path().join(OsStr::from_bytes(name)));
        finished(command.output().unwrap())
    };
    let start = text(&start);
    for (line, name) in [
        (&["export", start, "--out"][..], &b"\xFF.onnx"[..]),
        (&["convert", start], b"\xFF.py"),
        (&["convert", start, "--json"], b"\xFF.pth"),
        (&["import", FIXTURE, "--arch", "cifar_resnet20", "--classes", "10", "--out"], b"\xFF.safetensors"),
    ] {
        let run = run(line, name).succeeded();
        assert!(run.out.contains('\u{FFFD}'), "{}", run.out);
    }
    run(&["export", start, "--external-data", "--out"], b"\xFE.onnx").refused(&["must be UTF-8"]);
}

#[test]
fn options_and_names_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let start = model(folder.path());
    let place = |name: &str| folder.path().join(name).display().to_string();
    let export = |options: &[&str]| lopper(&[&["export", text(&start)], options].concat());
    export(&["--out", &place("x.onnx"), "--format", "safetensors"]).refused(&[
        "x.onnx",
        ".safetensors",
        "found .onnx",
    ]);
    export(&["--out", &place("x.safetensors"), "--format", "onnx"])
        .refused(&["ends in .onnx", "found .safetensors"]);
    export(&["--out", &place("x"), "--format", "pytorch"]).refused(&["ends in .py", "found no ending"]);
    export(&["--out", &place("x.h5")]).refused(&["x.h5", ".safetensors, .pth, .pt, .onnx, .py", "found .h5"]);
    export(&["--out", &place("x.pth"), "--format", "safetensors"])
        .refused(&["ends in .safetensors", "found .pth"]);
    export(&["--out", &place("x.safetensors"), "--opset", "13"])
        .refused(&["--opset: applies to ONNX files only"]);
    export(&["--out", &place("x.pth"), "--external-data"])
        .refused(&["--external-data: applies to ONNX files only"]);
    export(&["--out", &place("x.onnx"), "--opset", "10"]).refused(&["--opset", "11"]);
    let onnx = place("y.onnx");
    export(&["--out", &onnx]).succeeded();
    let import = |options: &[&str]| {
        lopper(&[&["import", onnx.as_str(), "--out", &place("z.safetensors")], options].concat())
    };
    import(&["--arch", "resnet18"]).refused(&["--arch applies to weights only"]);
    import(&["--classes", "3"]).refused(&["--classes: applies to weights"]);
    import(&["--mean", "0.5"]).refused(&["--mean: expected 3 numbers, found 1"]);
    lopper(&["import", text(&start), "--out", &place("z.safetensors")]).refused(&["expected --arch"]);
    let convert =
        |options: &[&str]| lopper(&[&["convert", text(&start), &place("z.onnx")], options].concat());
    convert(&["--std", "1,1,1"]).refused(&["--mean, --std: applies to ONNX files and to weights"]);
    convert(&["--size", "64"]).refused(&["--size: applies to", "a model file has its own"]);
    for name in ["x.onnx", "x.safetensors", "x.pth", "x.h5", "x", "z.safetensors", "z.onnx"] {
        assert!(!folder.path().join(name).exists(), "{name}");
    }
}

/// Weights of an architecture are converted in one step, and give what two steps give.
#[test]
fn weights_are_converted_through_their_architecture() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let network = build("resnet8", &Options::new(numbered_classes(4), [32, 32, 3])).unwrap();
    file::save(&network, place("start.safetensors")).unwrap();
    for weights in ["w.pth", "w.safetensors"] {
        lopper(&["export", &place("start.safetensors"), "--out", &place(weights)]).succeeded();
        let arch = ["--arch", "resnet8", "--classes", "4", "--size", "32"];
        let outputs = ["a.onnx", "b.safetensors", "c.pth"];
        for out in outputs {
            lopper(&[&["convert", &place(weights), &place(out), "--force"], &arch[..]].concat()).succeeded();
        }
        let convert = ["convert", &place("b.safetensors"), &place("d.onnx"), "--force"];
        lopper(&convert).succeeded();
        assert_eq!(fs::read(place("a.onnx")).unwrap(), fs::read(place("d.onnx")).unwrap(), "{weights}");
        assert_eq!(file::load(place("b.safetensors")).unwrap().params().count(), network.params().count());
    }
    for weights in ["c.pth", "w.safetensors"] {
        lopper(&["convert", &place(weights), &place("e.onnx")]).refused(&[weights, "--arch"]);
    }
}

/// What is not known of a foreign network is assumed aloud; what is given is not.
#[test]
fn the_normalization_of_a_foreign_network_is_assumed_aloud() {
    let folder = tempfile::tempdir().unwrap();
    let start = model(folder.path());
    let mut graph = file::load(&start).unwrap();
    (graph.info.mean, graph.info.std, graph.info.preparation) = (Vec::new(), Vec::new(), None);
    file::save(&graph, &start).unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    lopper(&["export", text(&start), "--out", &place("a.onnx")]).succeeded();
    let run = lopper(&["import", &place("a.onnx"), "--out", &place("b.safetensors")]).succeeded();
    assert!(run.err.contains("assumed to be normalized by ImageNet's mean"), "{}", run.err);
    let given = ["--mean", "0,0,0", "--std", "1,1,1", "--out", &place("c.safetensors")];
    let run = lopper(&[&["import", &place("a.onnx")], &given[..]].concat()).succeeded();
    assert!(!run.err.contains("assumed"), "{}", run.err);
    assert_eq!(file::load(place("c.safetensors")).unwrap().info.std, [1.0; 3]);
    lopper(&["export", text(&start), "--out", &place("d.onnx"), "--bytes"])
        .refused(&["no mean and deviation"]);
}
