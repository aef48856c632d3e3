//! Speedup from dead filters: a layer and the one before it have the same share of dead filters.

use super::conv2d::{layers, product};
use super::{noise, time};
use crate::selftest::case::Case;
use crate::selftest::checks::kill_every_other_block;
use crate::selftest::grades::{Grade, Pass};
use crate::selftest::line::Timing;
use crate::selftest::rig::Rig;
use crate::selftest::rig::random;
use lopper_engine::Result;
use lopper_kernels::cuda::{self, Epilogue, PackedConv2d};
use lopper_kernels::params::{CompactIndex, Dtype};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::shapes::Conv2d;

/// Times VGG16's layers with half of their filters and inputs dead: dense, masked, compacted, pruned.
pub fn cases(rig: &Rig) -> Result<Vec<Case>> {
    let layers = match rig.large {
        true => layers(&["vgg16_bn"], 128, 64)?,
        false => vec![("a small layer".into(), Conv2d::square([1, 6, 6, 32], 32, 3, 1, 1))],
    };
    let mut cases = Vec::new();
    // The channels of an image are never dead.
    for (name, g) in layers.into_iter().filter(|(_, g)| g.c != 3) {
        let half = Conv2d { c: g.c / 2, o: g.o / 2, ..g };
        for (grade, precision) in [(Grade::Simt, Dtype::F32), (Grade::Mma, Dtype::Bf16)] {
            let how = |what: &str| format!("{what}, {}, {}", grade.name(), precision.name());
            let dense = move |rig: &Rig| product(rig, &g, Pass::Forward, grade, precision);
            cases.push(Case::time(&name, how("dense"), dense));
            cases.push(Case::time(&name, how("masked"), move |rig| masked(rig, &g, precision)));
            if grade == Grade::Simt {
                cases.push(Case::time(&name, how("compacted"), move |rig| compacted(rig, &g)));
            }
            let pruned = move |rig: &Rig| product(rig, &half, Pass::Forward, grade, precision);
            cases.push(Case::time(&name, how("pruned"), pruned));
        }
    }
    Ok(cases)
}

/// Marks half of the filters as dead, in an order that no tile can profit from.
fn live(len: usize) -> Vec<bool> {
    let mut live = vec![true; len];
    (0..len / 2).for_each(|i| live[i * 37 % len] = false);
    live
}

/// Times a masked layer in which every other block of input channels is dead; the rate counts only live products.
fn masked(rig: &Rig, g: &Conv2d, precision: Dtype) -> Result<Timing> {
    let (gpu, dtype) = (rig.gpu(precision), precision.storage());
    let mut w = random(1, g.w_len());
    kill_every_other_block(g, &mut w);
    for (filter, _) in w.chunks_exact_mut(g.w_len() / g.o).zip(live(g.o)).filter(|(_, live)| !live) {
        filter.fill(0.0);
    }
    let (x, mut y) = (noise(rig, dtype, g.x_len())?, gpu.buffer(dtype, g.y_len())?);
    let on_w = PackedConv2d::masked(&gpu, g, &w, &Pattern::of(&w, g.filters_shape()))?;
    let end = Epilogue::default();
    time(rig, g.macs() / 4, || cuda::conv2d_forward_packed(&gpu, g, &x, &on_w, &end, &mut y))
}

fn compacted(rig: &Rig, g: &Conv2d) -> Result<Timing> {
    let positions = |len: usize| (0..len as u32).zip(live(len)).filter(|(_, live)| *live).map(|(i, _)| i);
    let index =
        CompactIndex { inputs: positions(g.c).collect(), outputs: positions(g.o).collect(), carrier: false };
    let w = random(1, index.outputs.len() * g.kh * g.kw * index.inputs.len());
    let compact = PackedConv2d::compact(&rig.gpu, g, &index, &w, &vec![0.0; g.o])?;
    let dtype = Dtype::F32.storage();
    let (x, mut y) = (noise(rig, dtype, g.x_len())?, rig.gpu.buffer(dtype, g.y_len())?);
    time(rig, g.macs() / 4, || {
        cuda::conv2d_forward_packed(&rig.gpu, g, &x, &compact, &Epilogue::default(), &mut y)
    })
}
