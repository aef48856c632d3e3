//! Helpers of several integration tests.
#![allow(dead_code, unused_imports, reason = "each test crate uses a part")]

pub mod by_formula;
pub mod child;
pub mod clock;
pub mod command;
pub mod fixtures;
pub mod masks;
pub mod oracle;
pub mod python;
pub mod random_graph;
pub mod recipe;
