//! Rows of each result file, which a benchmark writes and `report` reads.

use super::timing::{Times, round};
use serde::{Deserialize, Serialize};

/// Median of many times and their spread, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// Median: half of the times are below.
    pub median_ms: f64,
    /// 10th percentile: a tenth of the times are below.
    pub p10_ms: f64,
    /// 90th percentile: a tenth of the times are above.
    pub p90_ms: f64,
}

impl From<&Times> for Spread {
    fn from(times: &Times) -> Self {
        let [median_ms, p10_ms, p90_ms] = [0.5, 0.1, 0.9].map(|share| round(1e3 * times.quantile(share)));
        Self { median_ms, p10_ms, p90_ms }
    }
}

impl Spread {
    /// Returns the GFLOP/s of `macs` multiply-accumulates in the median time.
    pub fn gflops(&self, macs: u64) -> f64 {
        round(2e-6 * macs as f64 / self.median_ms)
    }
}

/// Declares a row: a struct whose fields are the columns of its file. (The csv crate cannot read a flattened
/// `Spread`, so its three columns are spelled out.)
macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
    };
}

row! {
    /// Convolution of a network with one algorithm. GFLOP/s count the operations of the direct algorithm.
    Conv2dRow {
        network: String, layer: String, batch: usize, threads: usize,
        /// Input height and width, channels, filters, kernel and stride, as `128x128x3 64 7x7/2`.
        shape: String,
        /// `direct`, `chosen`, `input_grad` or `weight_grad`.
        algorithm: String,
        kernel: String, median_ms: f64, p10_ms: f64, p90_ms: f64, gflops: f64, peak_gflops: f64,
    }
}

row! {
    /// Product with a fully connected layer's weight, or of two square matrices.
    LinearRow {
        /// `packed`, `packed bf16`, `stored`, `input_grad`, `weight_grad` or `gemm`.
        operation: String,
        inputs: usize, outputs: usize, batch: usize, threads: usize,
        median_ms: f64, p10_ms: f64, p90_ms: f64, gflops: f64, peak_gflops: f64,
        /// Bytes of input, weight and output as f32, each counted once, over the median time.
        gbytes_s: f64,
        /// Rate at which the same threads read a buffer larger than the caches.
        read_gbytes_s: f64,
    }
}

row! {
    /// Convolution with some dead filters and inputs, by one technique.
    SparseRow {
        layer: String, batch: usize, threads: usize, dead_percent: usize,
        /// `dense`, `masked`, `pruned filters` (the bound of masked), `compacted` or `pruned` (the bound of compacted).
        technique: String,
        kernel: String, median_ms: f64, p10_ms: f64, p90_ms: f64,
        /// Median time of dense over that of this technique.
        speedup: f64,
    }
}

row! {
    /// Inference plan of a network.
    NetworkRow {
        network: String, size: usize, batch: usize, threads: usize, folded: bool,
        median_ms: f64, p10_ms: f64, p90_ms: f64, gflops: f64, peak_gflops: f64,
        weight_mbytes: f64, arena_mbytes: f64,
    }
}

row! {
    /// Resource usage of a CUDA kernel on one architecture.
    ResourcesRow {
        module: String, kernel: String,
        /// `sm_80`, `sm_90` or `sm_90a`.
        arch: String,
        /// Registers per thread.
        registers: usize,
        /// Per thread: registers spilled to memory; arrays on the stack.
        spill_bytes: usize, stack_bytes: usize,
        /// Shared memory per block, or per array if the geometry determines the number of arrays.
        shared_bytes: usize,
        /// Version of NVRTC that compiled the kernel.
        nvrtc: String,
    }
}

row! {
    /// Reading images on one thread.
    ImagesRow {
        /// `decode` or `decode and augment`.
        work: String,
        images: usize, mean_kbytes: f64, size: usize,
        /// Milliseconds per image.
        median_ms: f64, p10_ms: f64, p90_ms: f64, images_s: f64,
    }
}

row! {
    /// One round of one engine on one case, written by `peers.py`.
    PeerRow {
        /// `network`, `sparse`, `onnx`, `training`, `layer` or `images`.
        kind: String,
        /// Network, or network and layer.
        what: String,
        size: usize, batch: usize, threads: usize, engine: String, round: usize, ms: f64,
    }
}

row! {
    /// Network after a cut and fine-tuning, written by `pruners.py`.
    PrunerRow {
        seed: u64,
        /// `lopper` or `Torch-Pruning`.
        by: String,
        /// How the channels to remove were chosen, or `dense`.
        method: String,
        /// Shares of the validation images.
        top1: f64, top1_before_tuning: Option<f64>,
        images: usize, params: u64, macs: u64, latency_ms: f64,
        /// Latency over that of the dense network of this seed.
        latency_ratio: f64,
    }
}

row! {
    /// Target for a ratio: lopper should stay at or below it.
    TargetRow {
        kind: String, what: String, size: usize, batch: usize,
        /// Engine that the ratio compares with, or `best`.
        peer: String,
        at_most: f64,
    }
}
