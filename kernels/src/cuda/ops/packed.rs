//! Convolutions with weights that were prepared once: dense, masked or compact.
//!
//! A masked convolution computes only the live filters of its pattern, and skips blocks of input channels for which no
//! live filter has weights; the weight is unchanged, and the mask is two short lists. A compact convolution has the
//! weights of live channels only.

use super::grades::{in_single, on_tensor_cores};
use super::{Epilogue, conv2d_forward, convert};
use crate::cuda::{Cuda, DeviceBuffer, Result, mma, simt};
use crate::params::{CompactIndex, Dtype};
use crate::pattern::Pattern;
use crate::shapes::Conv2d;

/// The number of input channels that are skipped together: the steps that a tile of the reduction holds.
const BLOCK: usize = simt::BLOCK;
const _: () = assert!(BLOCK == mma::LiveLists::BLOCK);

/// The weights of a convolution in device memory, in the type that multiplies them.
pub struct PackedConv2d {
    /// The geometry as the caller sees it.
    geometry: Conv2d,
    kind: Kind,
}

enum Kind {
    Dense(DeviceBuffer),
    /// The whole weight, and the parts that are not skipped.
    Masked(DeviceBuffer, Box<Live>),
    Compact(Box<simt::Compact>),
}

/// The live filters of a convolution, and the blocks of input channels that they read.
struct Live {
    lists: Lists,
    products_of_a_pixel: usize,
}

enum Lists {
    Simt(simt::LiveLists),
    TensorCores(mma::LiveLists),
}

impl PackedConv2d {
    /// Uploads `w` `[O, KH, KW, C/G]` for `cuda`'s precision. Several groups are multiplied in f32, whatever the type
    /// of the images.
    ///
    /// # Errors
    /// If the device's memory does not suffice.
    pub fn new(cuda: &Cuda, g: &Conv2d, w: &[f32]) -> Result<Self> {
        Ok(Self { geometry: *g, kind: Kind::Dense(weight(cuda, g, w)?) })
    }

    /// Uploads `w`, of which only the filters that `pattern` keeps are computed. Blocks of 16 input channels that no
    /// live filter reads, in any group, are skipped as well. Outputs of dead filters are their bias, or zero without a
    /// bias. A pattern without dead filters skips nothing.
    ///
    /// # Errors
    /// If the device's memory does not suffice.
    pub fn masked(cuda: &Cuda, g: &Conv2d, w: &[f32], pattern: &Pattern) -> Result<Self> {
        assert_eq!(pattern.shape(), g.filters_shape(), "the pattern has the shape of the weight");
        if !pattern.has_dead_filters() {
            return Self::new(cuda, g, w);
        }
        let lists = match g.groups == 1 && on_tensor_cores(cuda, cuda.precision().storage()) {
            true => Lists::TensorCores(mma::LiveLists::new(cuda, pattern)?),
            false => Lists::Simt(simt::LiveLists::new(cuda, g, pattern)?),
        };
        let channels = (pattern.input_blocks(BLOCK).len() * BLOCK).min(g.c / g.groups);
        let live = Live { lists, products_of_a_pixel: pattern.filters().len() * g.kh * g.kw * channels };
        Ok(Self { geometry: *g, kind: Kind::Masked(weight(cuda, g, w)?, Box::new(live)) })
    }

    /// Uploads the weights `w_inner` `[L_out, KH, KW, L_in (+ 1 with a carrier)]` between the live channels of `index`,
    /// for images of the outer geometry `g`, which has one group. An output that is not computed gets its value in
    /// `fill` `[O]` instead of a sum and a bias. The weights are multiplied in f32, because gathering does not suit
    /// tensor cores.
    ///
    /// # Errors
    /// If the device's memory does not suffice.
    pub fn compact(
        cuda: &Cuda,
        g: &Conv2d,
        index: &CompactIndex,
        w_inner: &[f32],
        fill: &[f32],
    ) -> Result<Self> {
        let compact = simt::Compact::new(cuda, g, index, w_inner, fill)?;
        Ok(Self { geometry: *g, kind: Kind::Compact(Box::new(compact)) })
    }

