//! Packed weights, and the forward pass that reads them.
//!
//! ```text
//!   x [N,H,W,C] ─ gather ─► live inputs ─ product with live filters ─► live outputs ─ scatter ─► y [N,OH,OW,O]
//!                 compact                 every layout                                masked, compact
//! ```
//!
//! Dense, masked and compact convolution are one type. A masked convolution packs only the live filters of its pattern
//! and scatters their results among the dead channels, which get their bias. A compact one, whose weights are those of
//! live channels only, gathers the inputs too, and has a constant for each dead output.

use super::Epilogue;
use super::algorithm::{Algorithm, Packing, Weights};
use super::choice::Choice;
use super::estimate::{direct, lanes as lanes_per_vector};
use super::gather::{self, Gather, WindowGather};
use super::image_rows::ImageRows;
use super::layout::Layout;
use super::padded::{forward_taps, forward_windows};
use super::scatter::{self, Scatter};
use super::widen::{self, Constants};
use super::winograd::{Direction, run_fresh};
use crate::buffer::Buffer;
use crate::cpu::Cpu;
use crate::cpu::device::shared::Shared;
use crate::cpu::lanes::{self, ImageLayout, ImageLayouts, LaneImages, Product};
use crate::dtype::Dtype;
use crate::params::CompactIndex;
use crate::pattern::Pattern;
use crate::shapes::Conv2d;
use std::borrow::Cow;

/// The weights of a convolution, packed in the order in which the kernel reads them. They also serve other image and
/// batch sizes than those that they were packed for.
pub struct PackedConv2d {
    /// The geometry as the caller sees it.
    geometry: Conv2d,
    pub(super) taps: Vec<[isize; 2]>,
    choice: Choice,
    pub(super) layout: Layout,
    pub(super) data: Buffer,
    /// A row of zeros, read by taps in the padding and by slots without a window.
    pub(super) zeros: Buffer,
    /// The input channels, unless all are read in place.
    pub(super) gather: Option<Gather>,
    /// The places of the computed channels, unless all are computed in place.
    pub(super) scatter: Option<Scatter>,
    /// The constants of dead outputs that are computed like the others, if there are any.
    pub(super) constants: Option<Constants>,
}

impl PackedConv2d {
    /// Packs `w` `[O, KH, KW, C/G]` for the algorithm that is fastest for `g` when weights come from memory.
    pub fn new(cpu: &Cpu, g: &Conv2d, w: &[f32]) -> Self {
        Self::with(cpu, g, w, Packing::Fastest(Weights::Memory))
    }

    /// Packs `w` for an algorithm that `packing` allows.
    pub fn with(cpu: &Cpu, g: &Conv2d, w: &[f32], packing: Packing) -> Self {
        Self::masked(cpu, g, w, &Pattern::dense(g.filters_shape()), packing)
    }

    /// Packs `w` for the direct algorithm.
    pub fn direct(cpu: &Cpu, g: &Conv2d, w: &[f32]) -> Self {
        Self::with(cpu, g, w, Packing::By(Algorithm::Direct))
    }

    /// Packs the live filters of `pattern`. Dead filters are not read, and their outputs are their bias, or zero
    /// without a bias. If leaving them out would take longer than computing them, they are packed as zeros. Other zeros
    /// of the pattern must be zeros of `w`, and the algorithm may skip them.
    pub fn masked(cpu: &Cpu, g: &Conv2d, w: &[f32], pattern: &Pattern, packing: Packing) -> Self {
        Self::stored(cpu, g, w, pattern, packing, Dtype::F32)
    }

    /// Packs like [`masked`](Self::masked), with weights of type `dtype`; a type other than f32 is computed directly.
    pub(in crate::cpu) fn stored(
        cpu: &Cpu,
        g: &Conv2d,
        w: &[f32],
        pattern: &Pattern,
        packing: Packing,
        dtype: Dtype,
    ) -> Self {
        let (chosen, dense) = choose(cpu, g, pattern, packing, dtype);
        let Some(dense) = dense else { return Self::of_filters(cpu, g, w, pattern, chosen) };
        let mut zeroed = Buffer::from_slice(w);
        let rows = zeroed.chunks_exact_mut(g.w_len() / g.o).enumerate();
        let dead = rows.filter(|(row, _)| pattern.filters().binary_search(&(*row as u32)).is_err());
        dead.for_each(|(_, row)| row.fill(0.0));
        Self::of_filters(cpu, g, &zeroed, &dense, chosen)
    }

