//! What several integration tests share.
#![allow(dead_code, reason = "each test crate uses a part")]

pub mod fixtures;
pub mod random_graph;
