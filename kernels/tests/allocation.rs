//! Packed forward kernels allocate nothing after their first run, which inference plans rely on.

mod support;

use lopper_kernels::cpu::{
    self, Cpu, Epilogue, ImageLayout, ImageLayouts, LinearLayout, PackedConv2d, PackedLinear, Packing,
    Weights,
};
use lopper_kernels::params::{CompactIndex, Dtype};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::shapes::{Conv2d, GroupNorm, Linear};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use support::Random;

/// The system's allocator, which counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is forwarded to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller guarantees a valid layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller guarantees a valid pointer and layout.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Counts the allocations of the second and third call of `f` on the pool's only thread.
fn allocations(cpu: &Cpu, mut f: impl FnMut() + Send) -> usize {
    cpu.run(|| {
        f();
        let before = ALLOCATIONS.get();
        f();
        f();
        ALLOCATIONS.get() - before
    })
}

#[test]
fn packed_kernels_allocate_nothing_in_a_steady_state() {
    // Uses one thread, so that the first call warms up every workspace.
    let cpu = Cpu::detect().threads(1);
    let mut random = Random(1);
    let direct = Conv2d::square([1, 20, 20, 40], 50, 3, 2, 1);
    let winograd = Conv2d::square([1, 20, 20, 64], 64, 3, 1, 1);
    let depthwise = Conv2d { groups: 40, ..Conv2d::square([1, 20, 20, 40], 40, 3, 1, 1) };
    let first = Conv2d::square([1, 20, 20, 3], 32, 3, 1, 1);
    for g in [direct, winograd, depthwise, first] {
        let (x, w, live) = (random.reals(g.x_len()), random.reals(g.w_len()), random.flags(g.o));
        let mut y = vec![0.0; g.y_len()];
        let packed = PackedConv2d::new(&cpu, &g, &w);
        let epilogue = Epilogue::default();
        let count =
            allocations(&cpu, || cpu::conv2d_forward_packed(&cpu, &g, &x, &packed, &epilogue, &mut y));
        assert_eq!(count, 0, "{} of {g:?}", packed.kernel());
        let (packing, pattern) =
            (Packing::Fastest(Weights::Memory), Pattern::of_filters(&live, g.filters_shape()));
        let masked = PackedConv2d::masked(&cpu, &g, &w, &pattern, packing);
        let count =
            allocations(&cpu, || cpu::conv2d_forward_packed(&cpu, &g, &x, &masked, &epilogue, &mut y));
        assert_eq!(count, 0, "masked {} of {g:?}", masked.kernel());
        if g.groups == 1 {
            let all = |n: usize| (0..n as u32).collect();
            let index = CompactIndex { inputs: all(g.c), outputs: all(g.o), carrier: false };
            let compact = PackedConv2d::compact(&cpu, &g, &index, &w, &vec![0.0; g.o], packing);
            let count =
                allocations(&cpu, || cpu::conv2d_forward_packed(&cpu, &g, &x, &compact, &epilogue, &mut y));
            assert_eq!(count, 0, "compact {} of {g:?}", compact.kernel());
        }
    }
    let g = Linear { n: 3, inputs: 100, outputs: 70 };
    let (x, w, mut y) = (random.reals(300), random.reals(7000), vec![0.0; 210]);
    let packed = PackedLinear::new(&cpu, &g, &w);
    let mut run = |packed: &PackedLinear| {
        allocations(&cpu, || cpu::linear_forward_packed(&cpu, &g, &x, packed, &Epilogue::default(), &mut y))
    };
    assert_eq!(run(&packed), 0, "linear");
    let pattern = Pattern::of(&w, [g.outputs, 1, g.inputs]);
    for layout in [LinearLayout::Bits, LinearLayout::Lists] {
        let packed = PackedLinear::laid_out(&cpu, &g, &w, &pattern, Dtype::F32, layout);
        assert_eq!(run(&packed), 0, "{}", packed.kernel());
    }
}

#[test]
fn depthwise_convolutions_in_row_lanes_allocate_nothing_in_a_steady_state() {
    let cpu = Cpu::detect().threads(1);
    let mut random = Random(3);
    let before = Conv2d::square([2, 20, 20, 8], 40, 1, 1, 0);
    let sparse: Vec<f32> = (0..before.w_len()).map(|i| (i % 3) as f32).collect();
    let pattern = Pattern::of(&sparse, before.filters_shape());
    let packing = Packing::InLanes(Weights::Cache);
    let lanes = cpu::conv2d_lane_images(&cpu, &before, &pattern, packing)[1].expect("it writes lanes");
    for stride in [1, 2] {
        let g = Conv2d { groups: 40, ..Conv2d::square([2, 20, 20, 40], 40, 3, stride, 1) };
        let after = cpu::conv2d_lanes_after(&g, &lanes).expect("it reads them");
        let [x, y] = [lanes, after].map(ImageLayout::RowLanes);
        let layouts = ImageLayouts { x, residual: y, y };
        let packed = PackedConv2d::new(&cpu, &g, &random.reals(g.w_len()));
        let (x, mut y) = (random.reals(x.len(g.x_shape())), vec![0.0; y.len(g.y_shape())]);
        let mut run = || {
            cpu::conv2d_forward_between(&cpu, &g, &layouts, &x, &packed, &Epilogue::default(), &mut y);
        };
        assert_eq!(allocations(&cpu, &mut run), 0, "stride {stride}");
    }
}

#[test]
fn a_group_norm_allocates_nothing_in_a_steady_state() {
    let cpu = Cpu::detect().threads(1);
    let mut random = Random(2);
    let g = GroupNorm { n: 2, pixels: 300, c: 24, groups: 3, eps: 1e-5 };
    let (x, gamma, beta) = (random.reals(g.len()), random.reals(g.c), random.reals(g.c));
    let mut y = vec![0.0; g.len()];
    assert_eq!(allocations(&cpu, || cpu::group_norm_forward(&cpu, &g, &x, [&gamma, &beta], &mut y)), 0);
}
