//! Elementwise operations, and operations on channels.

use crate::selftest::line::Tally;
use crate::selftest::rig::{FLOATS, Rig, random, rounding, stored};
use lopper_engine::Result;
use lopper_kernels::cpu::{self, Cpu};
use lopper_kernels::cuda::{self, Cuda, DeviceBuffer};
use lopper_kernels::params::{ACTIVATIONS, Dtype};
use lopper_kernels::shapes::PadShortcut;

type OnDevice = fn(&Cuda, &DeviceBuffer, &DeviceBuffer, &mut DeviceBuffer) -> cuda::Result<()>;
type OnCpu = fn(&Cpu, &[f32], &[f32], &mut [f32]);

/// Operations, each of which writes its last argument.
const OPERATIONS: [(&str, OnDevice, OnCpu); 5] = [
    ("add", cuda::add_forward, cpu::add_forward),
    ("multiply", cuda::mul_forward, cpu::mul_forward),
    ("scale", |d, a, _, y| cuda::scale(d, 0.7, a, y), |d, a, _, y| cpu::scale(d, 0.7, a, y)),
    (
        "add in place",
        |d, a, b, y| d.copy(a, y).and_then(|()| cuda::add_assign(d, y, b)),
        |d, a, b, y| {
            y.copy_from_slice(a);
            cpu::add_assign(d, y, b);
        },
    ),
    (
        "axpy",
        |d, a, b, y| d.copy(a, y).and_then(|()| cuda::axpy(d, -0.3, b, y)),
        |d, a, b, y| {
            y.copy_from_slice(a);
            cpu::axpy(d, -0.3, b, y);
        },
    ),
];

/// Returns lengths around that of a vector, of several blocks and, on a GPU, of a large layer.
fn lengths(rig: &Rig) -> Vec<usize> {
    [1, 7, 8, 4103].into_iter().chain(rig.large.then_some(4 * 56 * 56 * 256 + 3)).collect()
}

pub fn operations(rig: &Rig, tally: &mut Tally, dtype: Dtype) -> Result<()> {
    for len in lengths(rig) {
        let [a, b] = [1, 2].map(|seed| {
            let wider = random(seed, len).iter().map(|x| 8.0 * x).collect();
            stored(dtype, wider)
        });
        let (on_a, on_b) = (rig.put(dtype, &a)?, rig.put(dtype, &b)?);
        let mut compare = |what: &str, got: Vec<f32>, want: &dyn Fn(&mut [f32])| {
            let mut y = vec![0.0; len];
            want(&mut y);
            tally.compare(&format!("{what} of {len}"), rounding(dtype), &got, &stored(dtype, y));
        };
        for &f in ACTIVATIONS {
            let got = rig.twice(dtype, len, |y| cuda::activation_forward(&rig.gpu, f, &on_a, y))?;
            compare(f.name(), got, &|y| cpu::activation_forward(&rig.cpu, f, &a, y));
            let got =
                rig.twice(dtype, len, |dx| cuda::activation_input_grad(&rig.gpu, f, &on_a, &on_b, dx))?;
            let what = format!("{} gradient", f.name());
            compare(&what, got, &|dx| cpu::activation_input_grad(&rig.cpu, f, &a, &b, dx));
        }
        for (what, on_device, on_cpu) in OPERATIONS {
            let got = rig.twice(dtype, len, |y| on_device(&rig.gpu, &on_a, &on_b, y))?;
            compare(what, got, &|y| on_cpu(&rig.cpu, &a, &b, y));
        }
    }
    Ok(())
}

/// Checks that conversion from `from` to every type is exact.
pub fn conversion(rig: &Rig, tally: &mut Tally, from: Dtype) -> Result<()> {
    for len in lengths(rig) {
        let x = stored(from, random(3, len));
        let on = rig.put(from, &x)?;
        for to in FLOATS {
            let got = rig.twice(to, len, |y| cuda::convert(&rig.gpu, &on, y))?;
            tally.compare(&format!("to {to}, {len}"), 0.0, &got, &stored(to, x.clone()));
        }
    }
    Ok(())
}

