//! The header is what cbindgen makes of the source.

use crate::compiler::{as_cpp, finished};
use cbindgen::{Builder, Config};
use std::fs;
use std::path::{Path, PathBuf};

fn header() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include/lopper.h")
}

fn generated() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = Config::from_file(root.join("cbindgen.toml")).expect("the options of cbindgen");
    let sources = ["src/status.rs", "src/handles.rs", "src/ffi.rs"];
    let builder = sources.iter().fold(Builder::new(), |builder, source| builder.with_src(root.join(source)));
    let bindings = builder.with_config(config).generate().expect("cbindgen reads the source");
    let mut text = Vec::new();
    bindings.write(&mut text);
    String::from_utf8(text).expect("a header in UTF-8")
}

#[test]
fn the_header_is_that_of_the_source() {
    let found = fs::read_to_string(header()).unwrap();
    let write = "cargo test --release -p lopper-capi -- --ignored write_the_header";
    assert!(found == generated(), "include/lopper.h is out of date: {write}");
}

#[test]
fn the_header_is_valid_in_cpp() {
    match as_cpp(&header()) {
        Some(mut command) => _ = finished(&mut command),
        None => eprintln!("skipped: no C++ compiler"),
    }
}

#[test]
#[ignore = "writes include/lopper.h"]
fn write_the_header() {
    fs::write(header(), generated()).unwrap();
}
