//! The report of sparsification: what a plan makes of the masks, layer by layer.

use crate::support::command::{image_folder, lopper, model, text};
use std::fs;
use std::path::Path;

const HEADING: &str = "masks in the plan for one image:";

/// The lines of the report in `err`.
fn lines(err: &str) -> Vec<&str> {
    let (_, report) = err.split_once(HEADING).unwrap_or_else(|| panic!("no report in: {err}"));
    let lines = report.lines().skip(1).take_while(|line| line.starts_with("  ") && !line.starts_with("   "));
    lines.collect()
}

/// Asserts that each line has a pattern, a density and a verdict.
#[track_caller]
fn assert_complete(lines: &[&str], pattern: &str) {
    assert!(!lines.is_empty());
    for line in lines {
        let verdict = ["skips zeros", "multiplies the zeros; ", "not computed"];
        assert!(verdict.iter().any(|verdict| line.contains(verdict)), "{line}");
        assert!(line.contains(pattern) && line.contains(" % left"), "{line}");
    }
}

#[test]
fn the_command_says_what_a_plan_makes_of_the_masks() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let (start, out) = (model(dir.path(), data.path()), dir.path().join("out.safetensors"));
    let sparsify = |options: &[&str]| {
        let rest = ["--context", "local", "--epochs", "0", "--force", "--out", text(&out)];
        lopper(&[&["sparsify", text(&start)], options, &rest].concat())
    };
    let filters = sparsify(&["--sparsity", "0.5"]).succeeded().err;
    assert_complete(&lines(&filters), "filters");
    // Filters are skipped on every machine, since all kernels can.
    assert!(lines(&filters).iter().all(|line| !line.contains("multiplies the zeros")), "{filters}");
    for (granularity, pattern) in [("2:4", "2:4"), ("1:4", "1:4"), ("1:2", "1:2")] {
        let err = sparsify(&["--granularity", granularity]).succeeded().err;
        assert_complete(&lines(&err), pattern);
    }
    for (granularity, pattern) in [("block:4", "blocks of 4"), ("kernel_block:8", "blocks of 8")] {
        let err = sparsify(&["--granularity", granularity, "--sparsity", "0.5"]).succeeded().err;
        assert_complete(&lines(&err), pattern);
    }
    sparsify(&["--granularity", "2:4", "--sparsity", "0.6"]).failed_naming(&["2:4", "0.5", "0.6"]);
    sparsify(&["--granularity", "block:4"]).failed_naming(&["sparsity", "blocks"]);
    sparsify(&["--granularity", "4:2"]).refused(&["N:M", "4:2"]);
}

#[test]
fn a_stage_of_a_recipe_says_what_a_plan_makes_of_the_masks() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let start = model(dir.path(), data.path());
    let recipe = dir.path().join("r.toml");
    let text_of = |path: &Path| text(path).to_string();
    let stage = format!(
        "[data]\nname = \"folder\"\npath = {:?}\nsize = 32\nbatch = 8\n\n[[stage]]\nname = \"sparse\"\nfrom = {:?}\n\
         sparsify = {{ granularity = \"2:4\" }}\n",
        text_of(data.path()),
        text_of(&start)
    );
    fs::write(&recipe, stage).unwrap();
    let err = lopper(&["run", text(&recipe), "--out", text(&dir.path().join("run"))]).succeeded().err;
    assert_complete(&lines(&err), "2:4");
}