pub fn dropout(rig: &Rig, tally: &mut Tally, dtype: Dtype) -> Result<()> {
    for len in lengths(rig) {
        let x = stored(dtype, random(4, len));
        let on = rig.put(dtype, &x)?;
        let got = rig.twice(dtype, len, |y| cuda::dropout(&rig.gpu, 0.3, 99, &on, y))?;
        let mut want = vec![0.0; len];
        cpu::dropout(&rig.cpu, 0.3, 99, &x, &mut want);
        tally.compare(&len.to_string(), rounding(dtype), &got, &stored(dtype, want));
    }
    Ok(())
}

pub fn channels(rig: &Rig, tally: &mut Tally, dtype: Dtype) -> Result<()> {
    let rows = if rig.large { 4 * 28 * 28 } else { 15 };
    for widths in [[3, 8], [16, 32]] {
        concatenation(rig, tally, dtype, rows, widths)?;
    }
    let side = if rig.large { 56 } else { 7 };
    for (c, before, after) in [(5, 2, 3), (16, 8, 8)] {
        let g = PadShortcut { n: 2, h: side, w: side, c, stride: 2, before, after };
        let (x, dy) = (stored(dtype, random(5, g.x_len())), stored(dtype, random(6, g.y_len())));
        let (on_x, on_dy) = (rig.put(dtype, &x)?, rig.put(dtype, &dy)?);
        let (mut y, mut dx) = (vec![0.0; g.y_len()], vec![0.0; g.x_len()]);
        cpu::pad_shortcut_forward(&rig.cpu, &g, &x, &mut y);
        cpu::pad_shortcut_input_grad(&rig.cpu, &g, &dy, &mut dx);
        let got = rig.twice(dtype, g.y_len(), |y| cuda::pad_shortcut_forward(&rig.gpu, &g, &on_x, y))?;
        tally.compare(&format!("shortcut, {c} channels"), 0.0, &got, &y);
        let got =
            rig.twice(dtype, g.x_len(), |dx| cuda::pad_shortcut_input_grad(&rig.gpu, &g, &on_dy, dx))?;
        tally.compare(&format!("shortcut gradient, {c} channels"), 0.0, &got, &dx);
    }
    Ok(())
}

/// Concatenates two tensors along their channels and splits the result again.
fn concatenation(rig: &Rig, tally: &mut Tally, dtype: Dtype, rows: usize, widths: [usize; 2]) -> Result<()> {
    let total = widths[0] + widths[1];
    let parts = widths.map(|c| stored(dtype, random(c as u64, rows * c)));
    let on = [rig.put(dtype, &parts[0])?, rig.put(dtype, &parts[1])?];
    let sized = [(&on[0], widths[0]), (&on[1], widths[1])];
    let got = rig.twice(dtype, rows * total, |y| cuda::concat_forward(&rig.gpu, rows, &sized, y))?;
    let mut want = vec![0.0; rows * total];
    let slices = [(&parts[0][..], widths[0]), (&parts[1][..], widths[1])];
    cpu::concat_forward(&rig.cpu, rows, &slices, &mut want);
    tally.compare(&format!("{widths:?} channels"), 0.0, &got, &want);

    let whole = rig.put(dtype, &want)?;
    let mut first = rig.gpu.buffer(dtype, rows * widths[0])?;
    let second = rig.twice(dtype, rows * widths[1], |second| {
        cuda::split_channels(&rig.gpu, rows, &whole, &mut [(&mut first, widths[0]), (second, widths[1])])
    })?;
    tally.compare(&format!("split into {widths:?}"), 0.0, &rig.get(&first)?, &parts[0]);
    tally.compare(&format!("split into {widths:?}"), 0.0, &second, &parts[1]);
    Ok(())
}
