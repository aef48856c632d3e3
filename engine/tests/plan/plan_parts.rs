//! Plans that compute a part of the batch at a time give the bits of those that compute the whole batch.

use crate::support::blocks::{inverted_residuals, sparse_conv};
use crate::support::{Random, images, random_graph};
use lopper_engine::layer::{Activation, Conv2d, FixedWindow, Pool, PoolKind};
use lopper_engine::plan::{Parts, Plan, PlanOptions};
use lopper_engine::{Device, Graph, Layer, Param};
use lopper_kernels::cpu::{Cpu, Isa};

/// The result of a plan of `graph` for `batch` images, and the notes on its steps.
fn planned(
    graph: &Graph,
    batch: usize,
    device: &Device,
    options: PlanOptions,
    values: &[f32],
) -> (Vec<u32>, Vec<String>) {
    let [h, w, c] = graph.info.input;
    let mut plan = Plan::with(graph, [batch, h, w, c], device, options).unwrap();
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect();
    let first: Vec<u32> = bits(plan.run(values).unwrap());
    assert_eq!(plan.run_timed(values).unwrap().len(), plan.steps().len());
    assert_eq!(first, bits(plan.run(values).unwrap()), "a second run gives the same bits");
    (first, plan.steps().iter().map(|step| step.why.clone().unwrap_or_default()).collect())
}

/// Networks with residual sums, concatenations, pools, groups, masks and compact convolutions; batches that the threads do
/// not divide.
#[test]
fn parts_have_the_bits_of_the_whole_batch() {
    let mut noted = 0;
    for isa in Isa::ALL {
        let Some(cpu) = Cpu::with_isa(isa) else { continue };
        for seed in 0..60 {
            let graph = random_graph(seed);
            let (batch, threads) = ([2, 3, 5, 6][seed as usize % 4], 1 + seed as usize / 2 % 3);
            let values = images(&graph, batch, seed);
            let device = Device::Cpu(cpu.clone().threads(threads));
            let base = PlanOptions { direct: seed % 5 == 0, ..PlanOptions::default() };
            let result =
                |parts| planned(&graph, batch, &device, PlanOptions { parts, ..base }, values.data());
            let (whole, _) = result(Parts::Whole);
            for most in 1..=3 {
                let (bits, notes) = result(Parts::Of(most));
                assert_eq!(bits, whole, "{isa}, seed {seed}, {threads} threads, {most} of {batch} images");
                noted += notes.iter().filter(|note| note.ends_with("at a time")).count();
            }
        }
    }
    assert!(noted > 1000, "{noted} steps computed a part of the batch");
}

/// Values in row lanes, wide and narrow, may enter, leave and stay inside a span.
#[test]
fn parts_may_stay_in_lanes() {
    for (batch, side, most) in [(4, 32, 1), (6, 64, 2), (8, 15, 1), (8, 16, 2), (32, 8, 8), (32, 8, 1)] {
        let mut random = Random(side as u64);
        let mut graph = inverted_residuals(&mut random, 48);
        graph.info.input = [side, side, 48];
        let values = random.tensor(&[batch, side, side, 48]);
        for isa in Isa::ALL {
            let Some(cpu) = Cpu::with_isa(isa) else { continue };
            let device = Device::Cpu(cpu.threads(2));
            let result = |parts| {
                let options = PlanOptions { parts, ..PlanOptions::default() };
                planned(&graph, batch, &device, options, values.data())
            };
            let ((whole, _), (bits, notes)) = (result(Parts::Whole), result(Parts::Of(most)));
            assert_eq!(bits, whole, "{isa}, {side} pixels, {most} of {batch} images");
            assert!(notes.iter().any(|note| note.contains("writes lanes") && note.ends_with("at a time")));
            assert_eq!(result(Parts::Fastest).0, whole, "{isa}, {side} pixels");
        }
    }
}

/// Algorithms are chosen for the parts that one thread would compute, whatever runs.
#[test]
fn kernels_depend_neither_on_threads_nor_on_parts() {
    let (batch, side) = (8, 64);
    let mut random = Random(64);
    let mut graph = inverted_residuals(&mut random, 48);
    graph.info.input = [side, side, 48];
    let values = random.tensor(&[batch, side, side, 48]);
    for isa in Isa::ALL {
        let Some(cpu) = Cpu::with_isa(isa) else { continue };
        let mut first = None;
        for threads in 1..=3 {
            let device = Device::Cpu(cpu.clone().threads(threads));
            for parts in [Parts::Fastest, Parts::Whole, Parts::Of(3)] {
                let options = PlanOptions { parts, ..PlanOptions::default() };
                let mut plan = Plan::with(&graph, [batch, side, side, 48], &device, options).unwrap();
                let bits: Vec<u32> =
                    plan.run(values.data()).unwrap().iter().map(|value| value.to_bits()).collect();
                let kernels: Vec<&str> = plan.steps().iter().map(|step| step.kernel).collect();
                let result = (kernels, bits);
                assert!(
                    *first.get_or_insert_with(|| result.clone()) == result,
                    "{isa}, {threads} threads, {parts:?}"
                );
            }
        }
    }
}

