//! Optimizer steps with and without masks, and the search for non-finite values.

use crate::selftest::line::Tally;
use crate::selftest::rig::{Rig, random, stored};
use lopper_engine::Result;
use lopper_kernels::cpu;
use lopper_kernels::cuda;
use lopper_kernels::params::{Adam, Dtype, Sgd};

/// Parameter with its gradient, two states and a mask that drops a quarter.
struct Tensors {
    p: Vec<f32>,
    g: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
    mask: Vec<f32>,
}

/// Returns tensors of one chunk and of several, not all whole vectors; on a GPU, also one as large as a large layer.
fn tensors(rig: &Rig) -> Vec<Tensors> {
    let of = |len: usize| {
        let [p, g, m, v, mask] = [1, 2, 3, 4, 5].map(|seed| random(seed, len));
        let (v, mask) = (v.iter().map(|v| v.abs()), mask.iter().map(|m| f32::from(u8::from(*m > -0.5))));
        Tensors { p, g, m, v: v.collect(), mask: mask.collect() }
    };
    [5, 1000, 20_001].into_iter().chain(rig.large.then_some((1 << 22) + 3)).map(of).collect()
}

pub fn sgd(rig: &Rig, tally: &mut Tally) -> Result<()> {
    let h = Sgd { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0.01 };
    for Tensors { mut p, g, m, mask, .. } in tensors(rig) {
        for mask in [None, Some(&mask)] {
            let on_g = rig.gpu.upload(&g)?;
            let on_mask = mask.map(|mask| rig.gpu.upload(mask)).transpose()?;
            let mut velocity = rig.gpu.upload(&m)?;
            let got = rig.twice(Dtype::F32, p.len(), |out| {
                rig.gpu.write(out, &p)?;
                rig.gpu.write(&mut velocity, &m)?;
                cuda::sgd_step(&rig.gpu, &h, false, out, &on_g, &mut velocity, on_mask.as_ref())
            })?;
            let (at, mut v) = (format!("{}{}", p.len(), masked(mask.is_some())), m.clone());
            cpu::sgd_step(&rig.cpu, &h, false, &mut p, &g, &mut v, mask.map(|m| &m[..]));
            tally.compare(&format!("p, {at}"), 1e-6, &got, &p);
            tally.compare(&format!("velocity, {at}"), 1e-6, &rig.get(&velocity)?, &v);
        }
    }
    Ok(())
}

pub fn adam(rig: &Rig, tally: &mut Tally) -> Result<()> {
    for decoupled in [false, true] {
        let h = Adam { lr: 0.01, beta1: 0.9, beta2: 0.99, eps: 1e-6, weight_decay: 0.1, decoupled };
        for Tensors { mut p, g, m, v, mask } in tensors(rig) {
            let mask = decoupled.then_some(&mask);
            let on_g = rig.gpu.upload(&g)?;
            let on_mask = mask.map(|mask| rig.gpu.upload(mask)).transpose()?;
            let (mut on_m, mut on_v) = (rig.gpu.upload(&m)?, rig.gpu.upload(&v)?);
            let got = rig.twice(Dtype::F32, p.len(), |out| {
                rig.gpu.write(out, &p)?;
                rig.gpu.write(&mut on_m, &m)?;
                rig.gpu.write(&mut on_v, &v)?;
                cuda::adam_step(&rig.gpu, &h, 3, out, &on_g, [&mut on_m, &mut on_v], on_mask.as_ref())
            })?;
            let (mut m, mut v) = (m.clone(), v.clone());
            cpu::adam_step(&rig.cpu, &h, 3, &mut p, &g, [&mut m, &mut v], mask.map(|m| &m[..]));
            let at = format!("{}{}", p.len(), masked(mask.is_some()));
            tally.compare(&format!("p, {at}"), 2e-6, &got, &p);
            tally.compare(&format!("first moment, {at}"), 1e-6, &rig.get(&on_m)?, &m);
            tally.compare(&format!("second moment, {at}"), 1e-6, &rig.get(&on_v)?, &v);
        }
    }
    Ok(())
}

fn masked(is: bool) -> &'static str {
    if is { ", masked" } else { "" }
}

/// Checks that one infinity among many tensors is found, and that none is reported if all values are finite.
pub fn non_finite(rig: &Rig, tally: &mut Tally, dtype: Dtype) -> Result<()> {
    let mut tensors: Vec<Vec<f32>> =
        (1..140).map(|i| stored(dtype, random(i, 7 * i as usize % 300))).collect();
    tensors.push(stored(dtype, random(0, 20_001)));
    let find = |tensors: &[Vec<f32>]| -> Result<bool> {
        let on = tensors.iter().map(|x| rig.put(dtype, x)).collect::<Result<Vec<_>>>()?;
        Ok(cuda::has_non_finite(&rig.gpu, &on.iter().collect::<Vec<_>>())?)
    };
    tally.expect(!find(&tensors)?, "140 tensors: non-finite values reported, expected none");
    tensors[139][20_000] = f32::INFINITY;
    tally.expect(find(&tensors)?, "140 tensors: the infinity was not found");
    Ok(())
}
