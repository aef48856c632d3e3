//! VGG, ResNet and other networks as graphs, and the data sets that they train on.

pub mod builder;
pub mod data;
pub mod init;
