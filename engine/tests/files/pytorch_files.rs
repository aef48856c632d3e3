//! PyTorch's own files: those that it writes (`fixtures/pth/make.py`), and hostile ones by hand.

use lopper_engine::layer::{BatchNorm, Conv2d, Linear};
use lopper_engine::torchvision::{self, ImportReport};
use lopper_engine::{Graph, Layer, Param, Result, Tensor};
use std::path::{Path, PathBuf};

/// The network of the fixtures: 1×2 images of one channel → convolution to 2 channels → flatten → batch norm → linear.
fn network() -> Graph {
    let mut graph = Graph::new(1);
    let zeros = |shape: &[usize]| Param::new(Tensor::zeros(shape));
    let conv = Conv2d {
        weight: zeros(&[2, 1, 3, 1]),
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
    let linear = Linear { weight: zeros(&[4, 4]), bias: Some(zeros(&[4])) };
    graph.push("fc", Layer::Linear(linear), &[3]).unwrap();
    graph.info.input = [1, 2, 1];
    graph
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pth").join(name)
}

fn import(path: &Path) -> Result<(Graph, ImportReport)> {
    let mut graph = network();
    let report = torchvision::import_weights(&mut graph, path)?;
    Ok((graph, report))
}

fn refused(path: &Path) -> String {
    import(path).expect_err("refused").to_string()
}

/// Checks the numbers of the fixtures, which count through PyTorch's state dict, quartered. PyTorch's features are
/// (channel 0: left, right), (channel 1: left, right); ours (left: 0, 1), (right: 0, 1).
fn check_numbers(graph: &Graph, file: &str) {
    let quarters = |name: &str| -> Vec<f32> {
        let param = graph.params().find(|(found, _)| found == name).map(|(_, param)| param.value());
        let buffer = graph.buffers().find(|(found, _)| found == name).map(|(_, buffer)| buffer);
        param.or(buffer).unwrap().data().iter().map(|value| 4.0 * value).collect()
    };
    assert_eq!(quarters("features.0.weight"), [1., 2., 3., 4., 5., 6.], "{file}");
    assert_eq!(quarters("bn.weight"), [7., 9., 8., 10.], "{file}");
    assert_eq!(quarters("bn.bias"), [11., 13., 12., 14.], "{file}");
    assert_eq!(quarters("bn.running_mean"), [15., 17., 16., 18.], "{file}");
    assert_eq!(quarters("bn.running_var"), [19., 21., 20., 22.], "{file}");
    assert_eq!(quarters("fc.weight")[..8], [23., 25., 24., 26., 27., 29., 28., 30.], "{file}");
    assert_eq!(quarters("fc.bias"), [39., 40., 41., 42.], "{file}");
}

#[test]
fn every_file_holds_the_same_numbers() {
    for file in [
        "zip",
        "legacy",
        "protocol4",
        "legacy4",
        "parameters",
        "half",
        "bfloat16",
        "double",
        "views",
        "legacy_views",
    ] {
        let (graph, report) = import(&fixture(&format!("{file}.pth"))).unwrap();
        check_numbers(&graph, file);
        assert_eq!((report.imported, report.notes.as_slice()), (7, &[][..]), "{file}");
        let counted = ["zip", "legacy", "protocol4", "legacy4"].contains(&file);
        let ignored = if counted { vec!["bn.num_batches_tracked"] } else { Vec::new() };
        assert_eq!(report.ignored, ignored, "{file}");
    }
}

#[test]
fn integers_are_read_if_they_are_exact() {
    let (graph, _) = import(&fixture("integers.pth")).unwrap();
    assert_eq!(graph.param("fc.bias").unwrap().value().data(), [39., 40., 41., 42.]);
}

#[test]
fn weights_are_found_in_checkpoints_and_behind_prefixes() {
    let (graph, report) = import(&fixture("checkpoint.pth")).unwrap();
    check_numbers(&graph, "checkpoint");
    assert_eq!(report.ignored, ["module.bn.num_batches_tracked"]);
    let found = "the weights are its entry `state_dict`; not `epoch`, `loss`, `optimizer`";
    assert_eq!(report.notes, [found, "the prefix `module.` of all names is removed"]);

    let (graph, report) = import(&fixture("averaged.pth")).unwrap();
    check_numbers(&graph, "averaged");
    assert_eq!(report.ignored, ["module._orig_mod.bn.num_batches_tracked", "n_averaged"]);
    assert_eq!(report.notes.len(), 3, "{:?}", report.notes);
}

#[test]
fn names_may_be_translated() {
    let mut graph = network();
    let last = graph.id("fc").unwrap();
    graph.rename(last, "head").unwrap();
    let rename = |name: &str| name.strip_prefix("fc.").map(|slot| format!("head.{slot}"));
    torchvision::import_renamed(&mut graph, fixture("checkpoint.pth"), &rename).unwrap();
    assert_eq!(graph.param("head.bias").unwrap().value().data()[0], 39.0 / 4.0);

    let clash = |name: &str| Some(if name == "bn.bias" { "bn.weight".into() } else { name.into() });
    let message =
        torchvision::import_renamed(&mut network(), fixture("zip.pth"), &clash).unwrap_err().to_string();
    assert!(message.ends_with("`bn.bias` and `bn.weight` are both `bn.weight`"), "{message}");
}

#[test]
fn what_is_no_dictionary_of_tensors_is_refused_with_advice() {
    for (file, expected) in [
        (
            "module.pth",
            "module.pth: it is a whole object of Python, a `__main__.Tiny`; only tensors in dictionaries are",
        ),
        ("module.pth", "weights_only=False).state_dict(), 'weights.pth')"),
        ("arguments.pth", "it refers to `argparse.Namespace`; only tensors"),
        ("script.pt", "script.pt: it holds a TorchScript program. Write its tensors alone: python -c"),
        ("list.pth", "list.pth: expected a dictionary of tensors, found another object"),
        ("epoch.pth", "found the entries `epoch`"),
    ] {
        let message = refused(&fixture(file));
        assert!(message.contains(expected), "{message}");
    }
}

/// A file in the format before PyTorch 1.6 around the pickle `object`, with storages of a key and its bytes.
fn legacy(object: &[u8], storages: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    file.extend(b"\x80\x02}X\x0d\0\0\0little_endian\x88s.");
    file.extend(object);
    file.extend(b"\x80\x02](");
    for (key, ..) in storages {
        file.extend(text(key));
    }
    file.extend(b"e.");
    for (_, len, bytes) in storages {
        file.extend(len.to_le_bytes());
        file.extend(*bytes);
    }
    file
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// The opcodes of a tensor `{name: tensor}` on a storage of `len` elements.
fn tensor(name: &str, len: u32, offset: u32, shape: &[u32], strides: &[u32]) -> Vec<u8> {
    let int = |value: u32| [b"J", &value.to_le_bytes()[..]].concat();
    let tuple =
        |values: &[u32]| [b"(", &values.iter().flat_map(|&v| int(v)).collect::<Vec<_>>()[..], b"t"].concat();
    let storage =
        [b"(", &text("storage")[..], b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), &int(len), b"NtQ"];
    [
        b"\x80\x02}",
        &text(name)[..],
        b"ctorch._utils\n_rebuild_tensor_v2\n(",
        &storage.concat(),
        &int(offset),
        &tuple(shape),
        &tuple(strides),
        b"\x89}tRs.",
    ]
    .concat()
}

fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.pth");
    std::fs::write(&path, bytes).unwrap();
    (directory, path)
}

