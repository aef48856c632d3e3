//! Winograd's algorithm along rows: large strided kernels and few channels.

use super::*;

/// The first layers of ResNet, AlexNet and YOLOv5, and odd ones: rows that tiles do not divide, strides that rows and columns
/// do not share, one row, padding before and behind, and every number of left-over filters.
fn geometries() -> Vec<Conv2d> {
    let row = Conv2d {
        kh: 1,
        kw: 7,
        padding: [0, 3],
        stride: [1, 2],
        ..Conv2d::square([2, 1, 37, 5], 19, 1, 1, 0)
    };
    let mixed = Conv2d {
        kh: 4,
        kw: 8,
        stride: [3, 2],
        padding: [2, 5],
        ..Conv2d::square([1, 30, 25, 7], 49, 1, 1, 0)
    };
    let same = Conv2d { extra_padding: [1, 2], ..Conv2d::square([1, 14, 22, 15], 17, 5, 2, 1) };
    vec![
        Conv2d::square([2, 64, 64, 3], 64, 7, 2, 3),
        Conv2d::square([1, 67, 63, 3], 64, 11, 4, 2),
        Conv2d::square([1, 40, 36, 3], 48, 6, 2, 2),
        Conv2d::square([3, 9, 7, 1], 33, 7, 2, 3),
        row,
        mixed,
        same,
        Conv2d { kw: 7, padding: [1, 9], ..Conv2d::square([1, 5, 3, 2], 16, 5, 2, 1) },
    ]
}

const PACKING: Packing = Packing::By(Algorithm::WinogradRows);

/// The largest sum of magnitudes of each filter: the outputs of a tile share their errors.
fn by_filter(g: &Conv2d, sums: &[f64]) -> Vec<f64> {
    let largest =
        |filter: usize| sums.iter().skip(filter).step_by(g.o).fold(0.0, |max: f64, &sum| max.max(sum));
    let largest: Vec<f64> = (0..g.o).map(largest).collect();
    largest.iter().copied().cycle().take(sums.len()).collect()
}

#[test]
fn outputs_stay_within_the_bound() {
    let mut random = Random(51);
    for g in geometries() {
        let (x, w) = (random.reals(g.x_len()), random.reals(g.w_len()));
        let (bias, residual) = (random.reals(g.o), random.reals(g.y_len()));
        let (_, sums) = oracle(|x, w, y| reference::conv2d_forward(&g, x, w, None, y), &x, &w, g.y_len());
        let sums = by_filter(&g, &sums);
        for &activation in ACTIVATIONS {
            let mut y = vec![0.0; g.y_len()];
            reference::conv2d_forward(&g, &wide(&x), &wide(&w), Some(&wide(&bias)), &mut y);
            reference::conv2d_epilogue(Some(&wide(&residual)), activation, &mut y);
            let epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), activation };
            for cpu in &*CPUS {
                let packed = PackedConv2d::with(cpu, &g, &w, PACKING);
                assert!(packed.kernel().starts_with("winograd1x4"), "{} for {g:?}", packed.kernel());
                let mut first: Option<Vec<f32>> = None;
                for threads in 1..=3 {
                    let mut got = vec![f32::NAN; g.y_len()];
                    let cpu = cpu.clone().threads(threads);
                    cpu::conv2d_forward_packed(&cpu, &g, &x, &packed, &epilogue, &mut got);
                    assert_bounded(
                        &format!("{} of {g:?}", packed.kernel()),
                        8.0,
                        g.w_len() / g.o,
                        &got,
                        &y,
                        &sums,
                    );
                    let first = first.get_or_insert_with(|| got.clone());
                    assert!(
                        first.iter().zip(&got).all(|(a, b)| a.to_bits() == b.to_bits()),
                        "{threads} threads"
                    );
                }
            }
        }
    }
}

/// One image, several, and a larger one give the same bits for the same pixels.
#[test]
fn weights_serve_other_images() {
    let mut random = Random(53);
    let small = Conv2d::square([1, 33, 30, 3], 40, 7, 2, 3);
    let batch = Conv2d { n: 3, ..small };
    let (x, w) = (random.reals(batch.x_len()), random.reals(small.w_len()));
    for cpu in &*CPUS {
        let packed = PackedConv2d::with(cpu, &Conv2d { h: 200, w: 9, ..small }, &w, PACKING);
        let run = |g: &Conv2d, x: &[f32]| {
            let mut y = vec![f32::NAN; g.y_len()];
            cpu::conv2d_forward_packed(cpu, g, x, &packed, &Epilogue::default(), &mut y);
            y
        };
        let together = run(&batch, &x);
        for (x, y) in x.chunks_exact(small.x_len()).zip(together.chunks_exact(small.y_len())) {
            assert_eq!(run(&small, x), y, "{}", cpu.isa());
        }
    }
}

