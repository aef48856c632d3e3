//! Tensor maps: descriptions of tensors from which Hopper's copy engine copies boxes.

use crate::cuda::driver::{Result, check};
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Dtype;
use cudarc::driver::sys::{
    self, CUtensorMapDataType, CUtensorMapFloatOOBfill, CUtensorMapInterleave, CUtensorMapL2promotion,
    CUtensorMapSwizzle,
};

/// A tensor of four dimensions in device memory and the size of its boxes, as a kernel argument
/// (`const __grid_constant__ TensorMap`).
#[repr(C, align(128))]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct TensorMap([u64; 16]);

/// The largest extent of a box along a dimension, including elements that its stride skips.
pub(super) const MAX_BOX: usize = 256;

/// The largest stride between the elements of a box.
pub(super) const MAX_STRIDE: usize = 8;

impl Cuda {
    /// Maps `buffer` as `[n, h, w, c]`, the last dimension contiguous, with boxes of `[bn, bh, bw, bc]` elements
    /// spaced `[sh, sw]` apart along rows and columns. Rows of a box land in the 128-byte swizzle, so `bc` elements
    /// are at most 128 bytes, and `c` elements are a multiple of 16 bytes. f32 elements are rounded to TF32.
    ///
    /// # Errors
    /// If the driver rejects the map.
    pub(super) fn tensor_map(
        &self,
        buffer: &DeviceBuffer,
        [n, h, w, c]: [usize; 4],
        [bn, bh, bw, bc]: [usize; 4],
        [sh, sw]: [usize; 2],
    ) -> Result<TensorMap> {
        assert_eq!(buffer.len(), n * h * w * c, "a map covers its buffer");
        let element = buffer.dtype().bytes();
        let data_type = match buffer.dtype() {
            // Tensor cores would truncate the excess mantissa bits; the copy engine rounds.
            Dtype::F32 | Dtype::Tf32 => CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_TFLOAT32,
            Dtype::U32 => CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT32,
            Dtype::Bf16 => CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
            Dtype::F16 => CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        };
        let sizes = [c, w, h, n].map(|size| size as u64);
        let strides = [c, w * c, h * w * c].map(|stride| (stride * element) as u64);
        // A box's extent includes the elements that it skips.
        let boxes = [bc, bw * sw, bh * sh, bn].map(|size| size as u32);
        let steps = [1, sw, sh, 1].map(|step| step as u32);
        let mut map = TensorMap([0; 16]);
        self.bind()?;
        // SAFETY: writes the map's 128 bytes, aligned as required; reads four sizes, three strides, four box extents
        // and four steps. The address is on this device.
        let code = unsafe {
            sys::cuTensorMapEncodeTiled(
                std::ptr::from_mut(&mut map).cast(),
                data_type,
                4,
                buffer.address() as *mut _,
                sizes.as_ptr(),
                strides.as_ptr(),
                boxes.as_ptr(),
                steps.as_ptr(),
                CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        check("cuTensorMapEncodeTiled", code).map(|()| map)
    }
}
