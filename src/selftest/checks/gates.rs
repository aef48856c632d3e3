//! Gates, gathering, layer and group norm, slopes of channels and resizing.

use crate::selftest::line::Tally;
use crate::selftest::rig::{Rig, epsilon, random, rounding, stored};
use lopper_engine::Result;
use lopper_kernels::cpu::{self, PackedGather, PackedResize};
use lopper_kernels::cuda::{self, GatherList};
use lopper_kernels::params::Dtype;
use lopper_kernels::shapes::{Coordinates, Gate, GroupNorm, LayerNorm, Resize, ResizeMode};

pub fn gates(rig: &Rig, tally: &mut Tally, dtype: Dtype) -> Result<()> {
    let pixels = if rig.large { 56 * 56 } else { 20 };
    for c in [5, 144] {
        let g = Gate { n: 3, pixels, c };
        let [x, dy] = [1, 2].map(|seed| stored(dtype, random(seed, g.x_len())));
        let gate = stored(dtype, random(3, g.gate_len()));
        let (on_x, on_dy, on_gate) = (rig.put(dtype, &x)?, rig.put(dtype, &dy)?, rig.put(dtype, &gate)?);
        let (mut y, mut dgate) = (vec![0.0; g.x_len()], vec![0.0; g.gate_len()]);
        cpu::gate_forward(&rig.cpu, &g, &x, &gate, &mut y);
        cpu::gate_grad(&rig.cpu, &g, &x, &dy, &mut dgate);
        let got = rig.twice(dtype, g.x_len(), |y| cuda::gate_forward(&rig.gpu, &g, &on_x, &on_gate, y))?;
        tally.compare(&format!("gate of {c}"), rounding(dtype), &got, &stored(dtype, y));
        let got = rig.twice(dtype, g.gate_len(), |d| cuda::gate_grad(&rig.gpu, &g, &on_x, &on_dy, d))?;
        // A sum over the pixels wanders as far as the root of their number.
        let limit = rounding(dtype) + 1e-6 * (pixels as f64).sqrt();
        tally.compare(&format!("gate gradient of {c}"), limit, &got, &stored(dtype, dgate));
    }
    Ok(())
}

pub fn gatherings(rig: &Rig, tally: &mut Tally, dtype: Dtype) -> Result<()> {
    let rows = if rig.large { 4 * 28 * 28 } else { 15 };
    for width in [10u32, 116] {
        let list: Vec<u32> = (0..width).map(|i| i % 2 * (width / 2) + i / 2).collect();
        let len = rows * width as usize;
        let [x, dy] = [1, 2].map(|seed| stored(dtype, random(seed, len)));
        let (on_x, on_dy) = (rig.put(dtype, &x)?, rig.put(dtype, &dy)?);
        let packed = PackedGather::new(width as usize, &list);
        let on = GatherList::new(&rig.gpu, width as usize, &list, dtype)?;
        let (mut y, mut dx) = (vec![0.0; len], vec![0.0; len]);
        cpu::gather_forward(&rig.cpu, &packed, &x, &mut y);
        cpu::gather_input_grad(&rig.cpu, &packed, &dy, &mut dx);
        let got = rig.twice(dtype, len, |y| cuda::gather_forward(&rig.gpu, &on, &on_x, y))?;
        tally.compare(&format!("shuffle of {width}"), 0.0, &got, &y);
        let got = rig.twice(dtype, len, |dx| cuda::gather_input_grad(&rig.gpu, &on, &on_dy, dx))?;
        tally.compare(&format!("shuffle gradient of {width}"), 0.0, &got, &dx);
    }
    Ok(())
}

pub fn norms(rig: &Rig, tally: &mut Tally, dtype: Dtype) -> Result<()> {
    let rows = if rig.large { 4 * 28 * 28 } else { 30 };
    for c in [7, 96] {
        let g = LayerNorm { width: c + 1, sum: 0.5, squares: 0.25, ..LayerNorm::whole(rows, c, 1e-3) };
        let [x, dy] = [1, 2].map(|seed| stored(dtype, random(seed, g.len())));
        let [gamma, beta] = [3, 4].map(|seed| random(seed, c));
        let (on_x, on_dy) = (rig.put(dtype, &x)?, rig.put(dtype, &dy)?);
        let (on_gamma, on_beta) = (rig.gpu.upload(&gamma)?, rig.gpu.upload(&beta)?);
        let mut y = vec![0.0; g.len()];
        cpu::layer_norm_forward(&rig.cpu, &g, &x, [&gamma, &beta], &mut y);
        let affine = [&on_gamma, &on_beta];
        let got = rig.twice(dtype, g.len(), |y| cuda::layer_norm_forward(&rig.gpu, &g, &on_x, affine, y))?;
        let limit = rounding(dtype) + 1e-5;
        tally.compare(&format!("layer norm of {c}"), limit, &got, &stored(dtype, y));
        let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; g.len()], vec![0.0; c], vec![0.0; c]);
        cpu::layer_norm_backward(&rig.cpu, &g, &x, &gamma, &dy, &mut dx, [&mut dgamma, &mut dbeta]);
        let [mut on_dgamma, mut on_dbeta] = [rig.gpu.buffer(Dtype::F32, c)?, rig.gpu.buffer(Dtype::F32, c)?];
        let got = rig.twice(dtype, g.len(), |dx| {
            let affine = [&mut on_dgamma, &mut on_dbeta];
            cuda::layer_norm_backward(&rig.gpu, &g, &on_x, &on_gamma, &on_dy, dx, affine)
        })?;
        tally.compare(&format!("layer norm gradient of {c}"), limit + 5e-5, &got, &stored(dtype, dx));
        let limit = 2.0 * epsilon(dtype).min(1e-5) + 1e-6 * rows as f64;
        tally.compare(&format!("layer norm parameters of {c}"), limit, &rig.get(&on_dgamma)?, &dgamma);
        prelu(rig, tally, dtype, (&x, &gamma))?;
    }
    Ok(())
}

