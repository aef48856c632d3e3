//! Winograd's algorithms on large and odd shapes, forward and backward, dense, masked and compact.

use super::*;

/// Every algorithm, the prefix of its kernels' names, and the constant of its error bound.
const ALGORITHMS: [(Algorithm, &str, f64); 3] = [
    (Algorithm::Direct, "gemm", 2.0),
    (Algorithm::Winograd2, "winograd2", 4.0),
    (Algorithm::Winograd4, "winograd4", 8.0),
];

/// Shapes that Winograd's algorithm accepts: whole and cut tiles, every padding, and partial panels.
fn winograd_geometries() -> [Conv2d; 4] {
    [
        Conv2d::square([8, 16, 16, 50], 70, 3, 1, 1),
        Conv2d::square([8, 13, 15, 64], 48, 3, 1, 1),
        Conv2d::square([8, 18, 17, 49], 51, 3, 1, 0),
        Conv2d { padding: [2, 1], ..Conv2d::square([11, 7, 15, 48], 100, 3, 1, 2) },
    ]
}

/// A shape with so many pairs of channels that all threads work on the same tiles, and with more tiles than they take
/// at a time.
fn large_winograd() -> Conv2d {
    Conv2d::square([258, 3, 3, 181], 163, 3, 1, 1)
}

#[test]
fn winograd_stays_within_its_bound() {
    let mut random = Random(5);
    for g in winograd_geometries().iter().chain([&large_winograd()]) {
        let (x, w, dy) = (random.reals(g.x_len()), random.reals(g.w_len()), random.reals(g.y_len()));
        let (bias, residual) = (random.reals(g.o), random.reals(g.y_len()));
        let epilogue =
            Epilogue { bias: Some(&bias), residual: Some(&residual), activation: Activation::Relu };
        let (_, y_sums) = oracle(|x, w, y| reference::conv2d_forward(g, x, w, None, y), &x, &w, g.y_len());
        let mut y = vec![0.0; g.y_len()];
        reference::conv2d_forward(g, &wide(&x), &wide(&w), Some(&wide(&bias)), &mut y);
        reference::conv2d_epilogue(Some(&wide(&residual)), Activation::Relu, &mut y);
        let (dx, dx_sums) =
            oracle(|dy, w, dx| reference::conv2d_input_grad(g, dy, w, dx), &dy, &w, g.x_len());
        for cpu in &*CPUS {
            for (algorithm, name, bound) in ALGORITHMS {
                let packed = PackedConv2d::with(cpu, g, &w, Packing::By(algorithm));
                assert!(packed.kernel().starts_with(name), "{} for {algorithm}", packed.kernel());
                let mut got = vec![f32::NAN; g.y_len()];
                cpu::conv2d_forward_packed(cpu, g, &x, &packed, &epilogue, &mut got);
                assert_bounded(&format!("{} y", packed.kernel()), bound, 9 * g.c, &got, &y, &y_sums);
            }
            let got = input_grad(cpu, g, &dy, &w);
            assert_bounded(&format!("{} dx", cpu.isa()), 8.0, 9 * g.o, &got, &dx, &dx_sums);
        }
    }
}

#[test]
fn masked_and_compact_winograd_stay_within_the_bound() {
    let mut random = Random(7);
    for g in winograd_geometries().map(|g| Conv2d { o: 2 * g.o, ..g }) {
        let (x, w, bias) = (random.reals(g.x_len()), random.reals(g.w_len()), random.reals(g.o));
        let live = random.flags(g.o);
        let zeroed = without(&w, &live);
        let (_, sums) =
            oracle(|x, w, y| reference::conv2d_forward(&g, x, w, None, y), &x, &zeroed, g.y_len());
        let mut y = vec![0.0; g.y_len()];
        reference::conv2d_forward(&g, &wide(&x), &wide(&zeroed), Some(&wide(&bias)), &mut y);
        let outputs: Vec<u32> = (0..g.o as u32).filter(|&o| live[o as usize]).collect();
        let filters = w.chunks_exact(9 * g.c).zip(&live).filter(|(_, live)| **live);
        let inner: Vec<f32> = filters.flat_map(|(filter, _)| filter).copied().collect();
        let index = CompactIndex { inputs: (0..g.c as u32).collect(), outputs, carrier: false };
        let pattern = Pattern::of_filters(&live, g.filters_shape());
        for cpu in &*CPUS {
            let epilogue = Epilogue { bias: Some(&bias), ..Default::default() };
            for (algorithm, name, bound) in ALGORITHMS {
                let packing = Packing::By(algorithm);
                let packed = PackedConv2d::masked(cpu, &g, &w, &pattern, packing);
                assert!(packed.kernel().starts_with(name), "{} for {algorithm}", packed.kernel());
                let mut got = vec![f32::NAN; g.y_len()];
                cpu::conv2d_forward_packed(cpu, &g, &x, &packed, &epilogue, &mut got);
                assert_bounded(&format!("masked {}", packed.kernel()), bound, 9 * g.c, &got, &y, &sums);
                let packed = PackedConv2d::compact(cpu, &g, &index, &inner, &bias, packing);
                let mut got = vec![f32::NAN; g.y_len()];
                cpu::conv2d_forward_packed(cpu, &g, &x, &packed, &epilogue, &mut got);
                assert_bounded(&format!("compact {}", packed.kernel()), bound, 9 * g.c, &got, &y, &sums);
            }
        }
    }
}

/// Shapes that cross the limits of the weight gradient's loop nests: several chunks of tiles with one block and with
/// several blocks, and several steps with many blocks of different widths.
fn winograd_gradient_geometries() -> [Conv2d; 3] {
    [
        Conv2d::square([3, 40, 37, 9], 20, 3, 1, 1),
        Conv2d::square([4, 34, 33, 110], 33, 3, 1, 0),
        Conv2d { padding: [1, 2], ..Conv2d::square([6, 13, 12, 200], 150, 3, 1, 0) },
    ]
}

#[test]
fn large_winograd_weight_grads_stay_within_the_bound() {
    for g in winograd_geometries().iter().chain(&winograd_gradient_geometries()) {
        bounded_weight_grad(g, 8);
    }
}

/// Tests few tiles and a large weight, whose filters are transformed in pieces of 128 channels.
#[test]
fn fresh_winograd_weights_stay_within_the_bound() {
    let g = Conv2d { padding: [1, 2], ..Conv2d::square([2, 12, 12, 200], 150, 3, 1, 0) };
    let mut random = Random(9);
    let (x, w, dy) = (random.reals(g.x_len()), random.reals(g.w_len()), random.reals(g.y_len()));
    let (y, y_sums) = oracle(|x, w, y| reference::conv2d_forward(&g, x, w, None, y), &x, &w, g.y_len());
    let (dx, dx_sums) = oracle(|dy, w, dx| reference::conv2d_input_grad(&g, dy, w, dx), &dy, &w, g.x_len());
    for cpu in &*CPUS {
        let isa = cpu.isa();
        let got = forward(cpu, &g, &x, &w, None);
        assert_bounded(&format!("{isa} y"), 8.0, 9 * g.c, &got, &y, &y_sums);
        let got = input_grad(cpu, &g, &dy, &w);
        assert_bounded(&format!("{isa} dx"), 8.0, 9 * g.o, &got, &dx, &dx_sums);
    }
}

#[test]
fn winograd_does_not_depend_on_the_thread_count() {
    let gradients = winograd_gradient_geometries();
    for g in winograd_geometries().iter().chain([&large_winograd()]).chain(&gradients) {
        same_bits(g, 6);
    }
}
