//! VGG, ResNet and other networks as graphs, and data sets to train them on.

#![forbid(unsafe_code)]

pub mod arch;
pub mod builder;
pub mod data;
pub mod init;

pub use arch::{
    Head, Options, Pretraining, build, freeze_body, keep_outputs, names, numbered_classes, our_name,
    pretraining,
};
