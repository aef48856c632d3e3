//! The documented behavior of Winograd's algorithm on infinite and huge values, and the workaround, a strict CPU.

use crate::support::{CPUS, Random};
use lopper_kernels::cpu::{self, Algorithm, Cpu, Epilogue, PackedConv2d, Packing, Weights};
use lopper_kernels::shapes::Conv2d;

/// The output of a 3×3 convolution of `x`.
fn forward(cpu: &Cpu, g: &Conv2d, x: &[f32], w: &[f32], packing: Packing) -> Vec<f32> {
    let packed = PackedConv2d::with(cpu, g, w, packing);
    let mut y = vec![0.0; g.y_len()];
    cpu::conv2d_forward_packed(cpu, g, x, &packed, &Epilogue::default(), &mut y);
    y
}

/// A geometry, the special pixel in the middle of its only image, and the algorithms that spread it, with the side of
/// their tiles.
fn geometry() -> (Conv2d, usize, [(Algorithm, usize); 2]) {
    let g = Conv2d::square([1, 16, 16, 8], 8, 3, 1, 1);
    (g, 6 * 16 + 6, [(Algorithm::Winograd2, 2), (Algorithm::Winograd4, 4)])
}

/// Whether output pixel `p` reads input pixel `at`.
fn reads(g: &Conv2d, p: usize, at: usize) -> bool {
    (p / g.w).abs_diff(at / g.w) <= 1 && (p % g.w).abs_diff(at % g.w) <= 1
}

/// Whether output pixel `p` depends on input pixel `at` through its tile. Along each axis, it depends on the inner
/// pixels of the patch, and on an outermost one only if it reads it.
fn depends(g: &Conv2d, p: usize, at: usize, side: usize) -> bool {
    let along = |out: usize, pixel: usize| {
        let first = out / side * side;
        out.abs_diff(pixel) <= 1 || (first..first + side).contains(&pixel)
    };
    along(p / g.w, at / g.w) && along(p % g.w, at % g.w)
}

#[test]
fn an_infinite_pixel_spoils_only_the_outputs_that_depend_on_it() {
    let (g, at, tiled) = geometry();
    let mut random = Random(1);
    let (mut x, w) = (random.reals(g.x_len()), random.reals(g.w_len()));
    for cpu in &*CPUS {
        for special in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            x[at * g.c + 3] = special;
            let direct = forward(cpu, &g, &x, &w, Packing::By(Algorithm::Direct));
            for (i, y) in direct.iter().enumerate() {
                assert_eq!(!y.is_finite(), reads(&g, i / g.o, at), "direct output {i} of {special}: {y}");
                assert_eq!(y.is_nan(), special.is_nan() && reads(&g, i / g.o, at));
            }
            for (algorithm, side) in tiled {
                let y = forward(cpu, &g, &x, &w, Packing::By(algorithm));
                for (i, y) in y.iter().enumerate() {
                    let spoiled = depends(&g, i / g.o, at, side);
                    assert_eq!(!y.is_finite(), spoiled, "{algorithm} output {i} of {special}: {y}");
                }
                assert!(y.iter().any(|y| y.is_nan()));
            }
        }
    }
}

#[test]
fn a_huge_pixel_leaves_rounding_errors_in_the_outputs_that_depend_on_it() {
    let (g, at, tiled) = geometry();
    let mut random = Random(2);
    let (mut x, w) = (random.reals(g.x_len()), random.reals(g.w_len()));
    x[at * g.c] = 1e20;
    for cpu in &*CPUS {
        let direct = forward(cpu, &g, &x, &w, Packing::By(Algorithm::Direct));
        for (algorithm, side) in tiled {
            let y = forward(cpu, &g, &x, &w, Packing::By(algorithm));
            let errors = |which: &dyn Fn(usize) -> bool| {
                let outputs = (0..y.len()).filter(|i| which(i / g.o));
                outputs.fold(0.0, |max: f32, i| max.max((y[i] - direct[i]).abs()))
            };
            let neighbours = errors(&|p| depends(&g, p, at, side) && !reads(&g, p, at));
            let spread = algorithm == Algorithm::Winograd4;
            assert_eq!(neighbours > 1e6, spread, "{algorithm}: an error of {neighbours} beside 1e20");
            assert!(errors(&|p| !depends(&g, p, at, side)) < 1e-3, "{algorithm}: other outputs");
        }
    }
}

#[test]
fn values_below_the_stated_limit_do_not_overflow() {
    let (g, _, tiled) = geometry();
    let w = vec![1.0; g.w_len()];
    let limit = f32::MAX / (1500.0 * (g.w_len() / g.o) as f32);
    // The signs with which the rows of Bᵀ add magnitudes: pairs of alternating sign, along both axes.
    let sign = |i: usize| if (i / 2).is_multiple_of(2) { 1.0 } else { -1.0 };
    let images = |size: f32| -> Vec<f32> {
        (0..g.x_len()).map(|i| size * sign(i / g.c / g.w) * sign(i / g.c % g.w)).collect()
    };
    let finite = |cpu: &Cpu, size: f32, algorithm: Algorithm| {
        forward(cpu, &g, &images(size), &w, Packing::By(algorithm)).iter().all(|y| y.is_finite())
    };
    for cpu in &*CPUS {
        for (algorithm, _) in tiled {
            assert!(finite(cpu, limit, algorithm), "{algorithm} on {}", cpu.isa());
        }
        assert!(finite(cpu, 1000.0 * limit, Algorithm::Direct), "direct on a thousand times the limit");
        assert!(!finite(cpu, 1000.0 * limit, Algorithm::Winograd4), "the limit is close to the actual one");
    }
}

#[test]
fn a_strict_cpu_uses_the_direct_algorithm() {
    let g = Conv2d::square([4, 16, 16, 64], 64, 3, 1, 1);
    let mut random = Random(4);
    let (x, w, dy) = (random.integers(g.x_len()), random.integers(g.w_len()), random.integers(g.y_len()));
    for cpu in &*CPUS {
        let strict = cpu.clone().strict().threads(1);
        assert!(strict.is_strict() && !cpu.is_strict());
        for packing in [Packing::By(Algorithm::Winograd4), Packing::Fastest(Weights::Memory)] {
            assert_eq!(PackedConv2d::with(&strict, &g, &w, packing).choice().algorithm, Algorithm::Direct);
            assert_ne!(PackedConv2d::with(cpu, &g, &w, packing).choice().algorithm, Algorithm::Direct);
        }
        // The direct algorithm is exact on integers; √2 makes Winograd inexact.
        let (mut y, mut dx, mut dw) = (vec![0.0; g.y_len()], vec![0.0; g.x_len()], vec![0.0; g.w_len()]);
        cpu::conv2d_forward(&strict, &g, &x, &w, None, &mut y);
        cpu::conv2d_input_grad(&strict, &g, &dy, &w, &mut dx);
        cpu::conv2d_weight_grad(&strict, &g, &x, &dy, &mut dw);
        for values in [y, dx, dw] {
            assert!(values.iter().all(|v| v.fract() == 0.0), "{}", cpu.isa());
        }
    }
}
