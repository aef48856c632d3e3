//! The C interface, used by programs in C.

mod compiler;
mod header;
mod programs;

#[path = "../../../tests/support/random_graph/mod.rs"]
#[allow(dead_code, reason = "these tests use a part")]
mod random_graph;
