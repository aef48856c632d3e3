//! The product of images, or of some of their rows, and packed weights: each layout has its kernel.

use super::depthwise_rows::{self, DepthwiseRows};
use super::gather::WindowGather;
use super::image_rows::ImageRows;
use super::implicit_gemm::ImplicitGemm;
use super::layout::Layout;
use super::packed::PackedConv2d;
use super::padded::{self, forward_windows};
use super::winograd::{Line, Winograd};
use super::{Epilogue, Windows, depthwise};
use crate::cpu::Cpu;
use crate::cpu::device::shared::Shared;
use crate::cpu::lanes::ImageLayouts;
use crate::shapes::Conv2d;

/// Images, and what gathers their pixels [in tasks](super::gather::in_tasks).
pub(super) type Source<'a> = (&'a [f32], Option<WindowGather<'a>>);

impl PackedConv2d {
    /// Computes the product of some rows of the images of `g`, all of them unless the layout computes
    /// [rows at a time](PackedConv2d::rows_at_a_time), and scatters it to `y`.
    pub(super) fn product(
        &self,
        cpu: &Cpu,
        g: &Conv2d,
        rows: ImageRows,
        (x, gather): Source,
        epilogue: &Epilogue,
        y: &mut [f32],
    ) {
        let scatter = self.scatter.as_ref();
        let all = rows == ImageRows::all(g);
        assert!(all || g.n == 1, "some rows are those of one image");
        match &self.layout {
            Layout::Depthwise if depthwise_rows::applies(g) => {
                let (zeros, w, first) = (&self.zeros, &self.data, rows.inputs.start);
                let rows = if all { 0..g.n * g.oh() } else { rows.outputs };
                DepthwiseRows { g, x, first, zeros, w, epilogue }.run(cpu, rows, y);
            }
            Layout::Depthwise => {
                assert!(all, "the kernel computes whole images");
                let windows = Windows::forward(g, &self.taps);
                depthwise::run(cpu, &windows, x, &self.zeros, &self.data, epilogue, y);
            }
            Layout::Winograd(filters) => {
                assert!(all, "the kernel computes whole images");
                Winograd::new(g, x, filters, &self.data, &self.zeros, scatter, *epilogue)
                    .run(cpu, Shared::new(y));
            }
            Layout::Line(filters) => {
                let (packed, epilogue) = (&self.data[..], *epilogue);
                Line { g, rows, x, filters, packed, scatter, epilogue }.run(cpu, Shared::new(y));
            }
            Layout::RowLanes(lanes) => {
                let product = self.lanes_product(ImageLayouts::default(), x, epilogue);
                lanes.run(cpu, g, &rows, &product, Shared::new(y));
            }
            Layout::Panels(panels) => {
                let padded = padded::applies(g).then(|| padded::images(cpu, g, &rows, x));
                let windows = forward_windows(g, &rows, &self.taps);
                let product = ImplicitGemm {
                    windows,
                    source: padded.as_deref().unwrap_or(x),
                    gather,
                    zeros: &self.zeros,
                    panels,
                    packed: self.data.bytes(),
                    len: windows.row_len / g.groups,
                    scatter,
                    epilogue: *epilogue,
                };
                product.run(cpu, Shared::new(y));
            }
        }
    }
}
