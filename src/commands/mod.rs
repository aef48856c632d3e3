//! The commands, one file each. Those that turn one network into another share `step`.

mod atlas;
mod bench;
mod cli;
mod common;
mod compact;
mod completions;
mod data_args;
mod data_options;
mod demo;
mod diff;
mod distill;
mod eval;
mod explore;
mod factorize;
mod file_names;
mod fold;
mod help;
mod import_outputs;
mod list;
mod lr_find;
mod networks;
mod parsers;
mod predict;
mod prune;
mod prune_args;
mod recipes;
mod report;
mod run;
mod schedule;
mod selftest;
mod share;
mod slim;
mod sparsify;
mod step;
mod summary;
mod train;
mod weights;

pub use cli::Cli;

use common::Common;
use data_args::{DataArgs, open_data};
use data_options::DataOptions;
use networks::{is_file, open_network};
use parsers::{LinearWeights, classes, image_side, safetensors_path, single, tolerance};
