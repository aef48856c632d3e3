//! The result file of a sweep: CSV under comments that state what was measured, where, and by which command.

use super::way::Way;
use lopper_engine::{Result, atomic};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// One way to compute one cell: a layer at one batch size, number of threads and sparsity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The layer: network and node, or its shape.
    pub layer: String,
    /// Input height, width and channels, filters, kernel and stride, as `32x32x64 128 3x3/2`; or `25088x4096`.
    pub shape: String,
    /// `cpu`, or the architecture of a GPU.
    pub device: String,
    /// Images in the batch.
    pub batch: usize,
    /// Threads of the CPU; 0 on a GPU.
    pub threads: usize,
    /// Requested share of zero weights, in percent.
    pub sparsity: u32,
    /// The share of weights that are zero, in percent; 0 for dense ways, which multiply every weight.
    pub zeros: f64,
    /// The way; see [`super::Way`].
    pub way: String,
    /// `chosen` by the plan, or `forced`.
    pub packed: String,
    /// The kernel that ran.
    pub kernel: String,
    /// Time in milliseconds: the median over the rounds, the lowest and the highest.
    pub median_ms: f64,
    /// The lowest.
    pub low_ms: f64,
    /// The highest.
    pub high_ms: f64,
    /// Direct dense's time over this way's, formed within each round: the median, the lowest and the highest.
    pub over_direct: f64,
    /// The lowest.
    pub over_direct_low: f64,
    /// The highest.
    pub over_direct_high: f64,
    /// The same over the fastest dense way of the cell.
    pub over_best: f64,
    /// The lowest.
    pub over_best_low: f64,
    /// The highest.
    pub over_best_high: f64,
    /// Multiply-accumulates of the definition, zeros included.
    pub macs: u64,
    /// Multiply-accumulates of nonzero weights.
    pub live_macs: u64,
    /// Multiply-accumulates that the kernel performs.
    pub products: u64,
    /// Bytes of packed weights.
    pub weight_bytes: usize,
    /// The peak of fused multiply-adds, measured between the rounds; empty on a GPU.
    pub peak_gflops: Option<f64>,
}

impl Row {
    /// GFLOP/s of the multiply-accumulates of nonzero weights.
    pub fn live_gflops(&self) -> f64 {
        2e-6 * self.live_macs as f64 / self.median_ms
    }

    /// The share of the peak of fused multiply-adds that the kernel's products reach, if the peak is known.
    pub fn share_of_peak(&self) -> Option<f64> {
        self.peak_gflops.map(|peak| 2e-6 * self.products as f64 / self.median_ms / peak)
    }

    /// Whether the way may skip zeros; the others are dense.
    pub fn is_sparse(&self) -> bool {
        Way::DENSE.iter().all(|way| way.to_string() != self.way)
    }

    /// Whether both rows belong to one cell, apart from their sparsity.
    pub fn same_place(&self, other: &Self) -> bool {
        (&self.layer, &self.device, self.batch, self.threads)
            == (&other.layer, &other.device, other.batch, other.threads)
    }
}

/// Rounds to four significant digits: more would be noise, and would change with each run.
pub fn round(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// Writes `rows`, all or nothing, under a header of keys and values.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, head: &[(String, String)], rows: &[impl Serialize]) -> Result<()> {
    atomic::write(path, |file| {
        for (key, value) in head {
            // A line break in a value would end the comment.
            writeln!(file, "# {key}: {}", value.replace(['\n', '\r'], " "))?;
        }
        let mut writer = csv::Writer::from_writer(file);
        rows.iter().try_for_each(|row| writer.serialize(row)).map_err(io::Error::other)?;
        writer.flush()
    })
}
