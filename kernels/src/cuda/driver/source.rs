//! The embedded kernel sources, and the facts parsed from their text.

/// A file in `kernels/cuda`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    /// The file name.
    pub name: &'static str,
    /// The file's text.
    pub text: &'static str,
}

macro_rules! source {
    ($name:literal) => {
        Source { name: $name, text: include_str!(concat!("../../../cuda/", $name)) }
    };
}

/// The files that define kernels; each is compiled separately.
pub const MODULES: &[Source] = &[
    ELEMENTWISE,
    CHANNELS,
    REDUCE,
    POOL,
    RESIZE,
    GATE,
    PRELU,
    GROUP_NORM,
    LAYER_NORM,
    BATCH_NORM,
    SOFTMAX,
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

/// The headers that they include.
pub const HEADERS: &[Source] = &[
    source!("activation.cuh"),
    source!("device.cuh"),
    source!("types.cuh"),
    source!("columns.cuh"),
    source!("epilogue.cuh"),
    source!("hopper.cuh"),
    source!("log_softmax.cuh"),
    source!("mma_operand.cuh"),
    source!("mma_output.cuh"),
    source!("mma_tile.cuh"),
    source!("patches.cuh"),
    source!("pieces.cuh"),
    source!("ptx.cuh"),
    source!("tensors.cuh"),
    source!("tile_f32.cuh"),
];

/// The sources that run kernels on the CPU.
pub(super) const EMULATOR: &[Source] = &[
    source!("emulator/driver.cpp"),
    source!("emulator/emulator.h"),
    source!("emulator/fibers.h"),
    source!("emulator/hopper.h"),
    source!("emulator/ptx.h"),
];

/// Elementwise operations.
pub const ELEMENTWISE: Source = source!("elementwise.cu");

/// Operations that move channels.
pub const CHANNELS: Source = source!("channels.cu");

/// Sums over rows.
pub const REDUCE: Source = source!("reduce.cu");

/// Pooling.
pub const POOL: Source = source!("pool.cu");

/// Resizing.
pub const RESIZE: Source = source!("resize.cu");

/// Products with a gate.
pub const GATE: Source = source!("gate.cu");

/// The rectifier with a slope for each channel.
pub const PRELU: Source = source!("prelu.cu");

/// Group normalization.
pub const GROUP_NORM: Source = source!("group_norm.cu");

/// Layer normalization.
pub const LAYER_NORM: Source = source!("layer_norm.cu");

/// Batch normalization.
pub const BATCH_NORM: Source = source!("batch_norm.cu");

/// Softmax and its logarithm.
pub const SOFTMAX: Source = source!("softmax.cu");

/// Losses.
pub const LOSS: Source = source!("loss.cu");

/// Optimizer steps.
pub const OPTIM: Source = source!("optim.cu");

/// f32 matrix products.
pub const GEMM_F32: Source = source!("gemm_f32.cu");

/// f32 convolutions.
pub const CONV2D_F32: Source = source!("conv2d_f32.cu");

/// f32 convolutions over live channels.
pub const CONV2D_SPARSE_F32: Source = source!("conv2d_sparse_f32.cu");

/// f32 depthwise convolutions.
pub const DEPTHWISE: Source = source!("depthwise.cu");

/// Matrix products on tensor cores.
pub const GEMM_MMA: Source = source!("gemm_mma.cu");

/// Convolutions on tensor cores.
pub const CONV2D_MMA: Source = source!("conv2d_mma.cu");

/// Convolutions on Hopper, with bulk copies and `wgmma`.
pub const CONV2D_WGMMA: Source = source!("conv2d_wgmma.cu");

/// Weight gradients of convolutions on Hopper.
pub const CONV2D_WEIGHT_GRAD_WGMMA: Source = source!("conv2d_weight_grad_wgmma.cu");

impl Source {
    /// The kernels that the file defines, in order.
    ///
    /// A definition reads `extern "C" __global__ void NAME(`, optionally with `__launch_bounds__(..)` before the
    /// name.
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

/// A hash of `parts` (FNV-1a, 64 bits), for the names of cached files.
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
    fn every_module_has_kernels_and_names_are_unique() {
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
