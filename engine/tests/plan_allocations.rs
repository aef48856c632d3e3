//! Running a plan allocates nothing. The only test of its binary, because the counter covers every thread of the
//! process.

mod support;

use lopper_engine::layer::Conv2d;
use lopper_engine::plan::{Parts, Plan, PlanOptions};
use lopper_engine::{Device, Graph, Layer, Param};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use support::{Random, random_graph};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn a_steady_state_allocates_nothing() {
    for (seed, threads) in (0..12).zip([1, 2].into_iter().cycle()) {
        let parts = [Parts::Whole, Parts::Of(1)][seed as usize / 2 % 2];
        assert_steady(&random_graph(seed), seed, threads, parts, "");
    }
    assert_steady(&expansion(), 12, 2, Parts::Of(1), "in bands of");
}

/// A graph with values so large that it is computed in bands.
fn expansion() -> Graph {
    let (mut random, mut graph) = (Random(12), Graph::new(8));
    graph.info.input = [64, 64, 8];
    for (x, (c, o, k)) in [(8, 40, 1), (40, 40, 3), (40, 8, 1)].into_iter().enumerate() {
        let groups = if k == 3 { c } else { 1 };
        let layer = Layer::Conv2d(Conv2d {
            weight: Param::new(random.tensor(&[o, k, k, c / groups])),
            bias: None,
            stride: [1; 2],
            padding: [k / 2; 2],
            extra_padding: [0; 2],
            dilation: [1; 2],
            groups,
        });
        graph.push(format!("conv{x}"), layer, &[x]).unwrap();
    }
    graph
}

/// Asserts that runs of a plan of `graph`, one of whose steps has the note `noted`, soon allocate nothing.
fn assert_steady(graph: &Graph, seed: u64, threads: usize, parts: Parts, noted: &str) {
    const RUNS: usize = 20;
    let device = Device::open("cpu", Some(threads)).unwrap();
    let [h, w, c] = graph.info.input;
    let images = Random(seed).tensor(&[2, h, w, c]);
    let options = PlanOptions { parts, ..PlanOptions::default() };
    let mut plan = Plan::with(graph, [2, h, w, c], &device, options).unwrap();
    let mut notes = plan.steps().iter().map(|step| step.why.as_deref().unwrap_or_default());
    assert!(notes.any(|note| note.contains(noted)), "seed {seed}: {noted}");
    let mut allocations = || {
        let region = Region::new(ALLOCATOR);
        (0..RUNS).for_each(|_| {
            plan.run(images.data()).unwrap();
        });
        region.change().allocations
    };
    // Run inside the pool: submitting work from outside grows its queue every few dozen times.
    device.run(|| {
        let first = allocations();
        // Each thread allocates a kernel's reusable buffers once, when it first happens to get such a task.
        let steady = (0..50).any(|_| allocations() == 0);
        assert!(
            steady,
            "seed {seed}, {threads} threads: never steady, {first} allocations in the first runs"
        );
    });
}
