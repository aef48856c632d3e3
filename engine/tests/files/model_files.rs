//! Model files: a saved network loads bit for bit, and a damaged file is refused without a panic.

use crate::support::{Random, random_graph};
use lopper_engine::layer::{BatchNorm, Conv2d};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Layer, Param, Tensor, file};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

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

/// The bytes of the file of `graph`.
fn bytes_of(graph: &Graph) -> usize {
    let directory = tempfile::tempdir().unwrap();
    std::fs::read(saved(graph, directory.path())).unwrap().len()
}

/// The mask of a weight without live zeros is read from its zeros; one that keeps a zero is stored as bits. An earlier
/// program reads a file without masks.
#[test]
fn a_mask_takes_only_the_bytes_that_its_weight_does_not_show() {
    let mut dense = small();
    let weight = dense.param_mut("conv.weight").unwrap();
    weight.set_mask(None).unwrap();
    weight.set_value(Tensor::from_fn(&[2, 1, 1, 3], |i| i as f32 - 1.0)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = |graph: &Graph| {
        String::from_utf8_lossy(&std::fs::read(saved(graph, directory.path())).unwrap()).into_owned()
    };
    assert!(text(&dense).contains(r#"\"version\":3"#), "formats 3 and 4 agree on networks without masks");
    for (mask, form) in [([0., 0., 1., 1., 1., 1.], "zeros"), ([0., 1., 1., 1., 1., 1.], "bits")] {
        let mut sparse = dense.clone();
        let mask = Tensor::from_slice(&[2, 1, 1, 3], &mask).unwrap();
        sparse.param_mut("conv.weight").unwrap().set_mask(Some(mask.clone())).unwrap();
        let text = text(&sparse);
        assert!(text.contains(r#"\"version\":4"#) && text.contains(&format!("conv.weight.mask.{form}")));
        let loaded = file::load(directory.path().join("model.safetensors")).unwrap();
        let param = loaded.param("conv.weight").unwrap();
        // The live zero of the second mask is still live.
        assert_eq!(param.mask().unwrap().data(), mask.data(), "{form}");
        // The entry in the header, but no bytes for each weight.
        assert!(bytes_of(&sparse) <= bytes_of(&dense) + 88, "{form}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is masked, and whichever live weights are zero.
    #[test]
    fn every_mask_is_kept(seed in any::<u64>(), zeros in 0usize..60, dropped in 0usize..100) {
        let mut random = Random(seed);
        let mut graph = random_graph(seed % 64);
        for (_, param) in graph.params_mut().filter(|(path, _)| path.ends_with("weight")) {
            let shape = param.value().shape().to_vec();
            param.update(|w| w.iter_mut().for_each(|w| if random.chance(zeros) {
                *w = if random.chance(50) { 0.0 } else { -0.0 };
            }));
            let mask = Tensor::from_fn(&shape, |_| f32::from(u8::from(!random.chance(dropped))));
            param.set_mask(Some(mask)).unwrap();
        }
        let directory = tempfile::tempdir().unwrap();
        // A scale of zero is no error, but files hold no variance below zero: neither is changed here.
        let loaded = file::load(saved(&graph, directory.path())).unwrap();
        prop_assert!(same(&graph, &loaded));
    }
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
        (r#"\"version\":4"#, r#"\"version\":9"#, "model format 9"),
        ("OHWI", "OIHW", "layout OIHW"),
        (r#""lopper":"#, r#""other":"#, "not a lopper model"),
        (r#""conv.weight":"#, r#""conv.weigth":"#, "`conv.weight` is missing"),
        (r#""conv.weight.mask.bits":"#, r#""conv.other":"#, "`conv.other` belongs to no layer"),
        (
            r#""conv.weight.mask.bits":"#,
            r#""conv.weight.mask.zeros":"#,
            "mask.zeros`: expected no values, found 1",
        ),
        (r#""conv.weight.mask.bits":"#, r#""conv.weight.mask":"#, "[1] masks [2, 1, 1, 3]"),
        (r#""bn.running_var":"#, r#""bn.running_bar":"#, "`bn.running_var` is missing"),
        (r#"[2,1,1,3]},"conv.weight.mask.bits""#, r#"[6]},"conv.weight.mask.bits""#, "layer `conv`"),
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
fn unused_bits_of_a_mask_are_zero() {
    let directory = tempfile::tempdir().unwrap();
    let path = saved(&small(), directory.path());
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() |= 0x80; // The mask is the last tensor, and has six weights.
    std::fs::write(&path, bytes).unwrap();
    let message = file::load(&path).unwrap_err().to_string();
    assert!(message.contains("`conv.weight.mask.bits`") && message.contains("unused bits"), "{message}");
}
