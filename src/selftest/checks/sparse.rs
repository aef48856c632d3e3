//! Masked and compact convolutions.

use super::conv2d::shape;
use super::products::limit;
use crate::selftest::case::Case;
use crate::selftest::line::Tally;
use crate::selftest::rig::{Rig, factors, random};
use lopper_engine::Result;
use lopper_kernels::cpu::{self, Packing, Weights};
use lopper_kernels::cuda::{self, Epilogue, PackedConv2d};
use lopper_kernels::params::{Activation, CompactIndex, Dtype};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::shapes::Conv2d;

pub fn masked(precision: Dtype) -> Case {
    Case::check("conv2d masked", precision.name(), move |rig, tally| {
        geometries(rig).iter().try_for_each(|g| one_masked(rig, tally, precision, g))
    })
}

pub fn compact(precision: Dtype) -> Case {
    Case::check("conv2d compact", precision.name(), move |rig, tally| {
        geometries(rig).iter().try_for_each(|g| one_compact(rig, tally, precision, g))
    })
}

fn geometries(rig: &Rig) -> Vec<Conv2d> {
    let square = Conv2d::square;
    let small = [
        square([2, 9, 8, 48], 150, 3, 2, 1),
        square([2, 5, 5, 3], 5, 3, 1, 1),
        square([1, 7, 7, 32], 24, 1, 1, 0),
    ];
    let large = [square([4, 56, 56, 128], 256, 3, 1, 1), square([4, 14, 14, 512], 512, 3, 1, 1)];
    small.into_iter().chain(large.into_iter().filter(|_| rig.large)).collect()
}

/// Checks a layer in which two of three filters are live and read every other block of channels.
fn one_masked(rig: &Rig, tally: &mut Tally, precision: Dtype, g: &Conv2d) -> Result<()> {
    let (gpu, dtype) = (rig.gpu(precision), precision.storage());
    let x = factors(precision, random(1, g.x_len()));
    let mut w = factors(precision, random(2, g.w_len()));
    kill_every_other_block(g, &mut w);
    w.chunks_exact_mut(g.w_len() / g.o).skip(1).step_by(3).for_each(|filter| filter.fill(0.0));
    let pattern = Pattern::of(&w, g.filters_shape());
    let bias = random(3, g.o);
    let (on_x, on_bias) = (rig.put(dtype, &x)?, gpu.upload(&bias)?);
    let end = Epilogue { bias: Some(&on_bias), ..Default::default() };
    let on_w = PackedConv2d::masked(&gpu, g, &w, &pattern)?;
    let got = rig.twice(dtype, g.y_len(), |y| cuda::conv2d_forward_packed(&gpu, g, &on_x, &on_w, &end, y))?;
    let mut want = vec![0.0; g.y_len()];
    let packed = cpu::PackedConv2d::masked(&rig.cpu, g, &w, &pattern, Packing::Fastest(Weights::Fresh));
    let end = cpu::Epilogue { bias: Some(&bias), ..Default::default() };
    cpu::conv2d_forward_packed(&rig.cpu, g, &x, &packed, &end, &mut want);
    tally.compare(&shape(g), limit(precision, g.w_len() / g.o, dtype), &got, &want);
    Ok(())
}

/// Zeroes the weights `w` of every other block of 16 input channels, so that a mask can skip them.
pub fn kill_every_other_block(g: &Conv2d, w: &mut [f32]) {
    for (i, w) in w.iter_mut().enumerate() {
        if i % g.c / 16 % 2 == 1 {
            *w = 0.0;
        }
    }
}

/// Checks a layer with half the inputs and two of three filters live, and a carrier of constants.
fn one_compact(rig: &Rig, tally: &mut Tally, precision: Dtype, g: &Conv2d) -> Result<()> {
    let (gpu, dtype) = (rig.gpu(precision), precision.storage());
    let index = CompactIndex {
        inputs: (0..g.c as u32).filter(|c| c % 2 == 0).collect(),
        outputs: (0..g.o as u32).filter(|o| o % 3 != 1).collect(),
        carrier: true,
    };
    let depth = g.kh * g.kw * (index.inputs.len() + 1);
    // The weights are f32 on the device too.
    let (x, w) = (factors(precision, random(1, g.x_len())), random(2, index.outputs.len() * depth));
    let (fill, bias) = (random(3, g.o), random(4, g.o));
    let (on_x, on_bias) = (rig.put(dtype, &x)?, gpu.upload(&bias)?);
    let compact = PackedConv2d::compact(&gpu, g, &index, &w, &fill)?;
    let end = Epilogue { bias: Some(&on_bias), residual: None, activation: Activation::Relu };
    let got =
        rig.twice(dtype, g.y_len(), |y| cuda::conv2d_forward_packed(&gpu, g, &on_x, &compact, &end, y))?;
    let packing = Packing::Fastest(Weights::Memory);
    let packed = cpu::PackedConv2d::compact(&rig.cpu, g, &index, &w, &fill, packing);
    let mut want = vec![0.0; g.y_len()];
    let end = cpu::Epilogue { bias: Some(&bias), activation: Activation::Relu, ..Default::default() };
    cpu::conv2d_forward_packed(&rig.cpu, g, &x, &packed, &end, &mut want);
    tally.compare(&shape(g), limit(precision, depth, dtype), &got, &want);
    Ok(())
}
