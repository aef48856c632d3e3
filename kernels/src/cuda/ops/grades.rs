//! The choice of the units that compute a product.
//!
//! | operands | precision | one group | several groups |
//! | --- | --- | --- | --- |
//! | f32 | f32 | [`simt`](super::simt) | `simt` |
//! | f32 | tf32 | tensor cores | `simt` |
//! | bf16, f16 | any | tensor cores | `simt`, on f32 copies |
//!
//! Tensor cores are used through [`wgmma`](super::wgmma) if the device and the shape allow it, otherwise through
//! [`mma`](super::mma), which also handles forward convolutions with few tiles: it splits them along k.

use super::{Epilogue, convert};
use crate::cuda::{Cuda, DeviceBuffer, Result};
use crate::params::Dtype;

/// Whether products of operands of type `dtype` run on tensor cores if they have one group.
pub(in crate::cuda) fn on_tensor_cores(cuda: &Cuda, dtype: Dtype) -> bool {
    dtype != Dtype::F32 || cuda.precision() == Dtype::Tf32
}

/// Runs `product` on f32 operands, residual and result, with f32 copies of those that have another type.
pub(in crate::cuda) fn in_single<const N: usize>(
    cuda: &Cuda,
    operands: [&DeviceBuffer; N],
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
    product: impl FnOnce([&DeviceBuffer; N], &Epilogue, &mut DeviceBuffer) -> Result<()>,
) -> Result<()> {
    let mut wide = Vec::with_capacity(N);
    for operand in operands {
        wide.push(single(cuda, operand)?);
    }
    let residual = epilogue.residual.map(|residual| single(cuda, residual)).transpose()?;
    let epilogue = Epilogue { residual: residual.as_ref(), ..*epilogue };
    let wide: [&DeviceBuffer; N] = std::array::from_fn(|i| &wide[i]);
    if y.dtype() == Dtype::F32 {
        return product(wide, &epilogue, y);
    }
    let mut exact = cuda.buffer(Dtype::F32, y.len())?;
    product(wide, &epilogue, &mut exact)?;
    convert(cuda, &exact, y)
}

/// `x` in f32: the same memory or a converted copy.
fn single(cuda: &Cuda, x: &DeviceBuffer) -> Result<DeviceBuffer> {
    if x.dtype() == Dtype::F32 {
        return Ok(x.slice(0, x.len()));
    }
    let mut wide = cuda.buffer(Dtype::F32, x.len())?;
    convert(cuda, x, &mut wide)?;
    Ok(wide)
}
