//! VGG, ResNet and other networks as graphs, and data sets to train them on.

#![forbid(unsafe_code)]

pub mod arch;
pub mod builder;
mod classifier;
pub mod data;
pub mod init;

pub use arch::{Head, Options, build, freeze_body, names, numbered_classes};
pub use builder::{Builder, Conv};
pub use classifier::{Classifier, Guess};
