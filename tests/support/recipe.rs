//! Recipes that tests write and run.

use super::command::{Run, lopper, text};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The start of a recipe: images, and a stage `a` with a small network.
pub const HEAD: &str = "data = { name = \"fashion-mnist\", limit = 4, batch = 8 }\n[[stage]]\nname = \"a\"\narch = \"vgg8_bn\"\nwidth = 0.1\n";

/// Runs `recipe` in the folder `dir` with the output in `dir/out`.
pub fn run(dir: &Path, recipe: &str, more: &[&str]) -> Run {
    let (file, out) = (dir.join("recipe.toml"), dir.join("out"));
    fs::write(&file, recipe).unwrap();
    lopper(&[&["run", text(&file), "--out", text(&out)], more].concat())
}

/// The file `report.json` of a run in `dir`.
pub fn report(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("out/report.json")).unwrap()).unwrap()
}
