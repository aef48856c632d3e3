//! The packed weight of a linear layer, and the forward pass that reads it.

use super::bits::Bits;
use super::choice::{LinearChoice, LinearLayout};
use super::lists::Lists;
use super::rows::{self, SparseRows, Weight};
use crate::cpu::Cpu;
use crate::cpu::conv2d::{Algorithm, Epilogue, PackedConv2d, Packing, conv2d_forward_packed};
use crate::params::Dtype;
use crate::pattern::Pattern;
use crate::shapes::Linear;
use half::bf16;

/// The weight of a linear layer, packed in the order in which the kernel reads it. It also serves other batch sizes
/// than the one that it was packed for.
pub struct PackedLinear {
    /// The geometry that the weight was packed for.
    geometry: Linear,
    choice: LinearChoice,
    weight: Packed,
    kernel: &'static str,
}

/// The weight in its layout.
enum Packed {
    Panels(Box<PackedConv2d>),
    Rows(Box<dyn SparseRows>),
}

impl PackedLinear {
    /// Packs `w` `[O, I]`.
    pub fn new(cpu: &Cpu, g: &Linear, w: &[f32]) -> Self {
        Self::stored(cpu, g, w, Dtype::F32)
    }

    /// Packs `w` as f32 or bf16. With few rows, a layer takes as long as reading its weight. In bf16 that
    /// is half as long, and each weight is rounded by at most 2⁻⁹ of its value.
    pub fn stored(cpu: &Cpu, g: &Linear, w: &[f32], dtype: Dtype) -> Self {
        Self::masked(cpu, g, w, &Pattern::dense([g.outputs, 1, g.inputs]), dtype)
    }

    /// Packs the weights of `w` that `pattern` `[O, 1, I]` lists, as f32 or bf16, in the layout that is estimated to be
    /// the fastest for the batch of `g`. Dead rows are not read, and their outputs are their bias, or zero without a
    /// bias. Other zeros of the pattern must be zeros of `w`.
    pub fn masked(cpu: &Cpu, g: &Linear, w: &[f32], pattern: &Pattern, dtype: Dtype) -> Self {
        Self::chosen(cpu, g, w, pattern, dtype, LinearChoice::fastest(cpu, g, pattern, dtype))
    }

    /// Packs the weights of `w` that `pattern` lists in this layout; otherwise like [`masked`](Self::masked).
    pub fn laid_out(
        cpu: &Cpu,
        g: &Linear,
        w: &[f32],
        pattern: &Pattern,
        dtype: Dtype,
        layout: LinearLayout,
    ) -> Self {
        Self::chosen(cpu, g, w, pattern, dtype, LinearChoice::asked(layout))
    }

    fn chosen(
        cpu: &Cpu,
        g: &Linear,
        w: &[f32],
        pattern: &Pattern,
        dtype: Dtype,
        choice: LinearChoice,
    ) -> Self {
        assert_eq!(pattern.shape(), [g.outputs, 1, g.inputs], "the pattern has the shape of the weight");
        let weight = match (choice.layout, dtype) {
            (LinearLayout::Panels, _) => {
                let direct = Packing::By(Algorithm::Direct);
                let panels = PackedConv2d::stored(cpu, &g.over_pixels(), w, pattern, direct, dtype);
                Packed::Panels(Box::new(panels))
            }
            (layout, Dtype::Bf16) => Packed::Rows(rows_of::<bf16>(cpu, w, pattern, layout)),
            (layout, Dtype::F32) => Packed::Rows(rows_of::<f32>(cpu, w, pattern, layout)),
            (_, dtype) => panic!("a linear layer stores its weight as f32 or bf16, not as {dtype}"),
        };
        let kernel = match &weight {
            Packed::Panels(panels) => panels.kernel(),
            Packed::Rows(rows) => rows.kernel(cpu),
        };
        Self { geometry: *g, choice, weight, kernel }
    }

    /// The name of the chosen kernel: operation or layout, tile and instruction set.
    pub fn kernel(&self) -> &'static str {
        self.kernel
    }

    /// The chosen layout and the reason for it.
    pub fn choice(&self) -> &LinearChoice {
        &self.choice
    }

    /// The number of multiply-accumulates that the kernel performs to compute `g`: that of its definition, or fewer.
    pub fn products(&self, g: &Linear) -> u64 {
        match &self.weight {
            Packed::Panels(panels) => panels.products(&g.over_pixels()),
            Packed::Rows(rows) => (g.n * rows.products()) as u64,
        }
    }

    /// The size of the packed weight in bytes.
    pub fn bytes(&self) -> usize {
        match &self.weight {
            Packed::Panels(panels) => panels.bytes(),
            Packed::Rows(rows) => rows.bytes(),
        }
    }
}

/// Stores the rows of `w` as bits or as lists.
fn rows_of<E: Weight>(cpu: &Cpu, w: &[f32], pattern: &Pattern, layout: LinearLayout) -> Box<dyn SparseRows> {
    if layout == LinearLayout::Lists {
        Box::new(Lists::<E>::new(cpu, w, pattern))
    } else {
        Box::new(Bits::<E>::new(cpu, w, pattern))
    }
}

/// Computes `y = activation(x · wᵀ + bias + residual)` with a packed weight: `x` `[N, I]`, `bias` `[O]`, `residual`
/// `[N, O]` → `y` `[N, O]`. `g` may have another batch than the one that the weight was packed for.
pub fn linear_forward_packed(
    cpu: &Cpu,
    g: &Linear,
    x: &[f32],
    w: &PackedLinear,
    epilogue: &Epilogue,
    y: &mut [f32],
) {
    assert_eq!(*g, Linear { n: g.n, ..w.geometry }, "the weight was packed for another layer");
    match &w.weight {
        Packed::Panels(panels) => conv2d_forward_packed(cpu, &g.over_pixels(), x, panels, epilogue, y),
        Packed::Rows(rows) => rows::run(cpu, g, x, rows.as_ref(), epilogue, y),
    }
}