    /// Packs the live filters of `pattern` in the chosen layout.
    fn of_filters(cpu: &Cpu, g: &Conv2d, w: &[f32], pattern: &Pattern, chosen: (Choice, Layout)) -> Self {
        let mut packed = Self::pack(cpu, g, w, pattern, chosen, Buffer::unspecified);
        if !packed.layout.computes_every_filter() {
            packed.scatter = Scatter::new(pattern.filters(), None, g.o);
        }
        packed
    }

    /// Packs the weights `w_inner` `[L_out, KH, KW, L_in (+ 1 with a carrier)]` between the live channels of `index`,
    /// for images of the outer geometry `g`, which has one group. An output that is not computed gets its value in
    /// `fill` `[O]` instead of a sum and a bias. Dead channels are computed with weights of zero if leaving them out
    /// would take longer.
    pub fn compact(
        cpu: &Cpu,
        g: &Conv2d,
        index: &CompactIndex,
        w_inner: &[f32],
        fill: &[f32],
        packing: Packing,
    ) -> Self {
        assert_eq!(g.groups, 1, "a compact convolution has one group");
        assert_eq!(fill.len(), g.o, "the fill has one value per output");
        let channels = index.inputs.len() + usize::from(index.carrier);
        let outputs = index.outputs.len();
        assert_eq!(
            w_inner.len(),
            outputs * g.kh * g.kw * channels,
            "the weight has the length of its live channels"
        );
        let wide = widen::widened(cpu, g, index, packing);
        let (inner, pattern) = gather::inner(g, &wide);
        // Without live channels on one side, the weights of the geometry's only channel there are zero.
        let w = match w_inner.is_empty() {
            true => Cow::Owned(vec![0.0; inner.w_len()]),
            false if wide == *index => Cow::Borrowed(w_inner),
            false => Cow::Owned(widen::weights(g, index, &wide, w_inner)),
        };
        let chosen = Layout::choose(cpu, &inner, &pattern, packing, Dtype::F32);
        let packed = Self::pack(cpu, &inner, &w, &pattern, chosen, Buffer::unspecified);
        let (gather, scatter) =
            (Gather::new(&wide.inputs, wide.carrier, g.c), Scatter::new(&wide.outputs, Some(fill), g.o));
        let constants = Constants::new(index, &wide, fill);
        Self { geometry: *g, gather, scatter, constants, ..packed }
    }

    /// Packs the live filters in the chosen layout, into a buffer created by `buffer`, which returns at least the
    /// requested length in floats.
    fn pack(
        cpu: &Cpu,
        g: &Conv2d,
        w: &[f32],
        pattern: &Pattern,
        (choice, layout): (Choice, Layout),
        buffer: impl FnOnce(usize) -> Buffer,
    ) -> Self {
        let taps = forward_taps(g);
        let zeros = Buffer::zeros(forward_windows(g, &ImageRows::all(g), &taps).row_len);
        let mut data = buffer(layout.bytes(g).div_ceil(size_of::<f32>()));
        layout.pack(cpu, g, w, pattern, &mut data);
        Self { geometry: *g, taps, choice, layout, data, zeros, gather: None, scatter: None, constants: None }
    }

