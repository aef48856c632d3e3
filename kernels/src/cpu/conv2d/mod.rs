//! Convolution of channels-last images as an implicit matrix product.
//!
//! `y[p, o] = Σ_{tap, c} x[p @ tap, c] · w[o, tap, c]`: rows are output pixels, columns are filters, and the reduction
//! runs over taps and channels. No im2col matrix is built. The tile kernel reads the image in place, through one
//! pointer per pixel and tap ([`windows`]), and multiplies it by weights that are packed once ([`PackedConv2d`]).
//!
//! Dense, masked and compact convolution differ only in which filters are packed and where results are stored
//! ([`masked`], [`compact`]). The input gradient is a convolution of `dy` ([`input_grad`]), and the weight gradient is
//! a product that reduces over pixels ([`weight_grad`]).

mod algorithm;
mod compact;
mod footprint;
mod implicit_gemm;
mod input_grad;
mod masked;
mod padded;
mod scatter;
mod weight_grad;
mod windows;
mod winograd;

pub use algorithm::{Algorithm, Choice, Packing, Weights};
pub use compact::{PackedCompact, conv2d_compact_forward};
pub use footprint::Footprint;
pub use input_grad::conv2d_input_grad;
pub use masked::{PackedMasked, conv2d_masked_forward, conv2d_masked_forward_packed};
pub use weight_grad::conv2d_weight_grad;

pub(super) use weight_grad::sum_chunks;
pub(super) use windows::{Windows, tap_offsets};

use super::panels::{Panel, Strided, packed_len, split_columns};
use super::shared::Shared;
use super::{Cpu, depthwise};
use crate::buffer::Buffer;
use crate::params::{Activation, Storage};
use crate::shapes::Conv2d;
use half::{bf16, slice::HalfFloatSliceExt};
use implicit_gemm::ImplicitGemm;
use rayon::prelude::*;
use scatter::Scatter;
use winograd::{Direction, Filters, Winograd, run_fresh};

/// The fused epilogue of a convolution or linear layer, applied before the result is stored:
/// `y = activation(product + bias + residual)`. The default does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// `[O]`.
    pub bias: Option<&'a [f32]>,
    /// Has the output's layout.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

impl Epilogue<'_> {
    /// Asserts that the lengths match an output of `len` floats in rows of `columns`.
    pub(super) fn check(&self, columns: usize, len: usize) {
        assert!(self.bias.is_none_or(|bias| bias.len() == columns), "the bias has one value per column");
        assert!(
            self.residual.is_none_or(|residual| residual.len() == len),
            "the residual has the output's length"
        );
    }
}

/// The weights of a convolution, packed in the order in which the kernel reads them.
pub struct PackedConv2d {
    geometry: Conv2d,
    taps: Vec<[isize; 2]>,
    choice: Choice,
    layout: Layout,
    storage: Storage,
    data: Buffer,
    /// A row of zeros, read by taps in the padding and by slots without a window.
    zeros: Buffer,
}

enum Layout {
    /// Panels of filters, each `[KH·KW·C/G, NR]`.
    Panels(Vec<Panel>),
    /// `[KH·KW, C]`.
    Depthwise,
    /// Filters transformed for Winograd's algorithm.
    Winograd(Filters),
}

impl PackedConv2d {
    /// Packs `w` `[O, KH, KW, C/G]` for the algorithm that is fastest for `g` when weights come from memory.
    /// The packed weights also serve other image and batch sizes.
    pub fn new(cpu: &Cpu, g: &Conv2d, w: &[f32]) -> Self {
        Self::with(cpu, g, w, Packing::Fastest(Weights::Memory))
    }

    /// Packs `w` for an algorithm that `packing` allows.
    pub fn with(cpu: &Cpu, g: &Conv2d, w: &[f32], packing: Packing) -> Self {
        Self::in_buffer(cpu, g, w, packing, Buffer::unspecified)
    }

    /// Packs `w` for the direct algorithm.
    pub fn direct(cpu: &Cpu, g: &Conv2d, w: &[f32]) -> Self {
        Self::with(cpu, g, w, Packing::By(Algorithm::Direct))
    }

    /// Packs into a buffer created by `buffer`, which returns at least the requested length.
    fn in_buffer(
        cpu: &Cpu,
        g: &Conv2d,
        w: &[f32],
        packing: Packing,
        buffer: impl FnOnce(usize) -> Buffer,
    ) -> Self {
        assert_eq!(w.len(), g.w_len(), "the weight has the length of its shape");
        Self::with_filters(cpu, g, w, &vec![g.o / g.groups; g.groups], packing, buffer)
    }