pub fn group_norms(rig: &Rig, tally: &mut Tally, dtype: Dtype) -> Result<()> {
    let pixels = if rig.large { 28 * 28 } else { 15 };
    for (groups, depth) in [(3, 5), (32, 8), (64, 1)] {
        let g = GroupNorm { n: 2, pixels, c: groups * depth, groups, eps: 1e-3 };
        let [x, dy] = [1, 2].map(|seed| stored(dtype, random(seed, g.len())));
        let [gamma, beta] = [3, 4].map(|seed| random(seed, g.c));
        let (on_x, on_dy) = (rig.put(dtype, &x)?, rig.put(dtype, &dy)?);
        let (on_gamma, on_beta) = (rig.gpu.upload(&gamma)?, rig.gpu.upload(&beta)?);
        let mut y = vec![0.0; g.len()];
        cpu::group_norm_forward(&rig.cpu, &g, &x, [&gamma, &beta], &mut y);
        let affine = [&on_gamma, &on_beta];
        let got = rig.twice(dtype, g.len(), |y| cuda::group_norm_forward(&rig.gpu, &g, &on_x, affine, y))?;
        let (limit, what) = (rounding(dtype) + 1e-5, format!("{groups} groups of {depth}"));
        tally.compare(&format!("group norm of {what}"), limit, &got, &stored(dtype, y));
        let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; g.len()], vec![0.0; g.c], vec![0.0; g.c]);
        cpu::group_norm_backward(&rig.cpu, &g, &x, &gamma, &dy, &mut dx, [&mut dgamma, &mut dbeta]);
        let [mut on_dgamma, mut on_dbeta] =
            [rig.gpu.buffer(Dtype::F32, g.c)?, rig.gpu.buffer(Dtype::F32, g.c)?];
        let got = rig.twice(dtype, g.len(), |dx| {
            let affine = [&mut on_dgamma, &mut on_dbeta];
            cuda::group_norm_backward(&rig.gpu, &g, &on_x, &on_gamma, &on_dy, dx, affine)
        })?;
        tally.compare(&format!("group norm gradient of {what}"), limit + 5e-5, &got, &stored(dtype, dx));
        let limit = 2.0 * epsilon(dtype).min(1e-5) + 1e-6 * (g.n * pixels) as f64;
        tally.compare(&format!("group norm parameters of {what}"), limit, &rig.get(&on_dgamma)?, &dgamma);
        tally.compare(&format!("group norm shifts of {what}"), limit, &rig.get(&on_dbeta)?, &dbeta);
    }
    Ok(())
}

/// Compares the rectifier with `slope` of `x`.
fn prelu(rig: &Rig, tally: &mut Tally, dtype: Dtype, (x, slope): (&[f32], &[f32])) -> Result<()> {
    let (c, on_x, on_slope) = (slope.len(), rig.put(dtype, x)?, rig.gpu.upload(slope)?);
    let mut y = vec![0.0; x.len()];
    cpu::prelu_forward(&rig.cpu, c, x, slope, &mut y);
    let got = rig.twice(dtype, x.len(), |y| cuda::prelu_forward(&rig.gpu, c, &on_x, &on_slope, y))?;
    tally.compare(&format!("prelu of {c}"), rounding(dtype), &got, &stored(dtype, y));
    Ok(())
}

pub fn resizes(rig: &Rig, tally: &mut Tally, dtype: Dtype) -> Result<()> {
    let side = if rig.large { 28 } else { 5 };
    let modes = [
        ("linear", ResizeMode::Linear(Coordinates::HalfPixel), 2 * side),
        ("corners", ResizeMode::Linear(Coordinates::AlignCorners), 2 * side + 1),
        ("zeros", ResizeMode::Stuff([2, 2]), 2 * side - 1),
    ];
    for (what, mode, out) in modes {
        let g = Resize { n: 2, h: side, w: side, c: 24, oh: out, ow: out, mode };
        let (x, dy) = (stored(dtype, random(1, g.x_len())), stored(dtype, random(2, g.y_len())));
        let (on_x, on_dy) = (rig.put(dtype, &x)?, rig.put(dtype, &dy)?);
        let (mut y, mut dx, packed) = (vec![0.0; g.y_len()], vec![0.0; g.x_len()], PackedResize::new(&g));
        cpu::resize_forward(&rig.cpu, &packed, &x, &mut y);
        cpu::resize_input_grad(&rig.cpu, &packed, &dy, &mut dx);
        let limit = rounding(dtype) + 1e-6;
        let got = rig.twice(dtype, g.y_len(), |y| cuda::resize_forward(&rig.gpu, &g, &on_x, y))?;
        tally.compare(&format!("resize, {what}"), limit, &got, &stored(dtype, y));
        let got = rig.twice(dtype, g.x_len(), |dx| cuda::resize_input_grad(&rig.gpu, &g, &on_dy, dx))?;
        tally.compare(&format!("resize gradient, {what}"), limit, &got, &stored(dtype, dx));
    }
    Ok(())
}
