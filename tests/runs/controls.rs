//! Controls, comparisons on the same images, and several seeds.

use crate::support::recipe::{HEAD, report, run};
use serde_json::Value;
use std::fs;
use std::path::Path;

#[test]
fn controls_are_added_and_labeled() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = format!(
        "controls = true\n{HEAD}train = {{ epochs = 1, learning_rate = 1e-3 }}\n[[stage]]\nname = \"b\"\n\
         sparsify = {{ sparsity = 0.5 }}\ntrain = {{ epochs = 1, learning_rate = 1e-3 }}\n[[stage]]\nname = \"c\"\nprune = {{}}\n"
    );
    run(dir.path(), &recipe, &[]).succeeded();
    let stages = report(dir.path())["stages"].as_array().unwrap().clone();
    let names: Vec<&str> = stages.iter().map(|row| row["stage"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "b-without", "b-random", "c", "c-scratch"]);
    assert_eq!(stages[2]["what"], "control without sparsify, 1 epoch");
    assert_eq!(stages[3]["findings"]["control"], "random criterion");
    assert_eq!(
        stages[5]["what"],
        "control from scratch at the same widths, 2 epochs, fresh weights, 2 epochs"
    );
    assert_eq!(stages[5]["params"], stages[4]["params"], "the widths of the pruned network");
    let against = |row: &Value| -> Vec<String> {
        let others = row["findings"]["against"].as_array().unwrap();
        others.iter().map(|other| other["stage"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!([1, 2, 4, 5].map(|i| against(&stages[i]).join(" ")), ["a", "a b", "b", "c"]);
    // The last stage prunes what `b` sparsified, as without controls.
    assert!(stages[4]["params"].as_u64() < stages[1]["params"].as_u64());
    let plain = tempfile::tempdir().unwrap();
    run(plain.path(), &recipe.replace("controls = true", ""), &[]).succeeded();
    let network = |dir: &Path, file: &str| fs::read(dir.join("out").join(file)).unwrap();
    assert_eq!(network(dir.path(), "5-c.safetensors"), network(plain.path(), "3-c.safetensors"));
}

#[test]
fn several_seeds_give_means_and_runs_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = format!(
        "seed = 5\nseeds = 3\n{HEAD}train = {{ epochs = 1, learning_rate = 1e-2 }}\n[[stage]]\nname = \"b\"\n\
         prune = {{ criterion = \"large_final\", fraction = 0.5 }}\n"
    );
    let printed = run(dir.path(), &recipe, &[]).succeeded().out;
    assert!(printed.contains("means over 3 seeds"), "{printed}");
    let whole = report(dir.path());
    assert_eq!(whole["seeds"]["seeds"], serde_json::json!([5, 6, 7]));
    let of = |inside: &str| -> Value {
        serde_json::from_slice(&fs::read(dir.path().join("out").join(inside).join("report.json")).unwrap())
            .unwrap()
    };
    for (stage, found) in whole["seeds"]["stages"].as_array().unwrap().iter().enumerate() {
        let runs =
            ["", "seed-6", "seed-7"].map(|inside| of(inside)["stages"][stage]["top1"].as_f64().unwrap());
        assert_eq!(found["top1"], serde_json::json!(runs), "{found}");
        let mean = runs.iter().sum::<f64>() / 3.0;
        assert!((found["mean"].as_f64().unwrap() - mean).abs() < 1e-12);
    }
    assert!(fs::read_to_string(dir.path().join("out/report.html")).unwrap().contains("Over 3 seeds"));
    // A run with the seed alone gives the same network.
    let alone = tempfile::tempdir().unwrap();
    run(alone.path(), &recipe.replace("seeds = 3\n", ""), &["--seed", "7"]).succeeded();
    let network = |dir: &Path, file: &str| fs::read(dir.join("out").join(file)).unwrap();
    assert_eq!(network(alone.path(), "2-b.safetensors"), network(dir.path(), "seed-7/2-b.safetensors"));
    run(dir.path(), &recipe.replace("seeds = 3", "seeds = 0"), &["--force"])
        .failed_naming(&["seeds: expected 1 to"]);
}
