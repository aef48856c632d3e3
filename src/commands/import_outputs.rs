//! The outputs that an imported classifier keeps, and the names of its classes.

use super::Common;
use super::data_args::data_name;
use crate::images::open_images;
use clap::Args;
use lopper_engine::{Error, Graph, Result};
use lopper_models::data::{DataConfig, DataName};
use std::path::{Path, PathBuf};

/// Classes of an imported network.
#[derive(Args)]
pub struct KeepOutputs {
    /// Keep only these outputs, counted from 0 and separated by commas: of ImageNet's,
    /// 0,217,482,491,497,566,569,571,574,701 are Imagenette's [default: all]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    outputs: Option<Vec<usize>>,
    /// Names of the classes, in the order of the outputs, separated by commas [default: their numbers]
    #[arg(long, value_delimiter = ',', value_name = "LIST", conflicts_with = "data")]
    class_names: Option<Vec<String>>,
    /// Images whose class folders, in their order, are the outputs' classes [default: none]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl KeepOutputs {
    /// Restricts `graph` to the outputs and names its classes.
    pub(super) fn apply(&self, graph: &mut Graph, common: &Common) -> Result<()> {
        if let Some(outputs) = &self.outputs {
            lopper_models::keep_outputs(graph, outputs)
                .map_err(|e| Error::invalid(format!("--outputs: {e}")))?;
        }
        let (option, classes, folders) = match (&self.class_names, &self.data) {
            (Some(names), _) => ("--class-names", names.clone(), Vec::new()),
            (None, Some(path)) => {
                let (classes, folders) = classes_of(path, common)?;
                ("--data", classes, folders)
            }
            (None, None) if self.outputs.is_some() => {
                graph.info.classes = lopper_models::numbered_classes(graph.info.classes.len());
                graph.info.folders.clear();
                return Ok(());
            }
            (None, None) => return Ok(()),
        };
        let count = graph.info.classes.len();
        if classes.len() != count {
            let found = classes.len();
            return Err(Error::invalid(format!(
                "{option}: expected {count} classes, one an output, found {found}"
            )));
        }
        (graph.info.classes, graph.info.folders) = (classes, folders);
        Ok(())
    }
}

/// The names and folders of the classes of the images in `path`. No folders if they are called like the classes.
fn classes_of(path: &Path, common: &Common) -> Result<(Vec<String>, Vec<String>)> {
    let mut config = DataConfig::new(data_name(path));
    config.path = (config.name != DataName::FashionMnist).then(|| path.to_path_buf());
    let splits = open_images(&config, None, common.seed.unwrap_or(0))?;
    let folders = if splits.folders == splits.classes { Vec::new() } else { splits.folders };
    Ok((splits.classes, folders))
}
