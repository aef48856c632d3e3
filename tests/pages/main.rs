//! Pages, scripts and the source tree: documents match their data, and pages work in a browser.

mod atlas_page;
mod bench_scripts;
mod benchmarks_document;
mod documents;
mod report_page;
mod source_tree;
mod tutorial;

#[path = "../support/browser.rs"]
mod browser;
#[path = "../../benches/common/mod.rs"]
mod common;
#[path = "../../benches/document/mod.rs"]
mod document;