/// A dense convolution with a bias, and a clamp.
fn clamped(
    random: &mut Random,
    graph: &mut Graph,
    [c, o]: [usize; 2],
    k: usize,
    stride: usize,
    x: usize,
) -> usize {
    let groups = if k == 3 { c } else { 1 };
    let layer = Layer::Conv2d(Conv2d {
        weight: Param::new(random.tensor(&[o, k, k, c / groups])),
        bias: Some(Param::new(random.tensor(&[o]))),
        stride: [stride; 2],
        padding: [k / 2; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups,
    });
    let conv = graph.push(format!("conv{x}"), layer, &[x]).unwrap();
    graph.push(format!("relu{x}"), Layer::Activation(Activation::Relu6), &[conv]).unwrap()
}

/// Asserts that layer `at` of `graph` is computed in bands with `next` on every instruction set, to the bits of whole images.
#[track_caller]
fn assert_banded(graph: &Graph, values: &[f32], batch: usize, (at, next): (usize, &str)) {
    for isa in Isa::ALL {
        let Some(cpu) = Cpu::with_isa(isa) else { continue };
        let device = Device::Cpu(cpu.threads(2));
        let result = |parts| {
            let options = PlanOptions { parts, ..PlanOptions::default() };
            planned(graph, batch, &device, options, values)
        };
        let ((whole, _), (bits, notes)) = (result(Parts::Whole), result(Parts::Of(1)));
        let differs = bits.iter().zip(&whole).position(|(bits, whole)| bits != whole);
        assert_eq!((bits.len(), differs), (whole.len(), None), "{isa}, {:?}: {notes:?}", graph.info.input);
        assert!(notes[at].contains(&format!("with the next {next} in bands of ")), "{isa}: {notes:?}");
    }
}

/// An expansion that leaves the cache is computed band by band with the depthwise convolution behind it, of either stride, on
/// maps that bands do not divide.
#[test]
fn expansions_are_computed_in_bands() {
    for (side, batch, stride) in [(61, 3, 1), (64, 2, 2), (67, 4, 2)] {
        let mut random = Random(side as u64);
        let mut graph = Graph::new(8);
        let mut x = clamped(&mut random, &mut graph, [8, 70], 1, 1, 0);
        x = clamped(&mut random, &mut graph, [70, 70], 3, stride, x);
        x = clamped(&mut random, &mut graph, [70, 12], 1, 1, x);
        x = clamped(&mut random, &mut graph, [12, 75], 1, 1, x);
        x = clamped(&mut random, &mut graph, [75, 75], 3, 1, x);
        clamped(&mut random, &mut graph, [75, 8], 1, 1, x);
        graph.info.input = [side, side, 8];
        let values = random.tensor(&[batch, side, side, 8]);
        // A small value ends the chain: it stays in the cache.
        assert_banded(&graph, values.data(), batch, (0, if stride == 1 { "2 layers" } else { "layer" }));
    }
}

/// What the first call of a band reads is not overwritten by what the last one writes.
#[test]
fn bands_read_their_input_to_the_end() {
    let mut random = Random(5);
    let mut graph = Graph::new(8);
    let mut x = 0;
    for ([c, o], k, stride) in [([8, 32], 1, 1), ([32, 192], 1, 1), ([192, 192], 3, 2), ([192, 8], 1, 1)] {
        x = clamped(&mut random, &mut graph, [c, o], k, stride, x);
    }
    graph.info.input = [64, 64, 8];
    let values = random.tensor(&[2, 64, 64, 8]);
    assert_banded(&graph, values.data(), 2, (1, "layer"));
}

/// The first layer of a ResNet and its pool are computed in bands.
#[test]
fn a_stem_is_computed_in_bands_with_its_pool() {
    for (side, batch, o) in [(128, 2, 40), (156, 3, 33)] {
        let mut random = Random(side as u64);
        let mut graph = Graph::new(3);
        let layer = Layer::Conv2d(Conv2d {
            weight: Param::new(random.tensor(&[o, 7, 7, 3])),
            bias: Some(Param::new(random.tensor(&[o]))),
            stride: [2; 2],
            padding: [3; 2],
            extra_padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
        });
        let stem = graph.push("stem", layer, &[0]).unwrap();
        let relu = graph.push("relu", Layer::Activation(Activation::Relu), &[stem]).unwrap();
        let window = FixedWindow::square(3, 2, 1).into();
        let x = graph.push("pool", Layer::Pool(Pool { kind: PoolKind::Max, window }), &[relu]).unwrap();
        clamped(&mut random, &mut graph, [o, 8], 1, 1, x);
        graph.info.input = [side, side, 3];
        let values = random.tensor(&[batch, side, side, 3]);
        assert_banded(&graph, values.data(), batch, (0, "layer"));
    }
}

/// So are the first layers of a sparse VGG, direct and in row lanes, and their pool.
#[test]
fn first_layers_are_computed_in_bands_with_their_pool() {
    for (side, batch) in [(150, 2), (163, 1)] {
        let mut random = Random(side as u64);
        let mut graph = Graph::new(3);
        let mut x = 0;
        for c in [3, 24] {
            let layer = sparse_conv(&mut random, [c, 24], 3, 1, 1);
            let conv = graph.push(format!("conv{c}"), layer, &[x]).unwrap();
            x = graph.push(format!("relu{c}"), Layer::Activation(Activation::Relu), &[conv]).unwrap();
        }
        let window = FixedWindow::square(2, 2, 0).into();
        x = graph.push("pool", Layer::Pool(Pool { kind: PoolKind::Max, window }), &[x]).unwrap();
        clamped(&mut random, &mut graph, [24, 8], 1, 1, x);
        graph.info.input = [side, side, 3];
        let values = random.tensor(&[batch, side, side, 3]);
        assert_banded(&graph, values.data(), batch, (0, "2 layers"));
    }
}
