//! Masked and compact convolutions of f32 images against the reference: exact on integers.

use crate::bounds::Random;
use crate::conv2d_f32::{geometry, result};
use crate::support::device;
use lopper_kernels::cuda::{self, Cuda, Epilogue, PackedConv2d};
use lopper_kernels::params::{Activation, CompactIndex};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::reference;
use lopper_kernels::shapes::Conv2d;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn dead_filters_and_channels_are_skipped(g in geometry(), seed: u64) {
        let Some(gpu) = device() else { return Ok(()) };
        let live = Random(seed ^ 1).flags(g.o);
        masked(gpu, &g, &live, seed);
    }

    #[test]
    fn live_channels_are_gathered_and_scattered(g in geometry(), carrier: bool, seed: u64) {
        let Some(gpu) = device() else { return Ok(()) };
        compact(gpu, &Conv2d { groups: 1, ..g }, carrier, seed);
    }
}

/// Several blocks of channels, split reductions and large tiles; no channels alive, all channels alive.
#[test]
fn chosen_masks() {
    let Some(gpu) = device() else { return };
    let long = Conv2d::square([1, 4, 4, 100], 40, 3, 1, 1);
    let large = Conv2d::square([1, 23, 23, 4], 140, 1, 1, 0);
    for g in [long, large] {
        for live in [false, true] {
            masked(gpu, &g, &vec![live; g.o], 7);
        }
        masked(gpu, &g, &(0..g.o).map(|o| o % 3 > 0).collect::<Vec<_>>(), 8);
        compact(gpu, &g, true, 9);
    }
    let empty = CompactIndex::default();
    run_compact(gpu, &Conv2d::square([1, 3, 3, 4], 5, 3, 1, 1), &empty, 10);
    let constant = CompactIndex { outputs: vec![1, 4], ..empty };
    run_compact(gpu, &Conv2d::square([1, 3, 3, 4], 5, 3, 1, 1), &constant, 11);
}

fn masked(gpu: &Cuda, g: &Conv2d, live: &[bool], seed: u64) {
    let mut random = Random(seed);
    let (x, mut w, bias) = (random.integers(g.x_len()), random.integers(g.w_len()), random.integers(g.o));
    let residual = random.integers(g.y_len());
    // Live filters have zero weights in every other block of 16 channels.
    let channels = g.c / g.groups;
    for (i, w) in w.iter_mut().enumerate() {
        let dead = i % channels / 16 % 2 == 1;
        if dead && live[i / (g.w_len() / g.o)] {
            *w = 0.0;
        }
    }
    let mut y = vec![0.0; g.y_len()];
    reference::conv2d_masked_forward(g, &x, &w, Some(&bias), live, &mut y);
    reference::conv2d_epilogue(Some(&residual), Activation::Relu, &mut y);
    let mut kept = w.clone();
    for (filter, _) in kept.chunks_exact_mut(g.w_len() / g.o).zip(live).filter(|(_, live)| !**live) {
        filter.fill(0.0);
    }
    let masked = PackedConv2d::masked(gpu, g, &w, &Pattern::of(&kept, g.filters_shape())).unwrap();
    assert!(channels <= 16 || masked.products(g) < g.macs() + 16 * g.y_len() as u64);
    let [x, bias, residual] = [&x, &bias, &residual].map(|values| gpu.upload(values).unwrap());
    let end = Epilogue { bias: Some(&bias), residual: Some(&residual), activation: Activation::Relu };
    let got = result(gpu, y.len(), |y| cuda::conv2d_forward_packed(gpu, g, &x, &masked, &end, y));
    assert_eq!(got, y, "{g:?} {live:?}");
}

fn compact(gpu: &Cuda, g: &Conv2d, carrier: bool, seed: u64) {
    let mut random = Random(seed ^ 1);
    let mut list = |len: usize| -> Vec<u32> {
        random.flags(len).iter().zip(0..).filter(|(live, _)| **live).map(|(_, i)| i).collect()
    };
    let index = CompactIndex { inputs: list(g.c), outputs: list(g.o), carrier };
    run_compact(gpu, g, &index, seed);
}

fn run_compact(gpu: &Cuda, g: &Conv2d, index: &CompactIndex, seed: u64) {
    let mut random = Random(seed);
    let channels = index.inputs.len() + usize::from(index.carrier);
    let w = random.integers(index.outputs.len() * g.kh * g.kw * channels);
    let (x, bias, fill) = (random.integers(g.x_len()), random.integers(g.o), random.integers(g.o));
    let residual = random.integers(g.y_len());
    let mut y = vec![0.0; g.y_len()];
    reference::conv2d_compact_forward(g, &x, index, &w, &fill, Some(&bias), &mut y);
    reference::conv2d_epilogue(Some(&residual), Activation::Relu6, &mut y);
    let compact = PackedConv2d::compact(gpu, g, index, &w, &fill).unwrap();
    let [x, bias, residual] = [&x, &bias, &residual].map(|values| gpu.upload(values).unwrap());
    let end = Epilogue { bias: Some(&bias), residual: Some(&residual), activation: Activation::Relu6 };
    let got = result(gpu, y.len(), |y| cuda::conv2d_forward_packed(gpu, g, &x, &compact, &end, y));
    assert_eq!(got, y, "{g:?} {index:?}");
}
