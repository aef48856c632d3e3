//! The kernels' sources, embedded, and what is read off their text.

/// A file of `kernels/cuda`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    /// Its name there.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! source {
    ($name:literal) => {
        Source { name: $name, text: include_str!(concat!("../../../cuda/", $name)) }
    };
}

/// Files with kernels: each is a program of its own.
pub const MODULES: &[Source] = &[
    ELEMENTWISE,
    CHANNELS,
    REDUCE,
    POOL,
    BATCH_NORM,
    LOSS,
    OPTIM,
    GEMM_F32,
    CONV2D_F32,
    CONV2D_SPARSE_F32,
    DEPTHWISE,
    GEMM_MMA,
    CONV2D_MMA,
    CONV2D_WGMMA,
    CONV2D_WEIGHT_GRAD_WGMMA,
];

/// Files that they include.
pub const HEADERS: &[Source] = &[
    source!("device.cuh"),
    source!("types.cuh"),
    source!("columns.cuh"),
    source!("epilogue.cuh"),
    source!("hopper.cuh"),
    source!("mma_operand.cuh"),
    source!("mma_output.cuh"),
    source!("mma_tile.cuh"),
    source!("patches.cuh"),
    source!("pieces.cuh"),
    source!("ptx.cuh"),
    source!("tensors.cuh"),
    source!("tile_f32.cuh"),
];

/// What makes them run on the CPU.
pub(super) const EMULATOR: &[Source] = &[
    source!("emulator/driver.cpp"),
    source!("emulator/emulator.h"),
    source!("emulator/fibers.h"),
    source!("emulator/hopper.h"),
    source!("emulator/ptx.h"),
];

/// Operations that treat every element alike.
pub const ELEMENTWISE: Source = source!("elementwise.cu");

/// Operations that move channels.
pub const CHANNELS: Source = source!("channels.cu");

/// Sums over rows.
pub const REDUCE: Source = source!("reduce.cu");

/// Pooling.
pub const POOL: Source = source!("pool.cu");

/// Batch normalization.
pub const BATCH_NORM: Source = source!("batch_norm.cu");

/// Softmax and losses.
pub const LOSS: Source = source!("loss.cu");

/// Optimizer steps.
pub const OPTIM: Source = source!("optim.cu");

/// Products of f32 matrices.
pub const GEMM_F32: Source = source!("gemm_f32.cu");

/// Convolutions of f32 images.
pub const CONV2D_F32: Source = source!("conv2d_f32.cu");

/// Convolutions of live channels of f32 images.
pub const CONV2D_SPARSE_F32: Source = source!("conv2d_sparse_f32.cu");

/// Depthwise convolutions of f32 images.
pub const DEPTHWISE: Source = source!("depthwise.cu");

/// Products of matrices on tensor cores.
pub const GEMM_MMA: Source = source!("gemm_mma.cu");

/// Convolutions on tensor cores.
pub const CONV2D_MMA: Source = source!("conv2d_mma.cu");

/// Convolutions by bulk copies and `wgmma`, on Hopper.
pub const CONV2D_WGMMA: Source = source!("conv2d_wgmma.cu");

/// The gradient of their weight.
pub const CONV2D_WEIGHT_GRAD_WGMMA: Source = source!("conv2d_weight_grad_wgmma.cu");

impl Source {
    /// The kernels that it defines, in order.
    ///
    /// One is written `extern "C" __global__ void NAME(` with `__launch_bounds__(..)` before the name or not.
    pub fn kernels(&self) -> Vec<&'static str> {
        let name = |definition: &'static str| {
            let definition = definition.trim_start();
            let definition = match definition.strip_prefix("__launch_bounds__(") {
                Some(rest) => rest.split_once(')')?.1.trim_start(),
                None => definition,
            };
            definition.split_once('(').map(|(name, _)| name.trim())
        };
        self.text.split("extern \"C\" __global__ void").skip(1).filter_map(name).collect()
    }
}

/// A number that changes with any of `parts` (FNV-1a, 64 bits): names cached files.
pub(super) fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a str>) -> u64 {
    let bytes = parts.into_iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_found_by_name() {
        let text = r#"
            extern "C" __global__ void first(int n) {}
            extern "C" __global__ void __launch_bounds__(256, 2) second(const float* x) {}
            template <int N> __device__ void third() {}"#;
        assert_eq!(Source { name: "x.cu", text }.kernels(), ["first", "second"]);
    }

    #[test]
    fn every_module_has_kernels_and_no_name_twice() {
        let mut names: Vec<&str> = Vec::new();
        for module in MODULES {
            assert!(!module.kernels().is_empty(), "{}", module.name);
            names.extend(module.kernels());
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
