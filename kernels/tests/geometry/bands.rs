//! Convolution of bands of an image.

use crate::cases::run;
use crate::convolution::mask;
use crate::draw::{Draw, filled};
use crate::support::CPUS;
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::{self, Algorithm, Cpu, Epilogue, PackedConv2d, Packing, Weights};
use lopper_kernels::params::{Activation, CompactIndex};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::shapes::Conv2d;

/// Asserts that the bands of an image, each from exactly the rows that it reads or from some more, have the bits of the whole
/// image.
fn assert_bands(draw: &mut Draw, cpu: &Cpu, g: &Conv2d, x: &[f32], packed: &PackedConv2d) {
    let bias = draw.reals(g.o);
    let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Activation::Relu6 };
    let whole = filled(g.y_len(), |y| cpu::conv2d_forward_packed(cpu, g, x, packed, &epilogue, y));
    let (band, more, row) = (draw.between(1..=g.oh()), draw.between(0..=2), g.ow() * g.o);
    for start in (0..g.oh()).step_by(band) {
        let rows = start..(start + band).min(g.oh());
        let read = g.rows_read(rows.clone());
        let first = read.start.saturating_sub(more);
        let x = Buffer::from_slice(&x[first * g.w * g.c..read.end.max(first) * g.w * g.c]);
        let y = filled(rows.len() * row, |y| {
            cpu::conv2d_forward_rows(cpu, g, rows.clone(), (&x, first), packed, &epilogue, y);
        });
        let wanted = &whole[rows.start * row..rows.end * row];
        assert_eq!(y[..], *wanted, "{} with {}, rows {rows:?}", packed.kernel(), cpu.isa());
    }
}

#[test]
fn depthwise_bands() {
    run("depthwise_bands", 80, |draw| {
        let (c, (size, stride)) =
            (draw.between(2..=40), draw.pick(&[(3, 1), (3, 2), (5, 1), (5, 2), (7, 1)]));
        let image = [1, draw.between(1..=14), draw.between(1..=14), c];
        let g = Conv2d {
            groups: c,
            padding: [draw.between(0..=size - 1), draw.between(0..=size - 1)],
            stride: [draw.between(1..=3), stride],
            ..Conv2d::square(image, c, size, 1, 0)
        };
        if g.check().is_err() {
            return;
        }
        draw.about(format_args!("bands of {g:?}"));
        let (x, w) = (draw.reals(g.x_len()), draw.reals(g.w_len()));
        for cpu in &*CPUS {
            let packed = PackedConv2d::new(cpu, &g, &w);
            assert_eq!(packed.rows_at_a_time(&g), Some(1));
            assert_bands(draw, cpu, &g, &x, &packed);
        }
    });
}

/// Draws a geometry with one image, often wider than a row of lanes.
fn image(draw: &mut Draw) -> Conv2d {
    let width = draw.pick(&[6, 30, 150]);
    let image = [1, draw.between(1..=14), draw.between(1..=width), draw.between(1..=20)];
    let (k, o) = (draw.pick(&[1, 3, 3, 5]), draw.between(1..=20));
    let padding = if draw.one_in(2) { k / 2 } else { draw.between(0..=k) };
    let extra_padding = if draw.one_in(4) { [draw.between(0..=1), draw.between(0..=1)] } else { [0; 2] };
    Conv2d {
        stride: [draw.between(1..=2), draw.between(1..=2)],
        dilation: if draw.one_in(4) { [2; 2] } else { [1; 2] },
        extra_padding,
        ..Conv2d::square(image, o, k, 1, padding)
    }
}

/// Whether a kernel must compute some rows of `g` at a time.
fn must_divide(packed: &PackedConv2d, g: &Conv2d) -> bool {
    let rows = g.ow() >= 16 && 2 * g.padding[0] < g.kh && g.kh > 1;
    match packed.choice().algorithm {
        Algorithm::Direct | Algorithm::WinogradRows => true,
        Algorithm::RowLanes => rows,
        _ => false,
    }
}

#[test]
fn bands() {
    run("bands", 60, |draw| {
        let g = image(draw);
        if g.check().is_err() {
            return;
        }
        let packing = draw.pick(&[
            Packing::By(Algorithm::Direct),
            Packing::By(Algorithm::WinogradRows),
            Packing::By(Algorithm::RowLanes),
            Packing::By(Algorithm::RowLanes),
            Packing::Fastest(Weights::Memory),
        ]);
        let mask = mask(draw, &g);
        let pattern = Pattern::of(&mask, g.filters_shape());
        draw.about(format_args!("bands of {g:?}, {packing:?}, {pattern}"));
        let (x, mut w) = (draw.reals(g.x_len()), draw.reals(g.w_len()));
        w.iter_mut().zip(&mask).for_each(|(w, mask)| *w *= mask);
        for cpu in &*CPUS {
            let packed = PackedConv2d::masked(cpu, &g, &w, &pattern, packing);
            let rows = packed.rows_at_a_time(&g);
            assert_eq!(cpu::conv2d_rows_at_a_time(cpu, &g, &pattern, packing), rows, "{}", packed.kernel());
            assert!(rows.is_some() || !must_divide(&packed, &g), "{} computes rows", packed.kernel());
            if rows.is_some() {
                assert_bands(draw, cpu, &g, &x, &packed);
            }
        }
    });
}

/// A compact convolution, whose dead outputs may be computed as filters of zeros with a constant.
#[test]
fn compact_bands() {
    run("compact_bands", 20, |draw| {
        let g = image(draw);
        if g.check().is_err() {
            return;
        }
        let live = |draw: &mut Draw, len| {
            let flags = draw.flags(len);
            (0..len as u32).filter(|&channel| flags[channel as usize]).collect::<Vec<u32>>()
        };
        let inputs = if draw.one_in(2) { (0..g.c as u32).collect() } else { live(draw, g.c) };
        let index = CompactIndex { inputs, outputs: live(draw, g.o), carrier: false };
        let packing = draw.pick(&[Packing::By(Algorithm::Direct), Packing::By(Algorithm::WinogradRows)]);
        draw.about(format_args!("bands of {g:?}, {packing:?}, {index:?}"));
        let w = draw.reals(index.outputs.len() * g.kh * g.kw * index.inputs.len());
        let (x, fill) = (draw.reals(g.x_len()), draw.reals(g.o));
        for cpu in &*CPUS {
            let packed = PackedConv2d::compact(cpu, &g, &index, &w, &fill, packing);
            let rows = packed.rows_at_a_time(&g);
            assert_eq!(
                cpu::conv2d_compact_rows_at_a_time(cpu, &g, &index, packing),
                rows,
                "{}",
                packed.kernel()
            );
            if rows.is_some() {
                assert_bands(draw, cpu, &g, &x, &packed);
            }
        }
    });
}
