//! Plans whose images stay in row lanes between layers.

use crate::support::blocks::{inverted_residuals, pooled_convolutions};
use crate::support::{Random, error, evaluate};
use lopper_engine::Device;
use lopper_engine::plan::{Parts, Plan, PlanOptions};
use lopper_kernels::cpu::{Cpu, Isa};

/// Pointwise and depthwise convolutions stay in lanes, also where each of them alone would be faster without. The plan
/// still computes what the reference does, and the same bits for any number of threads.
#[test]
fn inverted_residual_blocks_stay_in_lanes() {
    for (n, side, halves) in [(2, 64, true), (1, 64, true), (5, 16, false), (4, 15, false)] {
        let (c, mut random) = (48, Random(side as u64));
        let mut graph = inverted_residuals(&mut random, c);
        graph.info.input = [side, side, c];
        let images = random.tensor(&[n, side, side, c]);
        let shape = [n, side, side, c];
        let planned = |threads: usize, options: PlanOptions| {
            let device = Device::open("cpu", Some(threads)).unwrap();
            let mut plan = Plan::with(&graph, shape, &device, options).unwrap();
            let result = plan.run(images.data()).unwrap().to_vec();
            (plan, result)
        };
        // Notes on layouts come last.
        let whole = PlanOptions { parts: Parts::Whole, ..PlanOptions::default() };
        let (plan, result) = planned(1, whole);
        let why =
            |name: &str| plan.steps().iter().find(|step| step.name == name).unwrap().why.clone().unwrap();
        assert!(why("expand0").ends_with("; writes lanes"), "{}", why("expand0"));
        assert!(why("project0").ends_with("; reads and writes lanes"), "{}", why("project0"));
        // Wide rows stay in lanes when they are halved. Narrow ones, of half a vector, would move to other groups, so a new chain
        // begins behind them, or none if the rest is too small.
        if halves || Cpu::detect().isa() != Isa::Avx512 {
            assert!(why("project1").ends_with("; reads and writes lanes"), "{side}: {}", why("project1"));
            assert!(why("project2").ends_with("; reads lanes"), "{}", why("project2"));
        } else {
            assert!(!why("project1").ends_with("reads and writes lanes"), "{side}: {}", why("project1"));
        }
        assert!(error(&result, &evaluate(&graph, &images)) < 2e-5);
        assert_eq!(result, planned(3, PlanOptions::default()).1);
        // A direct plan has no lanes.
        let (direct, result) = planned(1, PlanOptions { direct: true, ..PlanOptions::default() });
        assert!(direct.steps().iter().all(|step| !step.kernel.starts_with("row_lanes")));
        assert!(error(&result, &evaluate(&graph, &images)) < 2e-5);
    }
}

/// Maximum pools between sparse convolutions read and write lanes. The plan computes what the reference does, and the same
/// bits for any number of threads and any part of the batch.
#[test]
fn images_stay_in_lanes_through_maximum_pools() {
    let (batch, c) = (4, 32);
    for isa in Isa::ALL {
        let Some(cpu) = Cpu::with_isa(isa) else { continue };
        // Whole rows must fit the tile, and halves of them more than a vector.
        let side = if isa == Isa::Portable { 32 } else { 64 };
        let mut random = Random(9);
        let mut graph = pooled_convolutions(&mut random, c);
        graph.info.input = [side, side, c];
        let images = random.tensor(&[batch, side, side, c]);
        let expected = evaluate(&graph, &images);
        let planned = |threads: usize, parts: Parts| {
            let device = Device::Cpu(cpu.clone().threads(threads));
            let options = PlanOptions { parts, ..PlanOptions::default() };
            let mut plan = Plan::with(&graph, [batch, side, side, c], &device, options).unwrap();
            let result = plan.run(images.data()).unwrap().to_vec();
            (plan, result)
        };
        let (plan, result) = planned(1, Parts::Whole);
        let pool = plan.steps().iter().find(|step| step.name == "pool0").unwrap();
        assert_eq!(pool.why.as_deref(), Some("reads and writes lanes"), "{isa}");
        assert!(error(&result, &expected) < 2e-5, "{isa}");
        for (threads, parts) in [(3, Parts::Whole), (2, Parts::Of(1)), (1, Parts::Of(2)), (2, Parts::Fastest)]
        {
            assert_eq!(result, planned(threads, parts).1, "{isa}, {threads} threads, {parts:?}");
        }
    }
}
