//! Automatic differentiation: the tape, its operations, and running a graph on it.

pub mod exec;
mod fusion;
pub mod ops;
pub mod profile;
pub mod tape;
