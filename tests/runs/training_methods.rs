//! Recipes of distillation, sparse training, lottery tickets and regularization, from beginning to end.

use crate::support::command::{Run, lopper, text};
use lopper::recipe::Recipe;
use lopper_engine::file;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const HEAD: &str = "data = { name = \"fashion-mnist\", limit = 4, batch = 8 }\n";
const NEW: &str = "arch = \"vgg8_bn\"\nwidth = 0.1\n";

/// A stage that trains for two epochs.
fn stage(name: &str, keys: &str) -> String {
    format!("[[stage]]\nname = \"{name}\"\n{keys}\ntrain = {{ epochs = 2, learning_rate = 1e-3 }}\n")
}

/// Runs `recipe` in the folder `dir` with the output in `dir/out`.
fn run(dir: &Path, recipe: &str) -> Run {
    let (file, out) = (dir.join("recipe.toml"), dir.join("out"));
    fs::write(&file, format!("{HEAD}{recipe}")).unwrap();
    lopper(&["run", text(&file), "--out", text(&out)])
}

/// The lines of `history.csv` as maps from the header.
fn history(dir: &Path) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(dir.join("out/history.csv")).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_string));
    let header: Vec<String> = lines.next().unwrap().collect();
    lines.map(|line| header.iter().cloned().zip(line).collect()).collect()
}

#[test]
fn every_form_of_teacher_is_a_recipe() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = [
        stage("large", "arch = \"vgg8_bn\"\nwidth = 0.2"),
        // Teacher assistants: a chain.
        stage("assistant", &format!("{NEW}teacher = \"large\"\ndistill = {{ loss = \"dkd\" }}")),
        stage(
            "student",
            &format!(
                "{NEW}teacher = [\"large\", {{ network = \"assistant\", weight = 2 }}]\n\
                 distill = {{ weight = 0.7, schedule = \"cosine\", features = [{{ loss = \"attention\" }}] }}"
            ),
        ),
        stage("peers", &format!("{NEW}teacher = \"large\"\ndistill = {{ mutual = true, temperature = 1 }}")),
        stage("own", &format!("{NEW}distill = {{ branches = [\"LAYER\"] }}")),
        stage("generation", &format!("repeat = 2\n{NEW}teacher = \"previous\"\ndistill = {{}}")),
    ];
    // The branch is a layer of the architecture: the first batch norm.
    let graph =
        lopper_models::build("vgg8_bn", &lopper_models::Options::new(vec!["a".into()], [28, 28, 3])).unwrap();
    let norm = |node: &&lopper_engine::Node| matches!(node.layer, lopper_engine::Layer::BatchNorm(_));
    let layer = &graph.nodes().iter().find(norm).unwrap().name;
    let recipe = recipe.concat().replace("LAYER", layer);
    run(dir.path(), &recipe).succeeded();
    let lines = history(dir.path());
    let names: Vec<&str> = lines.iter().map(|line| line["stage"].as_str()).collect();
    assert!(names.contains(&"generation-1") && names.contains(&"generation-2"), "{names:?}");
    for line in &lines {
        let logged = !line["task_loss"].is_empty() && !line["distillation_loss"].is_empty();
        assert_eq!(logged, line["stage"] != "large", "{line:?}");
    }
    // The weight grows from 0, so the first epoch counts the task more than the second.
    let student: Vec<_> = lines.iter().filter(|line| line["stage"] == "student").collect();
    let number = |line: &BTreeMap<String, String>, key: &str| line[key].parse::<f64>().unwrap();
    let weight = |line: &BTreeMap<String, String>| {
        let (loss, task) = (number(line, "train_loss"), number(line, "task_loss"));
        (loss - task) / (number(line, "distillation_loss") - task)
    };
    assert!(weight(student[0]) < weight(student[1]), "{} {}", weight(student[0]), weight(student[1]));
}

/// A cache changes no bit, and repeated draws make epochs alike.
#[test]
fn cached_logits_give_the_same_network() {
    let dir = tempfile::tempdir().unwrap();
    let taught = |name: &str, cache: usize| {
        stage(name, &format!("{NEW}teacher = \"base\"\ndistill = {{ cache = {cache} }}"))
            .replace("epochs = 2", "epochs = 3, draws = 1")
    };
    let recipe = [stage("base", NEW), taught("with", 8), taught("without", 0)].concat();
    run(dir.path(), &recipe).succeeded();
    let lines = history(dir.path());
    let of = |stage: &str| -> Vec<[String; 3]> {
        let lines = lines.iter().filter(|line| line["stage"] == stage);
        lines
            .map(|line| ["train_loss", "val_loss", "distillation_loss"].map(|key| line[key].clone()))
            .collect()
    };
    assert_eq!(of("with"), of("without"));
    assert_eq!(of("with").len(), 3);
}

