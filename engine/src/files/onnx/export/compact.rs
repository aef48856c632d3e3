//! Compact convolutions as ONNX's nodes, in two forms:
//!
//! ```text
//!   gather:   x ─ Gather(live inputs) ─ Conv ─ (+ carrier) ─ Pad(a zero channel) ─ Gather(outputs) ─ (+ fill) ─ y
//!   dense:    x ─ Conv(zeros for what is dead, fill as bias) ─ (+ carrier) ─ y
//! ```
//!
//! Scattering by `ScatterElements` would need an index for each pixel of each image; the channels of the result are
//! gathered instead, and those that are not computed come from one padded channel of zeros. The carrier's effect on an
//! image of known size is a constant.

use super::convs::write_conv;
use super::document::{Document, Value};
use super::options::CompactForm;
use crate::files::compact;
use crate::graph::layer::CompactConv2d;
use crate::{Result, Tensor};
use lopper_kernels::shapes::Conv2d;

/// Writes `compact` of the value `x` of `shape` as the value `name`.
pub(super) fn write(
    document: &mut Document,
    compact: &CompactConv2d,
    form: CompactForm,
    shape: &[usize],
    [x, name]: [&str; 2],
) -> Result<()> {
    let geometry = compact.geometry(shape)?;
    // A product over no channels is none.
    let empty = compact.inputs.is_empty() || compact.outputs.is_empty();
    match form {
        CompactForm::Gather if !empty => gather(document, compact, &geometry, x, name),
        _ => dense(document, compact, &geometry, x, name),
    }
    Ok(())
}

fn gather(document: &mut Document, compact: &CompactConv2d, geometry: &Conv2d, x: &str, name: &str) {
    let carried = compact::carried(compact, geometry);
    let index = |list: &[u32]| list.iter().map(|&i| i64::from(i)).collect::<Vec<_>>();
    let channel = [("axis", Value::Int(1))];
    let mut x = x.to_string();
    if compact.inputs.len() < compact.in_width {
        let live = document.ints(&format!("{name}.inputs"), &index(&compact.inputs));
        x = document.step("Gather", &[&x, &live], &format!("{name}.gathered"), &channel);
    }
    let weight = compact.conv.weight.value();
    let weight = weight.select(3, &(0..compact.inputs.len()).collect::<Vec<_>>());
    let none = Tensor::zeros(&[0]);
    let bias = compact.conv.bias.as_ref().map_or(&none, |bias| bias.value());
    let width = compact.fill.len();
    let (scatters, carries) = (compact.outputs.len() < width, carried.is_some());
    let mut y = match scatters || carries {
        true => document.fresh(&format!("{name}.convolved")),
        false => name.to_string(),
    };
    write_conv(document, &compact.conv, [&weight, bias], &x, &y);
    if let Some(carried) = carried {
        y = add_carried(document, carried, &y, name, !scatters);
    }
    if scatters {
        scatter(document, compact, &y, name);
    }
}

/// Adds `carried`, `[outputs, OH, OW]`, to each image. The result is the value `name` if it is the `last` one.
fn add_carried(document: &mut Document, carried: Tensor, y: &str, name: &str, last: bool) -> String {
    let shape = [&[1], carried.shape()].concat();
    let term = carried.reshape(&shape).expect("a leading axis changes no length");
    let term = document.floats(&format!("{name}.carried"), &term);
    if last {
        document.node("Add", &[y, &term], name, &[]);
        return name.to_string();
    }
    document.step("Add", &[y, &term], &format!("{name}.whole"), &[])
}

/// Puts the computed channels at their places, between constant ones.
fn scatter(document: &mut Document, compact: &CompactConv2d, y: &str, name: &str) {
    let (computed, width) = (compact.outputs.len(), compact.fill.len());
    let mut place = vec![computed as i64; width];
    compact.outputs.iter().enumerate().for_each(|(i, &o)| place[o as usize] = i as i64);
    let pads = document.ints(&format!("{name}.pads"), &[0, 0, 0, 0, 0, 1, 0, 0]);
    let padded = document.step("Pad", &[y, &pads], &format!("{name}.padded"), &[]);
    let fill = Tensor::from_fn(&[1, width, 1, 1], |o| match place[o] == computed as i64 {
        true => compact.fill[o],
        false => 0.0,
    });
    let place = document.ints(&format!("{name}.places"), &place);
    let (inputs, axis) = ([padded.as_str(), &place], [("axis", Value::Int(1))]);
    if fill.data().iter().all(|&v| v == 0.0) {
        return document.node("Gather", &inputs, name, &axis);
    }
    let scattered = document.step("Gather", &inputs, &format!("{name}.scattered"), &axis);
    let fill = document.floats(&format!("{name}.fill"), &fill);
    document.node("Add", &[&scattered, &fill], name, &[]);
}

fn dense(document: &mut Document, compact: &CompactConv2d, geometry: &Conv2d, x: &str, name: &str) {
    let conv = compact::dense(compact);
    let carried = compact::carried_of_all(compact, geometry);
    let convolved = match carried {
        Some(_) => document.fresh(&format!("{name}.convolved")),
        None => name.to_string(),
    };
    let none = Tensor::zeros(&[0]);
    let bias = conv.bias.as_ref().map_or(&none, |bias| bias.value());
    write_conv(document, &conv, [conv.weight.value(), bias], x, &convolved);
    if let Some(carried) = carried {
        add_carried(document, carried, &convolved, name, true);
    }
}
