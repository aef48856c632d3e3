//! A plan holds no more memory than it was estimated to, and the estimate is not far above. Alone in its binary: the
//! counter sees every thread of the process.

mod support;

use lopper_engine::layer::BatchNorm;
use lopper_engine::plan::{Parts, Plan, PlanOptions};
use lopper_engine::{Device, Graph, Layer, Param, Tensor};
use lopper_kernels::params::Dtype;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use support::{Random, random_graph};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The names and shapes of a plan's steps, and the thread pool's queues: in no estimate.
const TABLES: u64 = 32 << 10;

/// How far the estimate may lie above: these plans are so small that tables for whole blocks of pixels make up most of
/// it.
const FACTOR: u64 = 8;

#[test]
fn a_plan_holds_what_was_estimated() {
    let options = [
        PlanOptions::default(),
        PlanOptions { direct: true, ..PlanOptions::default() },
        PlanOptions { linear: Dtype::Bf16, ..PlanOptions::default() },
        PlanOptions { parts: Parts::Of(1), ..PlanOptions::default() },
    ];
    // Threads of a pool that is dropped give their memory back at any time.
    let mut devices = Vec::new();
    for (seed, options) in (0..60).zip(options.into_iter().cycle()) {
        let graph = random_graph(seed);
        let [h, w, c] = graph.info.input;
        let images = Random(seed).tensor(&[2, h, w, c]);
        let device = Device::open("cpu", Some(1 + seed as usize % 2)).unwrap();
        devices.push(device.clone());
        let (held, budget) = held_and_estimated(&graph, images.data(), [2, h, w, c], &device, options);
        assert!(
            held <= budget + TABLES && budget <= FACTOR * (held + TABLES),
            "seed {seed}, {options:?}: {held} bytes held, {budget} estimated"
        );
    }
    wide_batch_norm_is_estimated(&devices[0]);
}

/// A batch norm that nothing absorbs is packed too: its parameters are most of what this plan holds.
fn wide_batch_norm_is_estimated(device: &Device) {
    let c = 1 << 16; // the most that an input may have
    let param = || Param::new(Tensor::full(&[c], 1.0));
    let ones = Tensor::full(&[c], 1.0);
    let mut graph = Graph::new(c);
    let (weight, bias, mean, var) = (param(), param(), ones.clone(), ones);
    let bn = BatchNorm { weight, bias, running_mean: mean, running_var: var, eps: 1e-5, momentum: 0.1 };
    graph.push("bn", Layer::BatchNorm(bn), &[0]).unwrap();
    let images = vec![0.5; c];
    let (held, budget) = held_and_estimated(&graph, &images, [1, 1, 1, c], device, PlanOptions::default());
    assert!(held <= budget + TABLES, "{held} bytes held, {budget} estimated");
}

/// Bytes that a plan of `graph` holds after some runs on `images`, and its estimate.
fn held_and_estimated(
    graph: &Graph,
    images: &[f32],
    shape: [usize; 4],
    device: &Device,
    options: PlanOptions,
) -> (u64, u64) {
    let region = Region::new(ALLOCATOR);
    let mut plan = Plan::with(graph, shape, device, options).unwrap();
    (0..3).for_each(|_| _ = plan.run(images).unwrap());
    let change = region.change();
    let held = (change.bytes_allocated as i64 - change.bytes_deallocated as i64) as u64;
    (held, plan.budget())
}
