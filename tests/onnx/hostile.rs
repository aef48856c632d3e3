//! Files that are not what they seem: each is refused in one line that says why.

use crate::by_hand::{bytes, constant, int, integer, integers, model, node, varint};
use crate::runtime::small;
use lopper_engine::onnx::{ImportOptions, OnnxOptions, export, import};
use std::fs;
use std::path::Path;

/// The message with which `content` is refused.
#[track_caller]
fn refusal(content: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    fs::write(&path, content).unwrap();
    let message = import(&path, &ImportOptions::default()).expect_err("a refusal").to_string();
    assert!(message.contains("x.onnx: ") && !message.contains('\n'), "{message}");
    message
}

#[test]
fn graphs_that_cannot_be_are_refused() {
    let relu = |input: &str, output: &str| node("Relu", &[input], output, &[]);
    let weight = |dims: &[i64], data: &[u8]| constant("w", dims, data);
    let conv = || node("Conv", &["x", "w"], "y", &[]);
    let four = [0u8; 4];
    for (graph, words) in [
        (vec![relu("b", "a"), relu("a", "b"), relu("x", "y")], "reads `b`, which no earlier node makes"),
        (vec![relu("y", "y")], "reads `y`, which no earlier node makes"),
        (vec![relu("x", "y"), relu("x", "y")], "makes `y`, which exists already"),
        (vec![relu("x", "z")], "no node makes its output `y`"),
        (vec![weight(&[-1, 2, 1, 1], &bytes(9, &four)), conv()], "constant `w` has the shape [-1, 2, 1, 1]"),
        (vec![weight(&[1, 2, 1, 1], &bytes(9, &four)), conv()], "has 4 bytes"),
        (
            vec![weight(&[i64::MAX, i64::MAX, 1, 1], &bytes(9, &four)), conv()],
            "more elements than there can be",
        ),
        (vec![weight(&[1 << 40, 2, 1, 1], &bytes(9, &four)), conv()], "has 4 bytes"),
        (vec![weight(&[1, 1, 1, 1], &bytes(9, &four)), conv()], "expected 1 input channels, found 2"),
        (vec![node("Warp", &["x"], "y", &[])], "node `y` (Warp) is an operator that is not understood"),
        (vec![node("Relu", &[], "y", &[])], "lacks its input 0"),
    ] {
        let message = refusal(&model(&graph));
        assert!(message.contains(words), "expected `{words}` in: {message}");
    }
}

#[test]
fn all_nodes_that_are_not_understood_are_in_one_list() {
    let graph: Vec<_> = (0..30)
        .map(|i| node("Warp", &["x"], &format!("n{i}"), &[]))
        .chain([node("Relu", &["n1"], "y", &[])])
        .collect();
    let message = refusal(&model(&graph));
    assert_eq!(message.matches("(Warp)").count(), 20);
    assert!(message.ends_with("and 10 more"), "{message}");
}

#[test]
fn claims_cost_nothing() {
    // A million nodes of two bytes each.
    let message = refusal(&model(&[[0x0A, 0x00].repeat(1_000_000)]));
    assert!(message.contains("has more than 65536 nodes"), "{message}");
    let shape = bytes(
        5,
        &[&int(1, 2)[..], &int(2, 7), &bytes(8, b"s"), &bytes(7, &varint(1 << 40)), &bytes(7, &varint(1))]
            .concat(),
    );
    let message = refusal(&model(&[shape, node("ConstantOfShape", &["s"], "y", &[])]));
    assert!(message.contains("far more numbers than the file has"), "{message}");
    // Sizes that double, and axes without end.
    let doubled = (0..200).map(|i| {
        let input = if i == 0 { "x".into() } else { format!("d{}", i - 1) };
        node("Concat", &[&input, &input], &format!("d{i}"), &integer("axis", 1))
    });
    let message = refusal(&model(&doubled.chain([node("Relu", &["d199"], "y", &[])]).collect::<Vec<_>>()));
    assert!(message.contains("more than 4294967296 values"), "{message}");
    let axes: Vec<u8> = (0..100_000).flat_map(|i| int(8, i)).collect();
    let message = refusal(&model(&[node(
        "Unsqueeze",
        &["x"],
        "y",
        &bytes(5, &[&bytes(1, b"axes")[..], &axes, &int(20, 7)].concat()),
    )]));
    assert!(message.contains("has 100000 axes"), "{message}");
    // A thousand layers that share one weight.
    let weight = constant("w", &[64, 64], &bytes(9, &[0; 4 * 64 * 64]));
    let layers = (0..1000).map(|i| node("MatMul", &["v", "w"], &format!("n{i}"), &[]));
    let start =
        [weight, node("GlobalMaxPool", &["x"], "p", &[]), constant("e", &[64, 2], &bytes(9, &[0; 512]))];
    let rest = [node("Flatten", &["p"], "f", &[]), node("Gemm", &["f", "e"], "v", &integer("transB", 1))];
    let graph: Vec<_> = start.into_iter().chain(rest).chain(layers).collect();
    let message = refusal(&model(&graph));
    assert!(message.contains("shares its weights with so many nodes"), "{message}");
}

