//! Quantized numbers: weights with a scale for each filter, values with a scale for each channel.

use crate::by_hand::{bytes, floats, integer, model, node, of_type};
use lopper_engine::onnx::{ImportOptions, Imported, import};

const UINT8: i64 = 2;
const INT8: i64 = 3;

fn read(graph: &[Vec<u8>]) -> Result<Imported, String> {
    let file = tempfile::Builder::new().suffix(".onnx").tempfile().unwrap();
    std::fs::write(file.path(), model(graph)).unwrap();
    import(file.path(), &ImportOptions::default()).map_err(|e| e.to_string())
}

/// A network that quantizes its two channels along `axis` with two scales, and restores them by the scales and zero points
/// of `restored`, before a convolution whose weights have a scale for each filter.
fn network(axis: i64, restored: [&str; 2]) -> Vec<Vec<u8>> {
    let axis = integer("axis", axis);
    vec![
        floats("s", &[2], &[0.5, 0.25]),
        floats("t", &[2], &[0.5, 0.125]),
        of_type(UINT8, "z", &[2], &bytes(9, &[7, 128])),
        of_type(UINT8, "o", &[2], &bytes(9, &[7, 127])),
        floats("ws", &[2], &[0.5, 2.0]),
        of_type(INT8, "wz", &[2], &bytes(9, &[0, 3])),
        of_type(INT8, "w8", &[2, 2, 1, 1], &bytes(9, &[4, 0xFC, 3, 4])),
        node("QuantizeLinear", &["x", "s", "z"], "q", &axis),
        node("DequantizeLinear", &["q", restored[0], restored[1]], "d", &axis),
        node("DequantizeLinear", &["w8", "ws", "wz"], "w", &integer("axis", 0)),
        node("Conv", &["d", "w"], "y", &[]),
    ]
}

#[test]
fn each_filter_and_each_channel_may_have_a_scale() {
    for axis in [1, -3] {
        let Imported { graph, notes } = read(&network(axis, ["s", "z"])).unwrap();
        // (4, −4) · ½ and (3 − 3, 4 − 3) · 2.
        assert_eq!(graph.param("y.weight").unwrap().value().data(), [2.0, -2.0, 0.0, 2.0]);
        assert_eq!(graph.nodes().len(), 2, "the pair around values leaves no layer");
        assert!(notes.iter().any(|note| note.contains("`d` (DequantizeLinear) is left out")), "{notes:?}");
    }
}

#[test]
fn values_are_restored_by_their_own_scales_along_an_axis_that_fits() {
    for (axis, restored, words) in [
        (1, ["t", "z"], "other scales or zero points"),
        (1, ["s", "o"], "other scales or zero points"),
        (2, ["s", "z"], "has 2 scales along axis 2 of the shape [0, 2, 4, 4]"),
        (0, ["s", "z"], "has 2 scales along axis 0"),
        (9, ["s", "z"], "has 2 scales along axis"),
    ] {
        let message = read(&network(axis, restored)).expect_err("a refusal");
        assert!(message.contains(words), "expected `{words}` in: {message}");
    }
}