/// The network of `stop_after` is the one that the whole training passes through, and tickets rewind to it.
#[test]
fn tickets_rewind_to_an_early_network() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = [
        stage("early", NEW).replace("epochs = 2", "epochs = 2, stop_after = 1"),
        stage("dense", NEW),
        stage("ticket", "repeat = 2\nlottery = { fraction = 0.5, rewind = \"early\" }"),
        "[[stage]]\nname = \"saved\"\nlottery = { fraction = 0.5, rewind = \"early\" }\n".to_string(),
    ];
    run(dir.path(), &recipe.concat()).succeeded();
    let lines = history(dir.path());
    let epoch = |stage: &str, epoch: &str| {
        let found = lines.iter().find(|line| line["stage"] == stage && line["epoch"] == epoch);
        found.map(|line| ["train_loss", "val_loss", "learning_rate"].map(|key| line[key].clone()))
    };
    assert_eq!(epoch("early", "1"), epoch("dense", "1"));
    assert!(epoch("early", "2").is_none() && epoch("dense", "2").is_some());
    let models: Vec<_> =
        fs::read_dir(dir.path().join("out")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let load = |stage: &str| {
        let path = models.iter().find(|path| text(path).ends_with(&format!("-{stage}.safetensors"))).unwrap();
        file::load(path).unwrap()
    };
    let (early, saved) = (load("early"), load("saved"));
    let (mut masked, mut all) = (0.0, 0);
    for (path, param) in saved.params() {
        let start = early.param(&path).unwrap().value();
        for (i, (&w, &from)) in param.value().data().iter().zip(start.data()).enumerate() {
            let kept = param.mask().is_none_or(|mask| mask.data()[i] == 1.0);
            assert_eq!(w, if kept { from } else { 0.0 }, "{path}");
        }
        masked += param.mask().map_or(0.0, |mask| mask.data().iter().filter(|&&m| m == 0.0).count() as f64);
        all += param.mask().map_or(0, |mask| mask.len());
    }
    let share = masked / all as f64;
    assert!((share - 0.875).abs() < 0.01, "three halvings: {share}");
}

#[test]
fn sparse_training_and_penalties_are_recipes() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = [
        stage("rigl", &format!("{NEW}sparse_train = {{ sparsity = 0.8, every = 1 }}")),
        stage("kast", &format!("{NEW}sparse_train = {{ sparsity = 0.8, method = \"top_kast\", every = 1 }}")),
        stage("pulled", "regularize = { penalty = \"group_norm\", weight = 1e-3 }"),
        stage(
            "acdc",
            "sparsify = { sparsity = 0.5, granularity = \"weight\", schedule = { ac_dc = { phases = 2 } } }",
        ),
    ];
    let run = run(dir.path(), &recipe.concat()).succeeded();
    assert!(run.err.contains("% of weights"), "{}", run.err);
    let sparsity: Vec<f64> =
        history(dir.path()).iter().map(|line| line["sparsity"].parse().unwrap()).collect();
    assert!(sparsity[0] > 0.0 && sparsity[0] == sparsity[1], "{sparsity:?}");
    // Of all layers but the last, which makes the output and stays dense.
    let text = fs::read_to_string(dir.path().join("out/sparsity.csv")).unwrap();
    let counts = text.lines().filter(|line| line.starts_with("rigl,1,")).map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        [3, 4].map(|cell: usize| cells[cell].parse::<f64>().unwrap())
    });
    let counts: Vec<[f64; 2]> = counts.collect();
    let (output, others) = counts.split_last().unwrap();
    let sum = |i: usize| others.iter().map(|count| count[i]).sum::<f64>();
    assert_eq!(output[0], 0.0);
    assert!((sum(0) / sum(1) - 0.8).abs() < 0.01, "{counts:?}");
}

#[test]
fn recipes_that_cannot_work_are_refused() {
    let refused = |keys: &str, words: &str| {
        let recipe = format!("{HEAD}{}{}", stage("a", NEW), stage("b", keys));
        let error = Recipe::parse(&recipe).unwrap_err().to_string();
        assert!(error.contains(words), "{keys}: {error}");
    };
    refused(&format!("repeat = 2\n{NEW}"), "or the teacher `previous`");
    refused(&format!("{NEW}teacher = []\ndistill = {{}}"), "teacher: expected a network, found none");
    refused(
        &format!("{NEW}teacher = [{{ network = \"a\", weight = 0 }}]\ndistill = {{}}"),
        "teacher a: weight: expected above 0",
    );
    refused(&format!("{NEW}teacher = \"a\"\ndistill = {{ loss = \"magic\" }}"), "magic");
    refused("lottery = { fraction = 0.5 }", "rewind");
    refused("sparse_train = { sparsity = 2 }", "sparse_train sparsity");
    let late = stage("b", NEW).replace("epochs = 2", "epochs = 2, stop_after = 3");
    let error = Recipe::parse(&format!("{HEAD}{late}")).unwrap_err().to_string();
    assert!(error.contains("stop_after: expected more than 0 epochs and up to 2"), "{error}");
    let none = stage("b", NEW).replace("epochs = 2", "epochs = 2, draws = 0");
    assert!(
        Recipe::parse(&format!("{HEAD}{none}"))
            .unwrap_err()
            .to_string()
            .contains("draws: expected at least 1")
    );
}