    /// Packs the filters of `w`; group `i` has `filters[i]` of them.
    fn with_filters(
        cpu: &Cpu,
        g: &Conv2d,
        w: &[f32],
        filters: &[usize],
        packing: Packing,
        buffer: impl FnOnce(usize) -> Buffer,
    ) -> Self {
        let taps = forward_taps(g);
        let (zeros, storage) = (Buffer::zeros(forward_windows(g, &taps).row_len), Storage::F32);
        if depthwise::applies(g) {
            let mut data = buffer(w.len());
            depthwise::pack(g, w, &mut data);
            let choice = Choice::only("one channel per filter");
            return Self { geometry: *g, taps, choice, layout: Layout::Depthwise, storage, data, zeros };
        }
        let live = Conv2d { o: filters.iter().sum(), ..*g };
        let choice = Choice::new(cpu, &live, packing);
        if let Some(tiling) = choice.algorithm.tiling() {
            let filters = Filters::new(cpu, &live, tiling, Direction::Forward);
            let mut data = buffer(filters.len());
            filters.pack(cpu, &live, w, &mut data);
            return Self {
                geometry: *g,
                taps,
                choice,
                layout: Layout::Winograd(filters),
                storage,
                data,
                zeros,
            };
        }
        let k = g.w_len() / g.o;
        let mut panels = Vec::new();
        let (mut first, mut offset) = (0, 0);
        for (group, &count) in filters.iter().enumerate() {
            let mut columns = split_columns(cpu.backend, count, k, offset);
            offset += packed_len(&columns, k);
            for panel in &mut columns {
                panel.start += first;
                panel.a_offset = group * (g.c / g.groups);
            }
            panels.extend(columns);
            first += count;
        }
        let mut data = buffer(offset);
        let shared = Shared::new(&mut data);
        let matrix = Strided { data: w, k_step: 1, j_step: k };
        cpu.run(|| {
            panels.par_iter().for_each(|panel| {
                // SAFETY: panels are packed one after another, so their ranges are disjoint.
                let packed = unsafe { shared.range(panel.offset, k * panel.kernel.nr) };
                matrix.pack(0, k, panel, packed);
            });
        });
        Self { geometry: *g, taps, choice, layout: Layout::Panels(panels), storage, data, zeros }
    }

    /// The name of the chosen kernel: operation, tile and instruction set.
    pub fn kernel(&self) -> &'static str {
        match &self.layout {
            Layout::Depthwise => "depthwise",
            Layout::Winograd(filters) => filters.kernel(),
            Layout::Panels(panels) => panels.first().map_or("none", |panel| match self.storage {
                Storage::F32 => panel.kernel.name,
                Storage::Bf16 => panel.kernel.name_bf16,
            }),
        }
    }

    /// The chosen algorithm and the reason for it.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// The number of multiply-accumulates needed to compute `g`: that of its definition, or fewer.
    pub fn products(&self, g: &Conv2d) -> u64 {
        let k = self.geometry.w_len() / self.geometry.o;
        let pixels = g.n * g.oh() * g.ow();
        let products = match &self.layout {
            Layout::Depthwise => pixels * self.geometry.w_len(),
            Layout::Winograd(filters) => filters.tiling().tiles(g) * filters.products(g.c),
            Layout::Panels(panels) => pixels * k * panels.iter().map(|panel| panel.width).sum::<usize>(),
        };
        products as u64
    }

    /// The size of the packed weights in bytes.
    pub fn bytes(&self) -> usize {
        let k = self.geometry.w_len() / self.geometry.o;
        4 * match &self.layout {
            Layout::Depthwise => self.geometry.w_len(),
            Layout::Winograd(filters) => filters.len(),
            Layout::Panels(panels) => match self.storage {
                Storage::F32 => packed_len(panels, k),
                Storage::Bf16 => packed_len(panels, k) / 2,
            },
        }
    }

    /// Converts weights packed for the direct algorithm to bf16, rounded to nearest. Two numbers take the place of one,
    /// because panels have even lengths.
    pub(super) fn into_bf16(mut self, cpu: &Cpu) -> Self {
        assert!(matches!(self.layout, Layout::Panels(_)) && self.storage == Storage::F32, "panels of f32");
        let mut halves = Buffer::unspecified(self.data.len().div_ceil(2));
        let to = &mut bytemuck::cast_slice_mut::<f32, bf16>(&mut halves)[..self.data.len()];
        const CHUNK: usize = 1 << 16;
        cpu.run(|| {
            to.par_chunks_mut(CHUNK).zip(self.data.par_chunks(CHUNK)).for_each(|(to, from)| {
                to.convert_from_f32_slice(from);
            });
        });
        self.data = halves;
        self.storage = Storage::Bf16;
        self
    }

    fn forward(
        &self,
        cpu: &Cpu,
        g: &Conv2d,
        x: &[f32],
        scatter: Option<&Scatter>,
        epilogue: &Epilogue,
        y: &mut [f32],
    ) {
        let scatter = scatter.filter(|scatter| !scatter.is_identity());
        match &self.layout {
            Layout::Depthwise => {
                let windows = Windows::forward(g, &self.taps);
                depthwise::run(cpu, &windows, x, &self.zeros, &self.data, epilogue, y);
            }
            Layout::Winograd(filters) => {
                Winograd::new(g, x, filters, &self.data, &self.zeros, scatter, *epilogue)
                    .run(cpu, Shared::new(y));
            }
            Layout::Panels(panels) => {
                let padded = padded::applies(g).then(|| padded::images(cpu, g, x));
                let windows = forward_windows(g, &self.taps);
                let product = ImplicitGemm {
                    windows,
                    source: padded.as_deref().unwrap_or(x),
                    zeros: &self.zeros,
                    panels,
                    packed: &self.data,
                    storage: self.storage,
                    len: windows.row_len / g.groups,
                    scatter,
                    epilogue: *epilogue,
                };
                product.run(cpu, Shared::new(y));
            }
        }
    }
}

