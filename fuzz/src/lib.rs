//! What the fuzz targets do with an input: one function a target, so that a test can replay the corpus without libFuzzer.

#![forbid(unsafe_code)]

mod exercise;
pub mod mutate;
pub mod targets;