    /// The name of the chosen kernel: operation, tile and instruction set.
    pub fn kernel(&self) -> &'static str {
        match &self.layout {
            Layout::Depthwise => "depthwise",
            Layout::Winograd(filters) => filters.kernel(),
            Layout::Line(filters) => filters.kernel(),
            Layout::RowLanes(lanes) => lanes.kernel(),
            Layout::Panels(panels) => panels.first().map_or("none", |panel| panel.kernel.name),
        }
    }

    /// The chosen algorithm and the reason for it.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// The number of multiply-accumulates needed to compute `g`: that of its definition, or fewer.
    pub fn products(&self, g: &Conv2d) -> u64 {
        self.layout.products(&self.inner(g))
    }

    /// The estimated time of computing `g`, in multiply-accumulates of the direct algorithm: for comparing plans of a
    /// network before and after a cut. It depends on the shape, the zeros and the instruction set only.
    pub fn estimate(&self, cpu: &Cpu, g: &Conv2d) -> f64 {
        let (inner, products) = (self.inner(g), self.products(g) as f64);
        if g.groups > 1 {
            // There are few products for each value: the images count beside them.
            return products + (g.x_len() + g.y_len()) as f64;
        }
        let direct = direct(cpu, &inner, Weights::Cache);
        match self.choice.algorithm {
            // Dead filters are not computed.
            Algorithm::Direct => direct * (products / inner.macs().max(1) as f64).min(1.0),
            other => direct * self.choice.of_direct(other).unwrap_or(1.0),
        }
    }

    /// The size of the packed weights in bytes.
    pub fn bytes(&self) -> usize {
        self.layout.bytes(&self.inner(&self.geometry))
    }

    /// `g` with the input channels that the product reads.
    fn inner(&self, g: &Conv2d) -> Conv2d {
        Conv2d { c: self.gather.as_ref().map_or(g.c, Gather::width), ..*g }
    }

    /// Asserts that the weights can be used for `g`, which may differ in batch and image size, and that the slices have
    /// the lengths of their shapes.
    fn check(&self, g: &Conv2d, x: &[f32], epilogue: &Epilogue, y: &[f32]) {
        self.check_geometry(g);
        assert_eq!(
            (x.len(), y.len()),
            (g.x_len(), g.y_len()),
            "input and output have the lengths of their shapes"
        );
        epilogue.check(g.o, y.len());
    }

    /// Asserts that `g` is the convolution that the weights were packed for, up to batch and image size.
    pub(super) fn check_geometry(&self, g: &Conv2d) {
        let packed = Conv2d { n: g.n, h: g.h, w: g.w, ..self.geometry };
        assert_eq!(*g, packed, "the weights were packed for another convolution");
    }

    /// The operands of a convolution in row lanes.
    pub(super) fn lanes_product<'a>(
        &'a self,
        layouts: ImageLayouts,
        x: &'a [f32],
        epilogue: &Epilogue<'a>,
    ) -> Product<'a> {
        Product { x, zeros: &self.zeros, packed: &self.data, epilogue: *epilogue, layouts }
    }
}

/// Chooses the layout of the filters that `pattern` keeps, or of all if leaving out the dead ones would take longer; then, their
/// pattern is returned, too.
pub(super) fn choose(
    cpu: &Cpu,
    g: &Conv2d,
    pattern: &Pattern,
    packing: Packing,
    dtype: Dtype,
) -> ((Choice, Layout), Option<Pattern>) {
    let chosen = Layout::choose(cpu, g, pattern, packing, dtype);
    if !computes_dead_filters(cpu, g, pattern, &chosen.1) {
        return (chosen, None);
    }
    let dense = Pattern::dense(pattern.shape());
    let (choice, layout) = Layout::choose(cpu, g, &dense, packing, dtype);
    ((choice.with_dead_filters(g.o - pattern.filters().len()), layout), Some(dense))
}

/// Whether a masked convolution in `layout` packs zeros for its dead filters instead of leaving them out.
fn computes_dead_filters(cpu: &Cpu, g: &Conv2d, pattern: &Pattern, layout: &Layout) -> bool {
    // A kernel that leaves out other zeros cannot take those of dead filters for weights.
    let scatters = !layout.computes_every_filter() && !layout.skips_zeros();
    scatters && pattern.has_dead_filters() && !scatter::pays(cpu, g, pattern)
}

/// Returns the layouts in row lanes that a convolution with the zeros of `pattern`, packed as `packing` allows, can
/// read and write, if there are any. Each can also read and write channels-last images.
pub fn conv2d_lane_images(
    cpu: &Cpu,
    g: &Conv2d,
    pattern: &Pattern,
    packing: Packing,
) -> [Option<LaneImages>; 2] {
    match Layout::choose(cpu, g, pattern, packing, Dtype::F32).1 {
        Layout::RowLanes(lanes) => lanes.images(g),
        _ => [None; 2],
    }
}

/// Returns the row lanes in which a convolution writes its output if it reads images in the lanes of `x`, if it can do
/// that for any lanes.
pub fn conv2d_lanes_after(g: &Conv2d, x: &LaneImages) -> Option<LaneImages> {
    lanes::depthwise::lanes_after(g, x)
}

/// Returns the estimated time by which such a convolution takes longer than that of channels-last images, in
/// multiply-accumulates as those of [`LaneEstimates`](super::LaneEstimates).
pub fn conv2d_lanes_extra(cpu: &Cpu, g: &Conv2d, x: &LaneImages) -> f64 {
    lanes::depthwise::extra_time(g, x) * lanes_per_vector(cpu)
}