#[test]
fn dead_channels_are_left_out() {
    let mut random = Random(55);
    for g in geometries().into_iter().map(|g| Conv2d { o: 3 * g.o, ..g }) {
        let (x, w, bias) = (random.reals(g.x_len()), random.reals(g.w_len()), random.reals(g.o));
        let live = random.flags(g.o);
        let zeroed = without(&w, &live);
        let (_, sums) =
            oracle(|x, w, y| reference::conv2d_forward(&g, x, w, None, y), &x, &zeroed, g.y_len());
        let sums = by_filter(&g, &sums);
        let mut y = vec![0.0; g.y_len()];
        reference::conv2d_forward(&g, &wide(&x), &wide(&zeroed), Some(&wide(&bias)), &mut y);
        let outputs: Vec<u32> = (0..g.o as u32).filter(|&o| live[o as usize]).collect();
        let filters = w.chunks_exact(g.w_len() / g.o).zip(&live).filter(|(_, live)| **live);
        let inner: Vec<f32> = filters.flat_map(|(filter, _)| filter).copied().collect();
        let index = CompactIndex { inputs: (0..g.c as u32).collect(), outputs, carrier: false };
        let pattern = Pattern::of_filters(&live, g.filters_shape());
        let epilogue = Epilogue { bias: Some(&bias), ..Default::default() };
        for cpu in &*CPUS {
            for packed in [
                PackedConv2d::masked(cpu, &g, &w, &pattern, PACKING),
                PackedConv2d::compact(cpu, &g, &index, &inner, &bias, PACKING),
            ] {
                assert!(packed.kernel().starts_with("winograd1x4"), "{} for {g:?}", packed.kernel());
                let mut got = vec![f32::NAN; g.y_len()];
                cpu::conv2d_forward_packed(cpu, &g, &x, &packed, &epilogue, &mut got);
                assert_bounded(packed.kernel(), 8.0, g.w_len() / g.o, &got, &y, &sums);
            }
        }
    }
}

/// Some rows of an image have the bits of the whole image.
#[test]
fn rows_are_those_of_the_image() {
    let mut random = Random(57);
    for g in geometries().into_iter().map(|g| Conv2d { n: 1, ..g }) {
        let (x, w, bias) = (random.reals(g.x_len()), random.reals(g.w_len()), random.reals(g.o));
        let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Activation::Relu };
        for cpu in &*CPUS {
            let packed = PackedConv2d::with(cpu, &g, &w, PACKING);
            assert_eq!(packed.rows_at_a_time(&g), Some(1));
            let mut whole = vec![f32::NAN; g.y_len()];
            cpu::conv2d_forward_packed(cpu, &g, &x, &packed, &epilogue, &mut whole);
            let row = g.ow() * g.o;
            for band in [1, 3, 11] {
                for first in (0..g.oh()).step_by(band) {
                    let rows = first..(first + band).min(g.oh());
                    let mut y = vec![f32::NAN; rows.len() * row];
                    cpu::conv2d_forward_rows(cpu, &g, rows.clone(), (&x, 0), &packed, &epilogue, &mut y);
                    assert_eq!(
                        y,
                        whole[rows.start * row..rows.end * row],
                        "{} rows {rows:?} of {g:?}",
                        cpu.isa()
                    );
                }
            }
        }
    }
}

/// The plan's choice for ResNet's first layer, which training computes directly.
#[test]
fn first_layers_are_computed_along_rows() {
    for (n, size) in [(1, 128), (16, 128), (1, 224), (16, 224), (1, 32)] {
        let g = Conv2d::square([n, size, size, 3], 64, 7, 2, 3);
        let w = vec![0.1; g.w_len()];
        for cpu in &*CPUS {
            for (weights, algorithm) in
                [(Weights::Cache, Algorithm::WinogradRows), (Weights::Fresh, Algorithm::Direct)]
            {
                let packed = PackedConv2d::with(cpu, &g, &w, Packing::Fastest(weights));
                assert_eq!(packed.choice().algorithm, algorithm, "{}: {}", cpu.isa(), packed.choice());
            }
            let strict = cpu.clone().strict();
            assert_eq!(PackedConv2d::with(&strict, &g, &w, PACKING).choice().algorithm, Algorithm::Direct);
        }
    }
}
