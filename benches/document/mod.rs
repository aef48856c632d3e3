//! BENCHMARKS.md and its charts, made from the result files in `docs/benchmarks`.
//!
//! ```text
//!   docs/benchmarks/*.csv ─► Results ─► pages (tables)  ─► BENCHMARKS.md
//!                                    ├► charts (dots)   ─► docs/benchmarks/*.svg
//!                                    └► atlas           ─► docs/benchmarks/atlas.html, docs/sparse-vs-pruned.md, a section
//!                                                          of BENCHMARKS.md
//!   docs/tutorial/*/report.json ─────► tutorial, values  ─► docs/tutorial/*.md, a table of README.md
//! ```

pub mod atlas;
mod atlas_chart;
mod atlas_kernels;
mod atlas_slower;
pub mod blocks;
mod charts;
mod comparisons;
mod dots;
mod markdown;
mod pages;
pub mod peers;
mod pruners;
pub mod tutorial;
pub mod values;

use crate::common::record::Record;
use crate::common::rows::{
    Conv2dRow, ImagesRow, LinearRow, NetworkRow, PeerRow, PrunerRow, ResourcesRow, SparseRow, TargetRow,
};
use lopper::atlas::Row;
use lopper_engine::{Error, Result};
use std::path::Path;

/// All result files.
struct Results {
    networks: Record<NetworkRow>,
    conv2d: Record<Conv2dRow>,
    linear: Record<LinearRow>,
    sparse: Record<SparseRow>,
    atlas: Record<Row>,
    images: Record<ImagesRow>,
    cuda_resources: Record<ResourcesRow>,
    peers: Record<PeerRow>,
    /// Networks with zero weights, beside an engine that skips them.
    sparse_peers: Record<PeerRow>,
    /// The same on a processor without AVX-512.
    sparse_peers_avx2: Record<PeerRow>,
    /// Networks from ONNX files, beside engines that read the same files.
    onnx_peers: Record<PeerRow>,
    targets: Record<TargetRow>,
    /// Channels chosen by other tools and by ours.
    pruners: Record<PrunerRow>,
}

impl Results {
    fn read(directory: &Path) -> Result<Self> {
        Ok(Self {
            networks: Record::read(&directory.join("networks.csv"))?,
            conv2d: Record::read(&directory.join("conv2d.csv"))?,
            linear: Record::read(&directory.join("linear.csv"))?,
            sparse: Record::read(&directory.join("sparse.csv"))?,
            atlas: Record::read(&directory.join("atlas.csv"))?,
            images: Record::read(&directory.join("images.csv"))?,
            cuda_resources: Record::read(&directory.join("cuda_resources.csv"))?,
            peers: Record::read(&directory.join("peers.csv"))?,
            sparse_peers: Record::read(&directory.join("sparse_peers.csv"))?,
            sparse_peers_avx2: Record::read(&directory.join("sparse_peers_avx2.csv"))?,
            onnx_peers: Record::read(&directory.join("onnx_peers.csv"))?,
            targets: Record::read(&directory.join("targets.csv"))?,
            pruners: Record::read(&directory.join("pruners.csv"))?,
        })
    }
}

/// Returns the document and the charts: the path below `root`, the repository, and the text.
///
/// # Errors
/// If a result file is missing or malformed; the error names it.
pub fn files(root: &Path) -> Result<Vec<(String, String)>> {
    let results = Results::read(&root.join("docs/benchmarks"))?;
    let explained = root.join("docs/sparse-vs-pruned.md");
    let explained = std::fs::read_to_string(&explained).map_err(|e| Error::file(explained, e))?;
    let mut files = [
        ("BENCHMARKS.md", pages::document(&results)),
        ("docs/benchmarks/networks.svg", charts::networks(&results)?),
        ("docs/benchmarks/conv2d.svg", charts::conv2d(&results)?),
        ("docs/benchmarks/sparse.svg", charts::sparse(&results)?),
        ("docs/benchmarks/atlas.svg", atlas_chart::chart(&results.atlas)?),
        ("docs/benchmarks/atlas.html", atlas::page(&results.atlas)),
        ("docs/sparse-vs-pruned.md", atlas::document(&explained, &results.atlas)?),
    ]
    .map(|(name, text)| (name.to_string(), text))
    .to_vec();
    files.extend(tutorial::chapters(root)?);
    let readme = root.join("README.md");
    let text = std::fs::read_to_string(&readme).map_err(|e| Error::file(&readme, e))?;
    let text = tutorial::readme(root, &text)?;
    let text = blocks::replaced("README.md", &text, "pruners", &pruners::by_method(&results.pruners.rows))?;
    files.push(("README.md".into(), text));
    Ok(files)
}
