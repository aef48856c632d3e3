//! Model files: a saved network loads bit for bit, and a damaged file is refused without a panic.

mod support;

use lopper_engine::layer::{BatchNorm, Conv2d};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Layer, Param, Tensor, file};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use support::{Random, random_graph};

static DEVICE: LazyLock<Device> = LazyLock::new(Device::cpu);

fn same(a: &Graph, b: &Graph) -> bool {
    let equal = |a: &Option<Tensor>, b: &Option<Tensor>| match (a, b) {
        (Some(a), Some(b)) => a.same_bits(b),
        (a, b) => a.is_none() && b.is_none(),
    };
    serde_json::to_string(a).unwrap() == serde_json::to_string(b).unwrap()
        && a.params().count() == b.params().count()
        && a.params().zip(b.params()).all(|((pa, a), (pb, b))| {
            pa == pb && a.value().same_bits(b.value()) && equal(&a.mask().cloned(), &b.mask().cloned())
        })
        && a.buffers().zip(b.buffers()).all(|((pa, a), (pb, b))| pa == pb && a.same_bits(b))
}

fn saved(graph: &Graph, directory: &Path) -> PathBuf {
    let path = directory.join("model.safetensors");
    file::save(graph, &path).unwrap();
    path
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_network_round_trips_through_a_file(seed in any::<u64>()) {
        let directory = tempfile::tempdir().unwrap();
        let mut graph = random_graph(seed);
        graph.info.std = vec![0.1 + seed as f32 / 7.0; graph.info.input[2]];
        let path = saved(&graph, directory.path());
        let loaded = file::load(&path).unwrap();
        prop_assert!(same(&graph, &loaded));
        let bytes = std::fs::read(&path).unwrap();
        file::save(&loaded, &path).unwrap();
        prop_assert!(bytes == std::fs::read(&path).unwrap(), "saved twice, the same bytes");
    }

    /// A file that loads describes a network that runs on the images it names.
    #[test]
    fn damage_is_an_error_or_harmless(seed in any::<u64>(), flips in 1usize..4, cut in prop::bool::weighted(0.2)) {
        let directory = tempfile::tempdir().unwrap();
        let path = saved(&random_graph(seed % 16), directory.path());
        let whole = std::fs::read(&path).unwrap();
        let mut random = Random(seed);
        let mut bytes = whole.clone();
        let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        for _ in 0..flips {
            // Mostly in the header, because a flip among the weights is seldom visible. A digit becomes another digit,
            // because most other damage stops at the JSON parser.
            let end = if random.chance(80) { header } else { whole.len() };
            let at = random.int(0, end - 1);
            bytes[at] = match bytes[at] {
                b'0'..=b'9' => b'0' + random.int(0, 9) as u8,
                _ => random.next() as u8,
            };
        }
        if cut {
            bytes.truncate(random.int(0, whole.len() - 1));
        }
        std::fs::write(&path, &bytes).unwrap();
        match file::load(&path) {
            Ok(graph) => {
                let [h, w, c] = graph.info.input;
                let shapes = graph.shapes([1, h, w, c]).unwrap();
                graph.costs(graph.info.input).unwrap();
                // A changed digit may require much memory, which this test does not spend.
                if shapes.iter().all(|s| s.iter().product::<usize>() < 1 << 16) {
                    let mut plan = Plan::new(&graph, [1, h, w, c], &DEVICE).unwrap();
                    plan.run(&vec![1.0; h * w * c]).unwrap();
                }
            }
            Err(e) => prop_assert!(e.to_string().contains("model.safetensors"), "{}", e),
        }
    }
}

/// Builds a small network with every kind of tensor: parameters, a mask, running statistics.
fn small() -> Graph {
    let mut graph = Graph::new(3);
    let mut weight = Param::new(Tensor::from_fn(&[2, 1, 1, 3], |i| i as f32));
    weight.set_mask(Some(Tensor::from_vec(&[2, 1, 1, 3], vec![1., 1., 1., 0., 0., 0.]).unwrap())).unwrap();
    weight.trainable = false;
    let conv = Conv2d {
        weight,
        bias: None,
        stride: [1; 2],
        padding: [0; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
    };
    graph.push("conv", Layer::Conv2d(conv), &[0]).unwrap();
    graph.push("bn", Layer::BatchNorm(BatchNorm::new(2)), &[1]).unwrap();
    graph.info.input = [4, 4, 3];
    graph
}

#[test]
fn flags_and_masks_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let graph = file::load(saved(&small(), directory.path())).unwrap();
    let weight = graph.param("conv.weight").unwrap();
    assert!(!weight.trainable && graph.param("bn.weight").unwrap().trainable);
    assert_eq!(weight.masked_fraction(), 0.5);
}

