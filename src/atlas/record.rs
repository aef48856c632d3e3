//! The result file of a sweep: CSV under comments that state what was measured, where, and by which command.

use super::way::Way;
use lopper_engine::{Error, Result, atomic, input};
use serde::de::DeserializeOwned;
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

/// Layer, device, batch, threads and sparsity.
pub(super) type Cell = (String, String, usize, usize, u32);

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

    /// What tells the cells of a sweep apart.
    pub(super) fn cell(&self) -> Cell {
        (self.layer.clone(), self.device.clone(), self.batch, self.threads, self.sparsity)
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

/// The header of a result file, and its rows.
pub type Recorded<R> = (Vec<(String, String)>, Vec<R>);

/// Reads a file of [`write()`].
///
/// # Errors
/// If it cannot be read or has other columns; the error names the line.
pub fn read<R: DeserializeOwned>(path: &Path) -> Result<Recorded<R>> {
    let text = input::read_to_string(path)?;
    let head = text.lines().map_while(|line| line.strip_prefix("# ")?.split_once(": "));
    let head = head.map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
    let rows: std::result::Result<Vec<R>, _> = reader.deserialize().collect();
    Ok((head, rows.map_err(|e| Error::file(path, format!("not a result file: {e}")))?))
}
