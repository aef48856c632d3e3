//! BENCHMARKS.md and its pictures are what `cargo bench --bench report` writes from the committed results, so that nobody can
//! change a figure by hand.

#[path = "../benches/common/mod.rs"]
mod common;
#[path = "../benches/document/mod.rs"]
mod document;

use std::path::Path;

#[test]
fn the_document_is_what_its_command_writes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = document::files(root).unwrap();
    assert!(files.len() > 1);
    for (name, text) in files {
        let committed = std::fs::read_to_string(root.join(name)).unwrap();
        // Not assert_eq, which would print both.
        assert!(committed == text, "{name} differs: run `cargo bench --bench report`");
    }
}

#[test]
fn bad_results_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.csv");
    let header = "# date: 2026-01-01\nkind,what,size,batch,threads,engine,round,ms\n";
    for (rows, expected) in [
        ("", "no row in it"),
        ("network,resnet18,128,1,2,lopper,0,fast\n", "line: 3"),
        ("network,resnet18,128\n", "line: 3"),
    ] {
        std::fs::write(&path, format!("{header}{rows}")).unwrap();
        let error = common::record::Record::<common::rows::PeerRow>::read(&path).err().unwrap().to_string();
        assert!(error.contains("peers.csv") && error.contains(expected), "{error}");
    }
}
