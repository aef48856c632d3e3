//! The library once more, as an example: see `Cargo.toml`.

#[path = "../../src/lib.rs"]
mod library;
