//! Running a plan allocates nothing. Alone in its binary: the counter sees every thread of the process.

mod support;

use lopper_engine::Device;
use lopper_engine::plan::Plan;
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
        let mut plan = Plan::new(&graph, [2, h, w, c], &device).unwrap();
        let mut allocations = || {
            let region = Region::new(ALLOCATOR);
            (0..RUNS).for_each(|_| {
                plan.run(images.data()).unwrap();
            });
            region.change().allocations
        };
        // In the pool already: handing work to it from outside lets its queue grow every few dozen times.
        device.run(|| {
            let first = allocations();
            // What a kernel keeps for the next call, each thread makes once, when chance first gives it such a task.
            let steady = (0..50).any(|_| allocations() == 0);
            assert!(
                steady,
                "seed {seed}, {threads} threads: never steady, {first} allocations in the first runs"
            );
        });
    }
}
