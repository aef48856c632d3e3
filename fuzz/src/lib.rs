//! Functions of the fuzz targets, one per target, so that a test can replay the corpus without libFuzzer.

#![forbid(unsafe_code)]

mod exercise;
pub mod mutate;
pub mod structure;
pub mod targets;
