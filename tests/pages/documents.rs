//! The pages name only files that exist.

use lopper::engine::train::Schedule;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

const PAGES: [&str; 29] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "BENCHMARKS.md",
    "docs/json.md",
    "docs/c.md",
    "docs/criteria.md",
    "docs/distillation.md",
    "docs/export.md",
    "docs/factorize.md",
    "docs/features.md",
    "docs/images.md",
    "docs/import.md",
    "docs/library.md",
    "docs/networks.md",
    "docs/onnx-cases.md",
    "docs/pruning.md",
    "docs/python.md",
    "docs/recipes.md",
    "docs/sparse-vs-pruned.md",
    "docs/training-sparse.md",
    "docs/training.md",
    "docs/tutorial/readme.md",
    "docs/tutorial/small-net.md",
    "docs/tutorial/studentnet.md",
    "docs/tutorial/study.md",
    "docs/tutorial/traffic-signs.md",
    "docs/tutorial/vgg16.md",
];

/// Extensions of source files. A page may also name model files and the like, which a user would have.
const SOURCES: [&str; 7] = [".rs", ".cu", ".cuh", ".h", ".cpp", ".py", ".sh"];

/// Every file of the repository outside build folders, with `/` before its path.
fn files(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        match path.is_dir() {
            true if ["target", ".git"].contains(&name) => {}
            true => files(&path, found),
            false => found.push(format!("/{}", path.display())),
        }
    }
}

/// The words of `text` in backticks that look like a source file.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split('`').skip(1).step_by(2).flat_map(str::split_whitespace);
    let placeholder = |word: &str| {
        word.starts_with('.') || word.contains(|c: char| "*{$<".contains(c)) || word.contains("NAME")
    };
    code.filter(move |word| SOURCES.iter().any(|end| word.ends_with(end)) && !placeholder(word))
}

#[test]
fn every_source_file_that_a_page_names_exists() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    files(&root, &mut all);
    let mut checked = 0;
    for page in PAGES {
        let text = fs::read_to_string(root.join(page)).unwrap();
        for word in named(&text) {
            checked += 1;
            let end = format!("/{word}");
            assert!(
                all.iter().any(|file| file.ends_with(&end)),
                "{page} names `{word}`, which does not exist"
            );
        }
    }
    assert!(checked > 50, "only {checked} names found");
}

/// The words of `text` that start with `--`.
fn options(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words.filter(|word| word.starts_with("--") && word.chars().any(char::is_alphanumeric))
}

#[test]
fn the_options_and_keys_of_the_training_page_exist() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/training.md")).unwrap();
    let help = |command: &str| {
        let mut lopper = std::process::Command::new(env!("CARGO_BIN_EXE_lopper"));
        String::from_utf8(lopper.args([command, "--help"]).output().unwrap().stdout).unwrap()
    };
    let known: String = ["train", "eval", "predict", "lr-find", "summary", "import"].map(help).concat();
    let known: Vec<&str> = options(&known).collect();
    for option in options(&page) {
        assert!(known.contains(&option), "docs/training.md names {option}");
    }
    // Each key of the first table, and each schedule of the second, with its defaults.
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|c| c.trim().to_string()).collect::<Vec<_>>();
    let rows = |after: &str| {
        let table =
            page.split(after).nth(1).unwrap().split("\n\n").find(|part| part.starts_with("| ")).unwrap();
        table.lines().skip(2).map(cells).collect::<Vec<_>>()
    };
    for row in rows("# Training and evaluating") {
        let key = row[0].trim_matches('`');
        let value = match key {
            "class_weights" => "\"balanced\"",
            "monitor" => "\"loss\", save_best = true",
            "save_best" => "true",
            "early_stopping" => "{ patience = 2 }",
            "schedule" => "{ name = \"cosine\" }",
            "optimizer" => "{ name = \"sgd\" }",
            "accumulate" | "draws" => "2",
            "rates" => "{ body = [1e-5, 1e-4], head = 1e-3 }",
            "freeze" => "\"body\"",
            "unfreeze" => "[{ layers = \"body\", share = 0.5 }], freeze = [\"body\"]",
            _ => "0.5",
        };
        let rate = if ["learning_rate", "rates"].contains(&key) { "" } else { "learning_rate = 0.1," };
        let train = format!("train = {{ epochs = 1, {rate} {key} = {value} }}");
        let recipe = format!(
            "data = {{ name = \"fashion-mnist\" }}\n[[stage]]\nname = \"a\"\narch = \"vgg8_bn\"\n{train}"
        );
        lopper::recipe::Recipe::parse(&recipe).unwrap_or_else(|e| panic!("{key}: {e}"));
    }
    for row in rows("## Schedules") {
        let keys = row[1].replace('`', "");
        let (name, keys) = (row[0].trim_matches('`'), keys.replace("points, ", "points = [[0.5, 1.0]], "));
        let comma = if keys.is_empty() { "" } else { "," };
        let table = format!("schedule = {{ name = \"{name}\"{comma} {keys} }}");
        let table: HashMap<String, Schedule> =
            toml::from_str(&table).unwrap_or_else(|e| panic!("{name}: {e}"));
        table["schedule"].check().unwrap();
    }
}