/// Rewrites the header of a saved [`small`] with `edit` and returns the error of loading it.
fn refusal(edit: impl Fn(&str) -> String) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = saved(&small(), directory.path());
    let whole = std::fs::read(&path).unwrap();
    let len = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let header = edit(std::str::from_utf8(&whole[8..8 + len]).unwrap());
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &whole[8 + len..]].concat();
    std::fs::write(&path, bytes).unwrap();
    let message = file::load(&path).expect_err(&header).to_string();
    assert!(message.contains("model.safetensors: "), "{message}");
    message
}

#[test]
fn each_inconsistency_is_named() {
    // In the header, the graph is JSON text inside JSON, so its quotes are escaped.
    let cases = [
        (r#"\"version\":3"#, r#"\"version\":9"#, "model format 9"),
        ("OHWI", "OIHW", "layout OIHW"),
        (r#""lopper":"#, r#""other":"#, "not a lopper model"),
        (r#""conv.weight":"#, r#""conv.weigth":"#, "`conv.weight` is missing"),
        (r#""conv.weight.mask":"#, r#""conv.other":"#, "`conv.other` belongs to no layer"),
        (r#""bn.running_var":"#, r#""bn.running_bar":"#, "`bn.running_var` is missing"),
        (r#"[2,1,1,3]},"conv.weight.mask""#, r#"[6]},"conv.weight.mask""#, "masks"),
        (r#""dtype":"U8""#, r#""dtype":"I8""#, "expected the type [U8], found I8"),
        (r#"\"stride\":[1,1]"#, r#"\"stride\":[0,1]"#, "a size of 0"),
        (r#"\"stride\":[1,1]"#, r#"\"stride\":[1,-1]"#, "damaged"),
        (r#"\"padding\":[0,0]"#, r#"\"padding\":[18446744073709551615,0]"#, "a size of 18446744073709551615"),
        (r#"\"groups\":1"#, r#"\"groups\":3"#, "3 groups do not divide 2 filters"),
        (r#"\"groups\":1"#, r#"\"groups\":2"#, "expected 6 input channels"),
        (r#"\"inputs\":[1]"#, r#"\"inputs\":[2]"#, "does not come before it"),
        (r#"\"inputs\":[1]"#, r#"\"inputs\":[]"#, "cannot have 0 inputs"),
        (r#"\"name\":\"conv\""#, r#"\"name\":\"bn\""#, "the same name"),
        (r#"\"input\":[4,4,3]"#, r#"\"input\":[4,0,3]"#, "does not specify its image size"),
        (r#"\"input\":[4,4,3]"#, r#"\"input\":[4000000000,4000000000,3]"#, "holds more than"),
        (r#"\"classes\":[]"#, r#"\"classes\":[\"cat\"]"#, "names 1 classes and has 2 outputs"),
        (r#"\"std\":[]"#, r#"\"std\":[1,1,0]"#, "not valid standard deviations"),
        (r#"\"eps\":0.00001"#, r#"\"eps\":-1"#, "out of range"),
    ];
    for (old, new, expected) in cases {
        let message = refusal(|header| {
            assert!(header.contains(old), "{old} is not in {header}");
            header.replacen(old, new, 1)
        });
        assert!(message.contains(expected), "{new}: expected `{expected}`, found `{message}`");
    }
}

#[test]
fn files_that_are_not_models_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    for bytes in [&b""[..], b"\x10", &[0xff; 64], &u64::MAX.to_le_bytes(), b"\x02\0\0\0\0\0\0\0{}"] {
        std::fs::write(&path, bytes).unwrap();
        let message = file::load(&path).unwrap_err().to_string();
        assert!(message.contains("model.safetensors: not a"), "{message}");
    }
    let message = file::load(directory.path().join("none")).unwrap_err().to_string();
    assert!(message.contains("none: cannot be read"), "{message}");
}

#[test]
fn a_network_that_could_not_be_loaded_is_not_saved() {
    let directory = tempfile::tempdir().unwrap();
    let path = saved(&small(), directory.path());
    let before = std::fs::read(&path).unwrap();
    let mut graph = small();
    graph.param_mut("bn.bias").unwrap().update(|b| b[1] = f32::NAN);
    let message = file::save(&graph, &path).unwrap_err().to_string();
    assert!(message.contains("`bn.bias` holds NaN"), "{message}");
    assert_eq!(before, std::fs::read(&path).unwrap());
}

#[test]
fn masks_are_zeros_and_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = saved(&small(), directory.path());
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() = 2; // The mask is the last tensor.
    std::fs::write(&path, bytes).unwrap();
    let message = file::load(&path).unwrap_err().to_string();
    assert!(message.contains("`conv.weight.mask`") && message.contains("zeros and ones"), "{message}");
}
