//! Convolutions and both their gradients: one group with every grade, several groups with the dispatched kernels.

use super::products::limit;
use crate::selftest::case::Case;
use crate::selftest::grades::{Grade, Pass};
use crate::selftest::line::Tally;
use crate::selftest::rig::{Rig, factors, random};
use lopper_engine::Result;
use lopper_kernels::cpu;
use lopper_kernels::cuda::Epilogue;
use lopper_kernels::params::{Activation, Dtype};
use lopper_kernels::shapes::Conv2d;

/// Returns a case for each pass.
pub fn cases(grade: Grade, precision: Dtype) -> Vec<Case> {
    let of = |pass: Pass| {
        let how = format!("{}, {}", grade.name(), precision.name());
        let chosen = grade == Grade::Chosen;
        let what = if chosen { "conv2d in groups" } else { "conv2d" };
        Case::check(format!("{what}, {}", pass.name()), how, move |rig, tally| {
            for g in geometries(rig.large).into_iter().filter(|g| !chosen || g.groups > 1) {
                match grade.applies(&rig.gpu, pass, &g, precision) {
                    Ok(()) => one(rig, tally, grade, precision, pass, &g)?,
                    Err(why) => tally.skip(why),
                }
            }
            Ok(())
        })
    };
    Pass::ALL.map(of).into()
}

/// Returns odd shapes with every option; on a GPU, also layers of VGG16 and the ResNets on four images of 224 pixels.
fn geometries(large: bool) -> Vec<Conv2d> {
    let square = Conv2d::square;
    let mut all = vec![
        square([2, 9, 8, 12], 20, 3, 1, 1),
        square([1, 23, 24, 3], 24, 7, 2, 3),
        square([3, 5, 5, 24], 9, 1, 1, 0),
        square([2, 9, 8, 16], 40, 1, 2, 0),
        square([1, 7, 6, 5], 7, 2, 1, 2),
        square([2, 7, 9, 40], 72, 3, 1, 1),
        square([1, 12, 13, 130], 12, 3, 1, 1),
        square([5, 10, 11, 64], 200, 1, 1, 0),
        Conv2d { dilation: [2, 1], padding: [0, 2], ..square([1, 9, 8, 8], 16, 3, 1, 0) },
        Conv2d { dilation: [2, 2], stride: [2, 1], ..square([1, 13, 13, 8], 8, 3, 2, 0) },
        Conv2d { groups: 2, ..square([2, 9, 9, 12], 8, 3, 1, 1) },
        Conv2d { groups: 40, ..square([1, 31, 30, 40], 40, 3, 1, 1) },
        Conv2d { groups: 5, ..square([3, 17, 14, 5], 5, 5, 2, 2) },
    ];
    if large {
        all.extend(layers());
    }
    all
}

fn layers() -> Vec<Conv2d> {
    // Side, channels, filters, kernel, stride.
    let layers = [
        (224, 3, 64, 3, 1),
        (224, 64, 64, 3, 1),
        (112, 64, 128, 3, 1),
        (56, 128, 256, 3, 1),
        (28, 256, 512, 3, 1),
        (14, 512, 512, 3, 1),
        (224, 3, 64, 7, 2),
        (56, 64, 64, 3, 1),
        (56, 64, 128, 3, 2),
        (56, 64, 256, 1, 1),
        (28, 512, 1024, 1, 2),
        (14, 1024, 256, 1, 1),
        (7, 512, 512, 3, 1),
    ];
    let of = |(side, c, o, k, stride)| Conv2d::square([4, side, side, c], o, k, stride, k / 2);
    let depthwise = Conv2d { groups: 128, ..Conv2d::square([4, 56, 56, 128], 128, 3, 1, 1) };
    layers.map(of).into_iter().chain([depthwise]).collect()
}

fn one(rig: &Rig, tally: &mut Tally, grade: Grade, precision: Dtype, pass: Pass, g: &Conv2d) -> Result<()> {
    if pass == Pass::Forward {
        return forward(rig, tally, grade, precision, g);
    }
    let values = |seed, len| factors(precision, random(seed, len));
    let (dtype, dy) = (precision.storage(), values(3, g.y_len()));
    let taps = g.kh * g.kw;
    let (other, mut want, out, depth) = match pass {
        Pass::WeightGrad => (values(1, g.x_len()), vec![0.0; g.w_len()], Dtype::F32, g.n * g.oh() * g.ow()),
        _ => (values(2, g.w_len()), vec![0.0; g.x_len()], dtype, taps * g.o / g.groups),
    };
    let (on_dy, on_other) = (rig.put(dtype, &dy)?, rig.put(dtype, &other)?);
    let (a, b) = if pass == Pass::WeightGrad { (&on_other, &on_dy) } else { (&on_dy, &on_other) };
    let gpu = rig.gpu(precision);
    let got = rig.twice(out, want.len(), |out| grade.product(&gpu, pass, g, a, b, out))?;
    match pass {
        Pass::WeightGrad => cpu::conv2d_weight_grad(&rig.cpu, g, &other, &dy, &mut want),
        _ => cpu::conv2d_input_grad(&rig.cpu, g, &dy, &other, &mut want),
    }
    tally.compare(&shape(g), limit(precision, depth, out), &got, &want);
    Ok(())
}

/// Checks the forward pass with a bias, a residual and an activation.
fn forward(rig: &Rig, tally: &mut Tally, grade: Grade, precision: Dtype, g: &Conv2d) -> Result<()> {
    let values = |seed, len| factors(precision, random(seed, len));
    let dtype = precision.storage();
    let (x, w, residual) = (values(1, g.x_len()), values(2, g.w_len()), values(3, g.y_len()));
    let bias = random(4, g.o);
    let (on_x, on_w) = (rig.put(dtype, &x)?, rig.put(dtype, &w)?);
    let (on_bias, on_residual) = (rig.gpu.upload(&bias)?, rig.put(dtype, &residual)?);
    let end = Epilogue { bias: Some(&on_bias), residual: Some(&on_residual), activation: Activation::Relu };
    let gpu = rig.gpu(precision);
    let got = rig.twice(dtype, g.y_len(), |y| grade.forward(&gpu, g, &on_x, &on_w, &end, y))?;
    let mut want = vec![0.0; g.y_len()];
    cpu::conv2d_forward(&rig.cpu, g, &x, &w, Some(&bias), &mut want);
    want.iter_mut().zip(&residual).for_each(|(y, r)| *y = (*y + r).max(0.0));
    tally.compare(&shape(g), limit(precision, g.w_len() / g.o, dtype), &got, &want);
    Ok(())
}

/// Describes a shape: batch, input height, width and channels, filters, kernel and stride.
pub fn shape(g: &Conv2d) -> String {
    let Conv2d { n, h, w, c, o, kh, kw, stride: [sh, sw], groups, .. } = *g;
    let groups = if groups > 1 { format!(" in {groups} groups") } else { String::new() };
    format!("{n}×{h}×{w}×{c}, {o} of {kh}×{kw}/{sh},{sw}{groups}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_geometry_fits_its_image() {
        for g in geometries(true) {
            assert_eq!(g.check(), Ok(()), "{g:?}");
        }
    }
}