/// Convolution like [`conv2d_forward_packed`] of images, and with a residual, in `layouts`. Input and output are
/// channels-last or as [`conv2d_lane_images`] returns for `g`, and a residual may be as either output. Input and output
/// may also be in lanes that [`conv2d_lanes_after`] relates, and a residual as the output.
pub fn conv2d_forward_between(
    cpu: &Cpu,
    g: &Conv2d,
    layouts: &ImageLayouts,
    x: &[f32],
    w: &PackedConv2d,
    epilogue: &Epilogue,
    y: &mut [f32],
) {
    w.check_geometry(g);
    let lanes = match (&w.layout, layouts.y) {
        (Layout::RowLanes(lanes), _) => lanes,
        (Layout::Depthwise, ImageLayout::RowLanes(to)) => {
            let ImageLayout::RowLanes(from) = layouts.x else { panic!("input and output are in lanes") };
            let same = layouts.residual == layouts.y || epilogue.residual.is_none();
            assert!(same, "a residual has the layout of the output");
            return lanes::depthwise::run(cpu, g, [&from, &to], x, &w.data, epilogue, y);
        }
        _ => {
            assert_eq!(*layouts, ImageLayouts::default(), "only row lanes have another layout");
            return conv2d_forward_packed(cpu, g, x, w, epilogue, y);
        }
    };
    let [read, written] = lanes.images(g);
    for (layout, possible) in [(layouts.x, read), (layouts.residual, written), (layouts.y, written)] {
        let fits = layout == ImageLayout::ChannelsLast || possible.map(ImageLayout::RowLanes) == Some(layout);
        assert!(fits, "the convolution can read and write the layouts");
    }
    let lens = [layouts.x.len(g.x_shape()), layouts.y.len(g.y_shape())];
    assert_eq!([x.len(), y.len()], lens, "input and output have the lengths of their layouts");
    epilogue.check(g.o, layouts.residual.len(g.y_shape()));
    lanes.run(cpu, g, &ImageRows::all(g), &w.lanes_product(*layouts, x, epilogue), Shared::new(y));
}

/// Convolution with unpacked weights: packs them, then runs the packed kernel.
/// `x` `[N, H, W, C]`, `w` `[O, KH, KW, C/G]`, `bias` `[O]` → `y` `[N, OH, OW, O]`.
pub fn conv2d_forward(cpu: &Cpu, g: &Conv2d, x: &[f32], w: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let epilogue = Epilogue { bias, ..Default::default() };
    if Choice::fastest(cpu, g, Weights::Fresh).algorithm != Algorithm::Direct {
        assert_eq!(
            (x.len(), w.len(), y.len()),
            (g.x_len(), g.w_len(), g.y_len()),
            "input, weight and output have the lengths of their shapes"
        );
        epilogue.check(g.o, y.len());
        return run_fresh(cpu, g, Direction::Forward, x, w, epilogue, y);
    }
    let dense = Pattern::dense(g.filters_shape());
    let direct = Layout::choose(cpu, g, &dense, Packing::By(Algorithm::Direct), Dtype::F32);
    let packed = PackedConv2d::pack(cpu, g, w, &dense, direct, |len| cpu.shelf.take(len));
    conv2d_forward_packed(cpu, g, x, &packed, &epilogue, y);
    cpu.shelf.give(packed.data);
}

/// Convolution with packed weights and a fused epilogue: `y = activation(x ∗ w + bias + residual)`.
/// `x` `[N, H, W, C]` → `y` `[N, OH, OW, O]`. `g` may differ in batch and image size from the geometry used for
/// packing. Outputs that are not computed are `activation(constant + residual)`, where the constant is that of
/// [`PackedConv2d::masked`] or [`PackedConv2d::compact`].
pub fn conv2d_forward_packed(
    cpu: &Cpu,
    g: &Conv2d,
    x: &[f32],
    w: &PackedConv2d,
    epilogue: &Epilogue,
    y: &mut [f32],
) {
    w.check(g, x, epilogue, y);
    let bias = w.constants.as_ref().map(|constants| constants.bias(cpu, epilogue.bias));
    let epilogue = &Epilogue { bias: bias.as_deref().or(epilogue.bias), ..*epilogue };
    let Some(gather) = &w.gather else {
        return w.product(cpu, g, ImageRows::all(g), (x, None), epilogue, y);
    };
    // Targets are pixels of the outer width; the scatter finds their columns.
    let inner = w.inner(g);
    if matches!(w.layout, Layout::Panels(_)) && gather::in_tasks(g) {
        let read = gather::read(&inner);
        let source = (x, Some(WindowGather { gather, g }));
        return w.product(cpu, &read, ImageRows::all(&read), source, epilogue, y);
    }
    let mut gathered = cpu.scratch(inner.x_len());
    gather.run_all(cpu, x, &mut gathered);
    w.product(cpu, &inner, ImageRows::all(&inner), (&gathered, None), epilogue, y);
}
