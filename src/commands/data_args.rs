//! The images of commands that take a network and `--data`.

use super::common::Common;
use super::data_options::DataOptions;
use crate::images::{Fit, check_fit, fit, open_images};
use clap::Args;
use lopper_engine::{Graph, Result};
use lopper_models::data::{DataConfig, DataName, Splits};
use std::path::{Path, PathBuf};

/// Data set and data loading options.
#[derive(Args)]
pub struct DataArgs {
    /// `fashion-mnist` (built in), a directory of images in any common arrangement or of MNIST's IDX files, or a table
    /// of labels (.csv)
    #[arg(long, help_heading = "Images")]
    data: Option<PathBuf>,
    #[command(flatten)]
    options: DataOptions,
}

impl DataArgs {
    /// Returns the configuration of the data set, for the images that `network` is made for unless other options are
    /// given. `None` without `--data`.
    pub(super) fn config(&self, network: Option<&Graph>) -> Result<Option<DataConfig>> {
        let Some(path) = &self.data else { return Ok(None) };
        let mut config = DataConfig::new(data_name(path));
        config.path = (config.name != DataName::FashionMnist).then(|| path.clone());
        self.options.apply(&mut config)?;
        if let Some(network) = network {
            fit(&mut config, network);
        }
        Ok(Some(config))
    }
}

/// Returns the kind of data set: built-in `fashion-mnist`, or the kind that a directory's files indicate.
pub(super) fn data_name(path: &Path) -> DataName {
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

/// Opens `config`, which fits `graph`. The classes and the normalization must match.
pub(super) fn open_data(config: &DataConfig, graph: &Graph, common: &Common) -> Result<Splits> {
    let splits = open_images(config, None, common.seed.unwrap_or(0))?;
    check_fit(graph, &splits, Fit::Images)?;
    Ok(splits)
}
