//! Resizing, and zeros between pixels, as ONNX's nodes.

use super::document::{Document, Value};
use crate::graph::resize::{Coordinates, Resize, ResizeSize, Rounding, Sampling};
use crate::{Result, Tensor};

/// Writes `resize` of the value `x` of `shape` as the value `name`.
pub(super) fn resize(
    document: &mut Document,
    resize: &Resize,
    opset: u32,
    shape: &[usize],
    [x, name]: [&str; 2],
) -> Result<()> {
    let g = resize.geometry(shape)?;
    let coordinates = match resize.sampling {
        Sampling::Nearest(coordinates, _) | Sampling::Bilinear(coordinates) => coordinates,
    };
    let coordinates = match coordinates {
        Coordinates::HalfPixel => "half_pixel",
        Coordinates::Asymmetric => "asymmetric",
        Coordinates::AlignCorners => "align_corners",
    };
    let mut attributes = vec![("coordinate_transformation_mode", Value::Text(coordinates))];
    match resize.sampling {
        Sampling::Nearest(_, rounding) => {
            let rounding = match rounding {
                Rounding::Floor => "floor",
                Rounding::Ceil => "ceil",
                Rounding::HalfDown => "round_prefer_floor",
                Rounding::HalfUp => "round_prefer_ceil",
            };
            attributes.push(("mode", Value::Text("nearest")));
            attributes.push(("nearest_mode", Value::Text(rounding)));
        }
        Sampling::Bilinear(_) => attributes.push(("mode", Value::Text("linear"))),
    }
    if let (ResizeSize::Fixed(size), 18..) = (resize.size, opset) {
        attributes.push(("axes", Value::Ints(&[2, 3])));
        let sizes = document.ints(&format!("{name}.sizes"), &size.map(|size| size as i64));
        document.node("Resize", &[x, "", "", &sizes], name, &attributes);
        return Ok(());
    }
    let scales = [1.0, 1.0, scale(g.h, g.oh), scale(g.w, g.ow)];
    let scales = document.floats(&format!("{name}.scales"), &Tensor::from_fn(&[4], |i| scales[i]));
    // A region that is not read, which may be left out since version 13.
    let region = match opset {
        ..13 => document.floats(&format!("{name}.region"), &Tensor::zeros(&[0])),
        _ => String::new(),
    };
    document.node("Resize", &[x, &region, &scales], name, &attributes);
    Ok(())
}

/// The quotient of the sizes, of which ONNX rounds the product with `size` down.
fn scale(size: usize, out: usize) -> f32 {
    let scale = (out as f64 / size as f64) as f32;
    if scale * size as f32 >= out as f32 { scale } else { scale.next_up() }
}

/// Writes zeros between the pixels of the value `x` of `shape` as the value `name`: a transposed convolution of each channel
/// with the number one.
pub(super) fn dilate(document: &mut Document, stride: [usize; 2], shape: &[usize], [x, name]: [&str; 2]) {
    let channels = shape[shape.len() - 1];
    let ones = document.floats(&format!("{name}.ones"), &Tensor::full(&[channels, 1, 1, 1], 1.0));
    let strides = stride.map(|s| s as i64);
    let attributes = [
        ("kernel_shape", Value::Ints(&[1, 1])),
        ("strides", Value::Ints(&strides)),
        ("group", Value::Int(channels as i64)),
    ];
    document.node("ConvTranspose", &[x, &ones], name, &attributes);
}
