//! Compact convolution: the outer width stays, inside only live channels exist.
//!
//! Live inputs are gathered by the loads of the product and live outputs scattered by its stores: there is no copy of the
//! image. The *carrier* channel is 1 inside the image and, like every channel, 0 in the padding. Its weights hold the
//! summed effect of dead inputs whose value is constant but not zero, exactly, at the border too.

use super::selected::Selected;
use super::tiles::{Blocking, kernel};
use crate::cuda::driver::Result;
use crate::cuda::ops::grades::in_single;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::params::{CompactIndex, Dtype};
use crate::shapes::Conv2d;

/// A compact convolution's weights, with the channels it gathers and scatters.
pub struct Compact {
    selected: Selected,
    weight: DeviceBuffer,
    /// `[O]`: the value of outputs that are not computed.
    fill: DeviceBuffer,
    outer: Conv2d,
}

impl Compact {
    /// Of `w_inner` `[L_out, KH, KW, L_in (+ 1 with a carrier)]` inside the outer geometry `g`, of one group. `fill` `[O]` is
    /// the value of outputs that are not computed.
    ///
    /// # Errors
    /// Where the device's memory does not hold them.
    pub fn new(cuda: &Cuda, g: &Conv2d, index: &CompactIndex, w_inner: &[f32], fill: &[f32]) -> Result<Self> {
        assert_eq!(
            (g.groups, fill.len()),
            (1, g.o),
            "a compact convolution has one group and fills its width"
        );
        assert!(index.inputs.iter().all(|&c| (c as usize) < g.c), "live inputs lie inside the width");
        assert!(index.outputs.iter().all(|&o| (o as usize) < g.o), "live outputs lie inside the width");
        assert!(index.outputs.is_sorted_by(|a, b| a < b), "live outputs ascend");
        let listed = index.inputs.len();
        let (channels, outputs) = (listed + usize::from(index.carrier), index.outputs.len());
        assert_eq!(
            w_inner.len(),
            outputs * g.kh * g.kw * channels,
            "the weight has the length of its live channels"
        );
        let mut live = vec![false; g.o];
        index.outputs.iter().for_each(|&o| live[o as usize] = true);
        // Without inputs the sum is empty: a carrier with weights of zero stands for it.
        let zeros = vec![0.0; if channels == 0 { outputs * g.kh * g.kw } else { 0 }];
        let weight = cuda.upload(if channels == 0 { &zeros } else { w_inner })?;
        let selected = Selected::new(cuda, g, &live, &index.inputs, channels.max(1), listed)?;
        Ok(Self { selected, weight, fill: cuda.upload(fill)?, outer: *g })
    }

    /// Multiply-accumulates that computing `g` takes.
    pub fn products(&self, g: &Conv2d) -> u64 {
        (g.n * g.oh() * g.ow() * self.selected.products(g)) as u64
    }

    /// Bytes of its weights.
    pub fn bytes(&self) -> usize {
        self.weight.len() * Dtype::F32.bytes()
    }
}

/// Convolution with live channels only. `x` `[N, H, W, C]` → `y` `[N, OH, OW, O]` of the outer geometry `g`, of one
/// floating-point type; other types than f32 are converted, as gathering is no work for tensor cores.
/// A computed output is `activation(gathered(x) ∗ w_inner + bias + residual)`, any other
/// `activation(fill + residual)`; the bias has length `O` and is read at computed outputs.
pub fn conv2d_compact_forward(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &Compact,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    assert_eq!(*g, Conv2d { n: g.n, h: g.h, w: g.w, ..w.outer }, "the weights are of another convolution");
    assert_eq!((x.len(), y.len()), (g.x_len(), g.y_len()), "images have the lengths of their shapes");
    epilogue.check(g.o, y);
    let fill = w.fill.address();
    in_single(cuda, [x], epilogue, y, |[x], epilogue, y| {
        let name = |blocking: &Blocking| kernel!(blocking.tile, "conv2d_compact_forward");
        w.selected.run(cuda, g, [x, &w.weight], epilogue.arg(), fill, y, name)
    })
}