#[test]
fn external_data_stays_in_its_folder() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("inner");
    fs::create_dir(&folder).unwrap();
    fs::write(outer.path().join("secret"), [0; 64]).unwrap();
    fs::write(folder.join("w.bin"), [[0; 8], 1.5f32.to_le_bytes().repeat(2).try_into().unwrap()].concat())
        .unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(outer.path().join("secret"), folder.join("link")).unwrap();
    let secret = outer.path().join("secret");
    let read = |location: &str, offset: &str| {
        let entry = |key: &str, value: &str| {
            bytes(13, &[bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat())
        };
        let data = [entry("location", location), entry("offset", offset), int(14, 1)].concat();
        let path = folder.join("x.onnx");
        let content = model(&[constant("w", &[1, 2, 1, 1], &data), node("Conv", &["x", "w"], "y", &[])]);
        fs::write(&path, content).unwrap();
        import(&path, &ImportOptions::default()).map_err(|e| e.to_string())
    };
    let graph = read("w.bin", "8").unwrap().graph;
    assert_eq!(graph.param("y.weight").unwrap().value().data(), [1.5, 1.5]);
    for (location, offset, words) in [
        ("../secret", "0", "outside the folder of the ONNX file"),
        (secret.to_str().unwrap(), "0", "outside the folder of the ONNX file"),
        ("", "0", "outside the folder of the ONNX file"),
        ("link", "0", "outside the folder of the ONNX file"),
        ("absent", "0", "cannot be read"),
        ("w.bin", "9", "lies behind the end of `w.bin`"),
        ("w.bin", "18446744073709551615", "lies behind the end of `w.bin`"),
        ("w.bin", "-1", "which is no number"),
        (".", "0", "expected a regular file, found a directory"),
    ] {
        let message = read(location, offset).expect_err("a refusal");
        assert!(message.contains(words), "{location}: expected `{words}` in: {message}");
    }
}

/// A sparse file is longer than any memory.
#[test]
fn external_data_that_do_not_fit_into_memory_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, weights) = (folder.path().join("x.onnx"), folder.path().join("w.bin"));
    if fs::File::create(weights).unwrap().set_len(1 << 42).is_err() {
        return; // a file system with shorter files
    }
    let location = bytes(13, &[bytes(1, b"location"), bytes(2, b"w.bin")].concat());
    let weight = constant("w", &[32, 1 << 35], &[location, int(14, 1)].concat());
    let shape = integers("s", &[1, 32]);
    let graph =
        [weight, shape, node("Reshape", &["x", "s"], "v", &[]), node("MatMul", &["v", "w"], "y", &[])];
    fs::write(&path, model(&graph)).unwrap();
    let message = import(&path, &ImportOptions::default()).expect_err("a refusal").to_string();
    assert!(message.contains("constant `w` is too large: its bytes take 4.0 TiB"), "{message}");
}

/// Every prefix of a file, and files with changed bytes: read or refused, never a panic.
#[test]
fn damaged_files_are_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    export(&small("resnet8", 1), &path, &OnnxOptions::default()).unwrap();
    let whole = fs::read(&path).unwrap();
    let attempt = |content: &[u8], path: &Path| {
        fs::write(path, content).unwrap();
        import(path, &ImportOptions::default()).map(drop).map_err(|e| e.to_string())
    };
    assert_eq!(attempt(&whole, &path), Ok(()));
    for end in (0..whole.len()).step_by(whole.len() / 150) {
        let message = attempt(&whole[..end], &path).unwrap_err();
        assert!(message.contains("x.onnx: "), "{message}");
    }
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    // Nodes come before weights.
    for _ in 0..600 {
        let mut content = whole.clone();
        for _ in 0..=random(3) {
            let at = if random(4) == 0 { random(content.len()) } else { random(3000) };
            content[at] = random(256) as u8;
        }
        let _ = attempt(&content, &path);
    }
}
