//! Compact convolution: the outer width stays, but only live channels exist inside.
//!
//! The product's loads gather live inputs and its stores scatter live outputs, so the image is never copied. The
//! *carrier* channel is 1 inside the image and, like every channel, 0 in the padding. Its weights hold the summed
//! effect of dead inputs with a constant nonzero value, which makes the result exact at the border too.

use super::selected::Selected;
use super::tiles::{Blocking, kernel};
use crate::cuda::driver::Result;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::params::{CompactIndex, Dtype};
use crate::shapes::Conv2d;

/// A compact convolution's weights, and the channels that it gathers and scatters.
pub struct Compact {
    selected: Selected,
    weight: DeviceBuffer,
    /// `[O]`: the values of outputs that are not computed.
    fill: DeviceBuffer,
}

impl Compact {
    /// Uploads `w_inner` `[L_out, KH, KW, L_in (+ 1 with a carrier)]` for the outer geometry `g`, which has one
    /// group. `fill` `[O]` holds the values of outputs that are not computed.
    ///
    /// # Errors
    /// If the device's memory does not suffice.
    pub fn new(cuda: &Cuda, g: &Conv2d, index: &CompactIndex, w_inner: &[f32], fill: &[f32]) -> Result<Self> {
        assert_eq!(
            (g.groups, fill.len()),
            (1, g.o),
            "a compact convolution has one group and a fill value per output"
        );
        assert!(index.inputs.iter().all(|&c| (c as usize) < g.c), "live inputs lie inside the width");
        assert!(index.outputs.iter().all(|&o| (o as usize) < g.o), "live outputs lie inside the width");
        assert!(index.outputs.is_sorted_by(|a, b| a < b), "live outputs ascend");
        let listed = index.inputs.len();
        let (channels, outputs) = (listed + usize::from(index.carrier), index.outputs.len());
        assert_eq!(
            w_inner.len(),
            outputs * g.kh * g.kw * channels,
            "the weight's length matches its live channels"
        );
        // Without inputs the sum is empty; a carrier with zero weights stands in for it.
        let zeros = vec![0.0; if channels == 0 { outputs * g.kh * g.kw } else { 0 }];
        let weight = cuda.upload(if channels == 0 { &zeros } else { w_inner })?;
        let selected = Selected::new(cuda, g, &index.outputs, &index.inputs, channels.max(1), listed)?;
        Ok(Self { selected, weight, fill: cuda.upload(fill)? })
    }

    /// The number of multiply-accumulates to compute `g`.
    pub fn products(&self, g: &Conv2d) -> u64 {
        (g.n * g.oh() * g.ow() * self.selected.products(g)) as u64
    }

    /// The size of its weights in bytes.
    pub fn bytes(&self) -> usize {
        self.weight.len() * Dtype::F32.bytes()
    }
}

/// Convolution of live channels only: `x` `[N, H, W, C]` → `y` `[N, OH, OW, O]` of the outer geometry `g`, both f32.
/// A computed output is `activation(gathered(x) ∗ w_inner + bias + residual)`, any other is
/// `activation(fill + residual)`. The bias has length `O` and is read at computed outputs only.
pub fn conv2d_compact_forward(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &Compact,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    assert_eq!((x.len(), y.len()), (g.x_len(), g.y_len()), "the lengths of the images match their shapes");
    assert_eq!([x.dtype(), y.dtype()], [Dtype::F32; 2], "the images are f32");
    epilogue.check(g.o, y);
    let name = |blocking: &Blocking| kernel!(blocking.tile, "conv2d_compact_forward");
    w.selected.run(cuda, g, [x, &w.weight], (epilogue.arg(), w.fill.address()), y, name)
}