/// The taps of a forward pass: kernel rows if a padded copy is used, single taps otherwise.
fn forward_taps(g: &Conv2d) -> Vec<[isize; 2]> {
    if padded::applies(g) { padded::row_taps(g) } else { tap_offsets(g) }
}

/// The windows of a forward pass over the image or its padded copy; `taps` come from [`forward_taps`].
fn forward_windows<'t>(g: &Conv2d, taps: &'t [[isize; 2]]) -> Windows<'t> {
    if padded::applies(g) { padded::windows(g, taps) } else { Windows::forward(g, taps) }
}

/// Asserts that weights packed for `packed` can be used for `g`, which may differ in batch and image size, and that the
/// slices have the lengths of their shapes.
fn check(packed: &Conv2d, g: &Conv2d, x: &[f32], epilogue: &Epilogue, y: &[f32]) {
    let packed = Conv2d { n: g.n, h: g.h, w: g.w, ..*packed };
    assert_eq!(*g, packed, "the weights were packed for another convolution");
    assert_eq!(
        (x.len(), y.len()),
        (g.x_len(), g.y_len()),
        "input and output have the lengths of their shapes"
    );
    epilogue.check(g.o, y.len());
}

/// Convolution with unpacked weights: packs them, then runs the packed kernel.
/// `x` `[N, H, W, C]`, `w` `[O, KH, KW, C/G]`, `bias` `[O]` → `y` `[N, OH, OW, O]`.
pub fn conv2d_forward(cpu: &Cpu, g: &Conv2d, x: &[f32], w: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    if Choice::fastest(cpu, g, Weights::Fresh).algorithm != Algorithm::Direct {
        let epilogue = Epilogue { bias, ..Default::default() };
        check(g, g, x, &epilogue, y);
        assert_eq!(w.len(), g.w_len(), "the weight has the length of its shape");
        return run_fresh(cpu, g, Direction::Forward, x, w, epilogue, y);
    }
    let packed =
        PackedConv2d::in_buffer(cpu, g, w, Packing::By(Algorithm::Direct), |len| cpu.shelf.take(len));
    conv2d_forward_packed(cpu, g, x, &packed, &Epilogue { bias, ..Default::default() }, y);
    cpu.shelf.give(packed.data);
}

/// Convolution with packed weights and a fused epilogue: `y = activation(x ∗ w + bias + residual)`.
/// `x` `[N, H, W, C]` → `y` `[N, OH, OW, O]`. `g` may differ in batch and image size from the geometry used for
/// packing.
pub fn conv2d_forward_packed(
    cpu: &Cpu,
    g: &Conv2d,
    x: &[f32],
    w: &PackedConv2d,
    epilogue: &Epilogue,
    y: &mut [f32],
) {
    check(&w.geometry, g, x, epilogue, y);
    w.forward(cpu, g, x, None, epilogue, y);
}