/// Each of these would run code, or exhaust memory or the stack, in a reader that trusts it.
#[test]
fn hostile_pickles_are_refused() {
    let good = [1f32, 2., 3., 4.].map(f32::to_le_bytes).concat();
    let data: &[(&str, u64, &[u8])] = &[("0", 4, &good)];
    let marks = [b"\x80\x02", &vec![b'('; 5 << 20][..]].concat();
    // A list of a list of a list …, each used ten times.
    let mut laughs = b"\x80\x02]q\0".to_vec();
    for depth in 0..200u8 {
        laughs.extend(b"](");
        laughs.extend([b'h', depth].repeat(10));
        laughs.extend([b'e', b'q', depth + 1]);
    }
    let axes = [1; 100];
    let cases: [(&str, Vec<u8>, &str); 22] = [
        ("code", b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R.".to_vec(), "`os.system`"),
        (
            "code by name",
            b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85R.".to_vec(),
            "`posix.system`",
        ),
        ("code by instance", b"\x80\x02(X\x02\0\0\0lsios\nsystem\n.".to_vec(), "opcode 0x69"),
        ("extension", b"\x80\x02\x82\x01.".to_vec(), "opcode 0x82"),
        ("calling data", b"\x80\x02K\x01)R.".to_vec(), "calls something that is no function"),
        ("calling a class", b"\x80\x02ctorch\nFloatStorage\n)R.".to_vec(), "with 0 arguments"),
        ("empty stack", b"\x80\x02.".to_vec(), "off an empty stack"),
        ("below a mark", b"\x80\x02K\x01(0(\x85.".to_vec(), "off an empty stack"),
        ("no mark", b"\x80\x02K\x01t.".to_vec(), "closes a mark"),
        ("memo", b"\x80\x02h\x07.".to_vec(), "has not remembered"),
        ("text of 4 GiB", b"\x80\x02X\xff\xff\xff\xff.".to_vec(), "claims 4294967295 bytes"),
        (
            "text of 2⁶³",
            b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.".to_vec(),
            "claims 9223372036854775807",
        ),
        ("a million marks", marks, "too many opcodes"),
        ("laughs", [laughs, b".".to_vec()].concat(), "expected a dictionary"),
        ("a list in itself", b"\x80\x02]q\0h\0a.".to_vec(), "expected a dictionary"),
        ("protocol", b"\x80\x06N.".to_vec(), "protocol 6"),
        ("beyond", tensor("x", 4, 1, &[4], &[1]), "extends beyond its storage of 4 elements"),
        ("far beyond", tensor("x", 4, 0, &[2, 2], &[i32::MAX as u32, 1]), "extends beyond its storage"),
        ("negative", tensor("x", 4, 0, &[2], &[u32::MAX]), "expected a size of at least 0, found -1"),
        ("axes", tensor("x", 4, 0, &axes, &axes), "100 axes"),
        ("strides", tensor("x", 4, 0, &[2, 2], &[1]), "has the strides [1]"),
        ("more than it has", tensor("x", 5, 0, &[4], &[1]), "storage `0` has 4 elements, expected 5"),
    ];
    for (name, object, expected) in cases {
        let stored = if object.windows(5).any(|bytes| bytes == b"torch") { data } else { &[] };
        let (_directory, path) = written(&legacy(&object, stored));
        let message = refused(&path);
        assert!(message.starts_with(&format!("{}: ", path.display())), "{name}: {message}");
        assert!(message.contains(expected), "{name}: {message}");
    }
}

/// One element with a stride of zero is as many as the file claims. A few times it is a constant.
#[test]
fn a_number_that_repeats_without_end_is_refused() {
    let repeated = |len: &[u32]| written(&legacy(&tensor("fc.bias", 1, 0, len, &[0]), &[("0", 1, &[0; 4])]));
    let (_directory, path) = repeated(&[1 << 30]);
    let message = refused(&path);
    let words = "x.pth: tensor `fc.bias` repeats its numbers more often than the file has bytes";
    assert!(message.ends_with(words), "{message}");
    let (_directory, path) = repeated(&[4]);
    let message = refused(&path);
    assert!(message.contains("is missing") && !message.contains("`fc.bias`"), "{message}");
}

#[test]
fn a_safetensors_file_may_start_like_a_pickle() {
    let mut header = br#"{"fc.bias":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#.to_vec();
    header.resize(0x280, b' ');
    let (_directory, path) = written(&[&0x280u64.to_le_bytes()[..], &header, &[0; 16]].concat());
    assert!(refused(&path).contains("`fc.weight` is missing"), "read as safetensors");
}

/// No prefix of a file and no change of a byte does more than fail, and a damaged archive says so.
#[test]
fn damage_is_an_error() {
    for file in ["zip", "legacy", "views"] {
        let whole = std::fs::read(fixture(&format!("{file}.pth"))).unwrap();
        let (_directory, path) = written(&whole);
        for len in (0..whole.len()).step_by(3) {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert!(import(&path).is_err(), "{file}: {len} of {} bytes", whole.len());
        }
        for at in (0..whole.len()).step_by(3) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x41;
            std::fs::write(&path, &damaged).unwrap();
            let _ = import(&path);
        }
    }
    let mut whole = std::fs::read(fixture("zip.pth")).unwrap();
    let number = 1f32.to_le_bytes();
    let at = whole.windows(4).position(|bytes| bytes == number).unwrap();
    whole[at] ^= 1;
    let (_directory, path) = written(&whole);
    assert!(refused(&path).contains("is damaged: its checksum is wrong"));
}