/// The stages, options and names of the pages on distillation and sparse training.
#[test]
fn the_pages_of_training_methods_are_valid() {
    use lopper::listing::Family;
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let help = |command: &str| {
        let mut lopper = std::process::Command::new(env!("CARGO_BIN_EXE_lopper"));
        String::from_utf8(lopper.args([command, "--help"]).output().unwrap().stdout).unwrap()
    };
    let known = ["distill", "synthesize", "sparse-train", "regularize", "lottery"].map(help).concat();
    let first = "data = { name = \"fashion-mnist\" }\n[[stage]]\nname = \"first\"\narch = \"vgg8_bn\"\n";
    let mut pages = String::new();
    for page in ["docs/distillation.md", "docs/training-sparse.md"] {
        let page = fs::read_to_string(root.join(page)).unwrap();
        let mut recipe = first.to_string();
        for block in page.split("```toml\n").skip(1) {
            recipe += block.split("```").next().unwrap();
            lopper::recipe::Recipe::parse(&recipe).unwrap_or_else(|e| panic!("{e}"));
        }
        for option in options(&page) {
            assert!(options(&known).any(|known| known == option), "a page names {option}");
        }
        pages += &page;
    }
    // What the program lists, the pages explain.
    for entry in [Family::Losses, Family::Techniques].into_iter().flat_map(Family::entries) {
        let explained = entry.of.is_some_and(|of| !of.starts_with("train"));
        assert!(!explained || pages.contains(&format!("| `{}` |", entry.name)), "{}", entry.name);
    }
    for (name, _) in lopper::compress::sparsify::SparsitySchedule::all() {
        let name = name.split(':').next().unwrap();
        assert!(pages.contains(&format!("| `{name}")), "{name}");
    }
    // Every schedule is read as its recipe's column spells it.
    let table = pages.split("| recipe | command line |").nth(1).unwrap();
    for row in table.lines().skip(2).take_while(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let recipe = format!("sparsity = 0.5\nschedule = {}", cells[1]);
        let config: lopper::compress::SparsifyConfig = toml::from_str(&recipe).unwrap();
        assert_eq!(config.schedule, cells[2].parse().unwrap(), "{row}");
        config.schedule.check().unwrap();
    }
}

#[test]
fn the_stages_of_the_pruning_page_are_valid() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pruning.md")).unwrap();
    let first = "data = { name = \"fashion-mnist\" }\n[[stage]]\nname = \"first\"\narch = \"vgg8_bn\"\n";
    // Stages refer to stages of earlier blocks.
    let mut recipe = first.to_string();
    for block in page.split("```toml\n").skip(1) {
        recipe += block.split("```").next().unwrap();
        lopper::recipe::Recipe::parse(&recipe).unwrap_or_else(|e| panic!("{e}"));
    }
    let rounds = lopper::recipe::Recipe::parse(&recipe).unwrap().stages;
    assert!(rounds.iter().any(|stage| stage.name == "rounds-5") && rounds.len() > 15, "{}", rounds.len());
    let help = |command: &str| {
        let mut lopper = std::process::Command::new(env!("CARGO_BIN_EXE_lopper"));
        String::from_utf8(lopper.args([command, "--help"]).output().unwrap().stdout).unwrap()
    };
    let known = ["prune", "slim", "explore", "sparsify", "factorize", "summary"].map(help).concat();
    // The option of cargo that names a benchmark is not lopper's.
    for option in options(&page.replace("cargo bench --bench", "").replace("`--cuts`", "")) {
        assert!(options(&known).any(|known| known == option), "docs/pruning.md names {option}");
    }
}
