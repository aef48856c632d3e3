//! Convolution of bands of an image.

use crate::cases::run;
use crate::draw::filled;
use crate::support::CPUS;
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::{
    self, Cpu, Epilogue, ImageLayout, ImageLayouts, LaneImages, PackedConv2d, Packing, Weights,
};
use lopper_kernels::params::Activation;
use lopper_kernels::pattern::Pattern;
use lopper_kernels::shapes::Conv2d;
use std::ops::Range;

/// The bands of an image, each from exactly the rows that it reads or from some more, have the bits of the whole image.
#[test]
fn depthwise_bands() {
    run("depthwise_bands", 80, |draw| {
        let (c, stride) = (draw.between(2..=40), draw.between(1..=2));
        let image = [1, draw.between(1..=14), draw.between(1..=14), c];
        let g = Conv2d {
            groups: c,
            padding: [draw.between(0..=2), draw.between(0..=2)],
            stride: [draw.between(1..=3), stride],
            ..Conv2d::square(image, c, 3, 1, 0)
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

/// An expansion of pixels or lanes to lanes, and the depthwise convolution that reads them.
struct Pair<'a> {
    cpu: &'a Cpu,
    geometries: [Conv2d; 2],
    packed: [PackedConv2d; 2],
    epilogues: [Epilogue<'a>; 2],
    /// The input's layout, and the lanes between the two and behind them.
    x: ImageLayout,
    lanes: [LaneImages; 2],
}

impl<'a> Pair<'a> {
    /// None if the images do not stay in lanes, one after another.
    fn new(
        cpu: &'a Cpu,
        geometries: [Conv2d; 2],
        weights: [&[f32]; 2],
        epilogues: [Epilogue<'a>; 2],
        pixels: bool,
    ) -> Option<Self> {
        let [expand, depthwise] = geometries;
        let (packing, pattern) =
            (Packing::InLanes(Weights::Cache), Pattern::of(weights[0], expand.filters_shape()));
        let [read, written] = cpu::conv2d_lane_images(cpu, &expand, &pattern, packing);
        let mid = written.filter(|lanes| lanes.part(1).is_some())?;
        let lanes = [mid, cpu::conv2d_lanes_after(&depthwise, &mid)?];
        let x = if pixels { ImageLayout::ChannelsLast } else { ImageLayout::RowLanes(read?) };
        let packed = [
            PackedConv2d::masked(cpu, &expand, weights[0], &pattern, packing),
            PackedConv2d::new(cpu, &depthwise, weights[1]),
        ];
        Some(Self { cpu, geometries, packed, epilogues, x, lanes })
    }

    /// Computes convolution `i`, of `height` rows, between these layouts.
    fn run(&self, i: usize, height: usize, [x, y]: [ImageLayout; 2], input: &[f32], output: &mut [f32]) {
        let g = Conv2d { h: height, ..self.geometries[i] };
        let layouts = ImageLayouts { x, y, ..ImageLayouts::default() };
        cpu::conv2d_forward_between(
            self.cpu,
            &g,
            &layouts,
            input,
            &self.packed[i],
            &self.epilogues[i],
            output,
        );
    }

    fn whole(&self, x: &[f32]) -> Buffer {
        let ([_, depthwise], [mid, to]) = (self.geometries, self.lanes.map(ImageLayout::RowLanes));
        let height = depthwise.h;
        let between = filled(self.lanes[0].len(depthwise.c), |y| self.run(0, height, [self.x, mid], x, y));
        filled(self.lanes[1].len(depthwise.c), |y| self.run(1, height, [mid, to], &between, y))
    }

    /// Computes the output rows `rows` from the rows that they read, which are behind `above` other rows of each plane.
    fn band(&self, rows: Range<usize>, above: usize, x: &[f32], y: &mut [f32]) {
        let [expand, depthwise] = self.geometries;
        let read = depthwise.rows_read(rows.clone());
        let mid = self.lanes[0].of_height(above + read.len());
        let (x, layout) = match self.x {
            ImageLayout::ChannelsLast => {
                let row = expand.w * expand.c;
                (&x[read.start * row..read.end * row], self.x)
            }
            ImageLayout::RowLanes(images) => (x, ImageLayout::RowLanes(images.rows(read.clone()))),
        };
        let between = filled(mid.len(depthwise.c), |values| {
            let band = ImageLayout::RowLanes(mid.rows(above..above + read.len()));
            self.run(0, read.len(), [layout, band], x, values);
            mid.move_to_start(above..above + read.len(), values);
        });
        let (x, y) =
            ((&between[..], &mid.rows(0..read.len()), read.start), (y, &self.lanes[1].rows(rows.clone())));
        cpu::conv2d_depthwise_lane_rows(
            self.cpu,
            &depthwise,
            rows,
            x,
            &self.packed[1],
            &self.epilogues[1],
            y,
        );
    }
}

/// Bands of a pair in row lanes have the bits of whole images.
#[test]
fn lane_bands() {
    run("lane_bands", 60, |draw| {
        let ([h, w], stride) = ([draw.between(1..=20), draw.between(5..=70)], draw.between(1..=2));
        let [c, o] = [draw.between(2..=12), draw.between(2..=20)];
        let expand = Conv2d::square([1, h, w, c], o, 1, 1, 0);
        let depthwise = Conv2d { groups: o, ..Conv2d::square([1, h, w, o], o, 3, stride, 1) };
        let (band, above, pixels) = (draw.between(1..=depthwise.oh()), draw.between(0..=3), draw.one_in(2));
        draw.about(format_args!(
            "bands of {band} rows of {depthwise:?}, {above} rows below others, {c} channels"
        ));
        let mut weights = draw.reals(expand.w_len());
        weights.iter_mut().for_each(|w| *w = if *w < 0.3 { 0.0 } else { *w });
        (weights[0], weights[expand.w_len() - 1]) = (0.0, 0.5);
        let (kernels, bias) = (draw.reals(depthwise.w_len()), draw.reals(o));
        let relu6 = Epilogue { bias: Some(&bias), residual: None, activation: Activation::Relu6 };
        for cpu in &*CPUS {
            let (geometries, weights) = ([expand, depthwise], [&weights[..], &kernels[..]]);
            let Some(pair) = Pair::new(cpu, geometries, weights, [relu6; 2], pixels) else { continue };
            let x = draw.reals(pair.x.len(expand.x_shape()));
            let whole = pair.whole(&x);
            let banded = filled(whole.len(), |y| {
                for start in (0..depthwise.oh()).step_by(band) {
                    pair.band(start..(start + band).min(depthwise.oh()), above, &x, y);
                }
            });
            // Lanes without a pixel may hold what the buffer held.
            let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&banded), bits(&whole), "{}", cpu.isa());
        }
    });
}
