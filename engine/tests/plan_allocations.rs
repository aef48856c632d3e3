//! Running a plan allocates nothing. The only test of its binary, because the counter covers every thread of the
//! process.

mod support;

use lopper_engine::Device;
use lopper_engine::plan::{Parts, Plan, PlanOptions};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use support::{Random, random_graph};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn a_steady_state_allocates_nothing() {
    const RUNS: usize = 20;
    for (seed, threads) in (0..12).zip([1, 2].into_iter().cycle()) {
        let device = Device::open("cpu", Some(threads)).unwrap();
        let graph = random_graph(seed);
        let [h, w, c] = graph.info.input;
        let images = Random(seed).tensor(&[2, h, w, c]);
        let parts = [Parts::Whole, Parts::Of(1)][seed as usize / 2 % 2];
        let options = PlanOptions { parts, ..PlanOptions::default() };
        let mut plan = Plan::with(&graph, [2, h, w, c], &device, options).unwrap();
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
}
