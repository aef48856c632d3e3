//! The options of commands that need images.

use super::common::Common;
use super::parsers::image_side;
use crate::pipeline::check_images;
use clap::Args;
use lopper_engine::{Graph, Result};
use lopper_models::data::{DataConfig, DataName, Splits};
use std::path::{Path, PathBuf};

/// Data set and data loading options.
#[derive(Args)]
pub struct DataArgs {
    /// `fashion-mnist` (built in), or a directory with train/<class>/* and val/<class>/*, or with MNIST's IDX files
    #[arg(long)]
    pub(super) data: Option<PathBuf>,
    /// Side of the square images in pixels [default: the network's, else 32 built in, 128 from a directory]
    #[arg(long, value_parser = image_side)]
    pub(super) size: Option<usize>,
    /// Images per batch
    #[arg(long, default_value_t = 64)]
    pub(super) batch: usize,
    /// Images per class [default: all]
    #[arg(long)]
    pub(super) limit: Option<usize>,
    /// Percentage of wrong labels: selects the column of Imagenette's noisy_imagenette.csv to learn from
    #[arg(long)]
    pub(super) label_noise: Option<u32>,
    /// Skip images that cannot be decoded instead of stopping
    #[arg(long)]
    pub(super) skip_bad_images: bool,
}

impl DataArgs {
    /// Returns the configuration of the data set, at the image size of `network` unless another is given.
    pub(super) fn config(&self, network: Option<&Graph>) -> Option<DataConfig> {
        let path = self.data.as_ref()?;
        let mut config = DataConfig::new(data_name(path));
        config.path = (config.name != DataName::FashionMnist).then(|| path.clone());
        config.size = self.size.or(network.map(|n| n.info.input[0]).filter(|&size| size > 0));
        config.batch = self.batch;
        config.limit = self.limit;
        config.label_noise = self.label_noise;
        config.skip_bad_images = self.skip_bad_images;
        Some(config)
    }
}

/// Returns the kind of data set: built-in `fashion-mnist`, or the kind that a directory's files indicate.
fn data_name(path: &Path) -> DataName {
    if path.as_os_str() == "fashion-mnist" {
        DataName::FashionMnist
    } else if path.join(lopper_models::data::NOISY_LABELS_FILE).exists() {
        DataName::Imagenette
    } else if ["", ".gz"].iter().any(|end| path.join(format!("train-images-idx3-ubyte{end}")).exists()) {
        DataName::Idx
    } else {
        DataName::Folder
    }
}

/// Returns `config` as `graph` needs its images: with its normalization, and at its size unless another is given.
/// Everything that a network is evaluated on or classifies goes through here, so that it is treated alike.
pub(super) fn for_network(config: &DataConfig, graph: &Graph) -> DataConfig {
    let channels = |values: &[f32]| <[f32; 3]>::try_from(values).ok();
    DataConfig {
        mean: channels(&graph.info.mean).or(config.mean),
        std: channels(&graph.info.std).or(config.std),
        size: config.size.or(Some(graph.info.input[0]).filter(|&size| size > 0)),
        ..config.clone()
    }
}

/// Opens `config` for `graph`. The classes must match.
pub(super) fn open_data(config: &DataConfig, graph: &Graph, common: &Common) -> Result<Splits> {
    let config = for_network(config, graph);
    let splits = lopper_models::data::open(&config, None, common.seed.unwrap_or(0))?;
    check_images(graph, &splits)?;
    Ok(splits)
}
