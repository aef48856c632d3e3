//! The library once more, as an example: see `Cargo.toml`.

#[allow(unused_imports, reason = "its users are in C")]
#[path = "../../src/lib.rs"]
mod library;
