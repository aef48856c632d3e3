//! Depthwise convolution of bands of an image.

use crate::cases::run;
use crate::draw::filled;
use crate::support::CPUS;
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::{self, Epilogue, PackedConv2d};
use lopper_kernels::params::Activation;
use lopper_kernels::shapes::Conv2d;

/// The bands of an image, each from exactly the rows that it reads or from some more, have the bits of the whole image.
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
        let (band, more) = (draw.between(1..=g.oh()), draw.between(0..=2));
        draw.about(format_args!("bands of {band} rows of {g:?}, from {more} rows more"));
        let (x, w, bias) = (draw.reals(g.x_len()), draw.reals(g.w_len()), draw.reals(c));
        let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Activation::Relu6 };
        for cpu in &*CPUS {
            let packed = PackedConv2d::new(cpu, &g, &w);
            assert!(packed.computes_rows(&g));
            let whole = filled(g.y_len(), |y| cpu::conv2d_forward_packed(cpu, &g, &x, &packed, &epilogue, y));
            for start in (0..g.oh()).step_by(band) {
                let rows = start..(start + band).min(g.oh());
                let read = g.rows_read(rows.clone());
                let first = read.start.saturating_sub(more);
                let x = Buffer::from_slice(&x[first * g.w * c..read.end.max(first) * g.w * c]);
                let y = filled(rows.len() * g.ow() * c, |y| {
                    cpu::conv2d_depthwise_rows(cpu, &g, rows.clone(), (&x, first), &packed, &epilogue, y);
                });
                let row = g.ow() * c;
                assert_eq!(y[..], whole[rows.start * row..rows.end * row], "{} rows {rows:?}", cpu.isa());
            }
        }
    });
}