    /// The name of the kernel, for tables, at the precision that the weights were packed for.
    pub fn kernel(&self, precision: Dtype) -> &'static str {
        match &self.kind {
            Kind::Dense(_) if self.geometry.is_depthwise() => "cuda depthwise",
            Kind::Compact(_) => product_kernel(Dtype::F32),
            Kind::Dense(_) | Kind::Masked(..) if self.geometry.groups > 1 => product_kernel(Dtype::F32),
            Kind::Dense(_) | Kind::Masked(..) => product_kernel(precision),
        }
    }

    /// The number of multiply-accumulates to compute `g`.
    pub fn products(&self, g: &Conv2d) -> u64 {
        match &self.kind {
            Kind::Dense(_) => g.macs(),
            Kind::Masked(_, live) => (g.n * g.oh() * g.ow() * live.products_of_a_pixel) as u64,
            Kind::Compact(compact) => compact.products(g),
        }
    }

    /// The size of the weights in bytes.
    pub fn bytes(&self) -> usize {
        match &self.kind {
            Kind::Dense(weight) | Kind::Masked(weight, _) => weight.bytes(),
            Kind::Compact(compact) => compact.bytes(),
        }
    }
}

/// The name of the kernels that multiply in `precision`, for tables.
pub fn product_kernel(precision: Dtype) -> &'static str {
    match precision {
        Dtype::F32 => "cuda f32",
        Dtype::Tf32 => "cuda tf32",
        Dtype::Bf16 => "cuda bf16",
        Dtype::F16 => "cuda f16",
        Dtype::U32 => panic!("products are of floating-point numbers"),
    }
}

/// The weight of `g` in the type in which the device multiplies it.
fn weight(cuda: &Cuda, g: &Conv2d, w: &[f32]) -> Result<DeviceBuffer> {
    assert_eq!(w.len(), g.w_len(), "the weight has the length of its shape");
    let single = cuda.upload(w)?;
    match cuda.precision().storage() {
        dtype if dtype != Dtype::F32 && g.groups == 1 => {
            let mut weight = cuda.buffer(dtype, w.len())?;
            convert(cuda, &single, &mut weight)?;
            Ok(weight)
        }
        _ => Ok(single),
    }
}

/// Convolution with packed weights and a fused epilogue: `y = activation(x ∗ w + bias + residual)`. Shapes and types as
/// for [`super::conv2d_forward`]; `g` may differ from the geometry of the weights in batch and image size. Outputs that
/// are not computed are `activation(constant + residual)`, where the constant is that of [`PackedConv2d::masked`] or
/// [`PackedConv2d::compact`].
pub fn conv2d_forward_packed(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &PackedConv2d,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    let packed = Conv2d { n: g.n, h: g.h, w: g.w, ..w.geometry };
    assert_eq!(*g, packed, "the weights belong to another convolution");
    epilogue.around(cuda, y, |epilogue, y| match &w.kind {
        Kind::Dense(weight) => conv2d_forward(cuda, g, x, weight, epilogue, y),
        Kind::Masked(weight, live) => match &live.lists {
            Lists::TensorCores(lists) => mma::conv2d_masked_forward(cuda, g, x, weight, lists, epilogue, y),
            Lists::Simt(lists) => in_single(cuda, [x, weight], epilogue, y, |[x, weight], epilogue, y| {
                simt::conv2d_masked_forward(cuda, g, x, weight, lists, epilogue, y)
            }),
        },
        Kind::Compact(compact) => in_single(cuda, [x], epilogue, y, |[x], epilogue, y| {
            simt::conv2d_compact_forward(cuda, g, x, compact, epilogue, y)
        }),
    })
}
