//! Pools as ONNX's nodes.

use super::document::{Document, Value};
use crate::Result;
use crate::graph::geometry::image;
use crate::graph::pool::{FixedWindow, Pool, PoolKind, Window};
use lopper_kernels::shapes::AdaptivePool2d;

/// Writes `pool` of the value `x` of `shape` as the value `name`.
pub(super) fn write(
    document: &mut Document,
    pool: Pool,
    opset: u32,
    shape: &[usize],
    [x, name]: [&str; 2],
) -> Result<()> {
    let [_, h, w, _] = image("pool", shape)?;
    match pool.window {
        Window::Fixed(window) => fixed(document, pool.kind, window, shape, [x, name])?,
        Window::Global => global(document, pool.kind, x, name),
        Window::Adaptive([1, 1]) => global(document, pool.kind, x, name),
        Window::Adaptive(out) => {
            Adaptive { document, kind: pool.kind, opset, size: [h, w], out }.write(x, name);
        }
    }
    Ok(())
}

fn global(document: &mut Document, kind: PoolKind, x: &str, name: &str) {
    let op = match kind {
        PoolKind::Max => "GlobalMaxPool",
        PoolKind::Average => "GlobalAveragePool",
    };
    document.node(op, &[x], name, &[]);
}

/// Rounding up is written as the padding behind the image that it amounts to, because programs disagree on the last
/// window.
fn fixed(
    document: &mut Document,
    kind: PoolKind,
    window: FixedWindow,
    shape: &[usize],
    [x, name]: [&str; 2],
) -> Result<()> {
    let geometry = window.geometry(shape)?;
    let FixedWindow { kernel, stride, padding, ceil_mode, count_include_pad } = window;
    let (size, out) = ([geometry.h, geometry.w], [geometry.oh(), geometry.ow()]);
    let behind = [0, 1].map(|axis| {
        let reach = (out[axis] - 1) * stride[axis] + kernel[axis];
        if ceil_mode {
            padding[axis].max(reach.saturating_sub(size[axis] + padding[axis]))
        } else {
            padding[axis]
        }
    });
    let counts = kind == PoolKind::Average && count_include_pad && padding != [0; 2];
    let (mut front, mut end, mut x) = (padding, behind, x.to_string());
    if counts && behind != padding {
        // A mean counts the padding, but not what rounding up adds.
        let pads = [0, 0, padding[0], padding[1], 0, 0, padding[0], padding[1]].map(|p| p as i64);
        let pads = document.ints(&format!("{name}.pads"), &pads);
        x = document.step("Pad", &[&x, &pads], &format!("{name}.padded"), &[]);
        (front, end) = ([0; 2], [0, 1].map(|axis| behind[axis] - padding[axis]));
    }
    let include = counts && behind == padding;
    let (kernel, strides) = (kernel.map(|k| k as i64), stride.map(|s| s as i64));
    let pads = [front[0], front[1], end[0], end[1]].map(|p| p as i64);
    let mut attributes = vec![
        ("kernel_shape", Value::Ints(&kernel)),
        ("strides", Value::Ints(&strides)),
        ("pads", Value::Ints(&pads)),
    ];
    let op = match kind {
        PoolKind::Max => "MaxPool",
        PoolKind::Average => {
            attributes.push(("count_include_pad", Value::Int(include.into())));
            "AveragePool"
        }
    };
    document.node(op, &[&x], name, &attributes);
    Ok(())
}

/// An adaptive pool of an image of known size.
struct Adaptive<'d> {
    document: &'d mut Document,
    kind: PoolKind,
    opset: u32,
    size: [usize; 2],
    out: [usize; 2],
}

impl Adaptive<'_> {
    fn write(mut self, x: &str, name: &str) {
        let (size, out) = (self.size, self.out);
        if size == out {
            return self.document.node("Identity", &[x], name, &[]);
        }
        if [0, 1].iter().all(|&axis| size[axis].is_multiple_of(out[axis])) {
            let kernel = [0, 1].map(|axis| (size[axis] / out[axis]) as i64);
            let attributes = [("kernel_shape", Value::Ints(&kernel)), ("strides", Value::Ints(&kernel))];
            let op = match self.kind {
                PoolKind::Max => "MaxPool",
                PoolKind::Average => "AveragePool",
            };
            return self.document.node(op, &[x], name, &attributes);
        }
        // Windows are products of rows and columns: the rows are pooled first, then the columns.
        match (size[0] == out[0], size[1] == out[1]) {
            (true, _) => self.along(1, x, name, true),
            (_, true) => self.along(0, x, name, true),
            _ => {
                let rows = self.along(0, x, &format!("{name}.rows"), false);
                self.along(1, &rows, name, true)
            }
        };
    }

    /// Pools along `axis` of `[height, width]`. The name of the result is free unless `reserved`.
    fn along(&mut self, axis: usize, x: &str, name: &str, reserved: bool) -> String {
        let (size, out) = (self.size[axis], self.out[axis]);
        let axis = 2 + axis as i64;
        let axes = self.document.ints(&format!("{name}.axes"), &[axis]);
        let mut parts = Vec::new();
        for i in 0..out {
            let window = AdaptivePool2d::window(i, size, out);
            let start = self.document.ints(&format!("{name}.start{i}"), &[window.start as i64]);
            let end = self.document.ints(&format!("{name}.end{i}"), &[window.end as i64]);
            let inputs = [x, &start, &end, &axes];
            let part = self.document.step("Slice", &inputs, &format!("{name}.window{i}"), &[]);
            parts.push(self.reduce(&part, axis, &axes, &format!("{name}.part{i}")));
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let attributes = [("axis", Value::Int(axis))];
        if reserved {
            self.document.node("Concat", &parts, name, &attributes);
            return name.to_string();
        }
        self.document.step("Concat", &parts, name, &attributes)
    }

    /// The axes were an attribute before opset 18.
    fn reduce(&mut self, x: &str, axis: i64, axes: &str, name: &str) -> String {
        let op = match self.kind {
            PoolKind::Max => "ReduceMax",
            PoolKind::Average => "ReduceMean",
        };
        match self.opset {
            ..18 => self.document.step(op, &[x], name, &[("axes", Value::Ints(&[axis]))]),
            _ => self.document.step(op, &[x, axes], name, &[]),
        }
    }
}
