//! VGG, ResNet and other convolutional networks as graphs, and data sets to train them on.

#![forbid(unsafe_code)]

pub mod arch;
pub mod builder;
mod classifier;
mod conv;
pub mod data;
pub mod init;
mod redraw;

pub use arch::{
    Head, NewHead, Options, Pretraining, about, build, freeze_body, is_auxiliary, keep_outputs, last_layer,
    last_layers, names, new_head, numbered_classes, our_name, pretraining, published, with_outputs,
};
pub use builder::{Builder, Conv};
pub use classifier::{Classifier, Guess};
pub use redraw::redraw;
