//! No command overwrites a file unless asked: every option that names an output, of every command.

use crate::support::command::{image_folder, lopper, model, text};
use std::fs;
use std::path::Path;

const PRECIOUS: &str = "precious";

/// The command lines that write files, each with the option, the file or directory that it names, and a file that is
/// written there. `M` stands for a model, `D` for images, `W` for weights with torchvision's names, `R` for a recipe, `P` for the report of its run.
const OUTPUTS: [(&str, &str, &str, &str); 49] = [
    ("train --arch vgg8_bn --data D --size 32 --epochs 1", "--out", "x.safetensors", ""),
    ("train --model M --data D --epochs 1 --out new.safetensors", "--history", "x.csv", ""),
    ("train --model M --data D --epochs 1 --out new.safetensors", "--history", "y.csv", "y.sparsity.csv"),
    ("distill M --teacher M --data D --epochs 1", "--out", "x.safetensors", ""),
    ("distill M --teacher M --data D --epochs 1 --out new.safetensors", "--history", "x.csv", ""),
    ("sparsify M --sparsity 0.5 --epochs 0", "--out", "x.safetensors", ""),
    ("sparsify M --sparsity 0.5 --data D --epochs 1 --out new.safetensors", "--history", "x.csv", ""),
    ("slim M --l1 1e-4 --data D --epochs 1", "--out", "x.safetensors", ""),
    ("slim M --l1 1e-4 --data D --epochs 1 --out new.safetensors", "--history", "x.csv", ""),
    ("sparse-train M --sparsity 0.5 --data D --epochs 1", "--out", "x.safetensors", ""),
    ("sparse-train M --sparsity 0.5 --data D --epochs 1 --out new.safetensors", "--history", "x.csv", ""),
    ("lottery M --rewind M", "--out", "x.safetensors", ""),
    ("lottery M --rewind M --data D --epochs 1 --out new.safetensors", "--history", "x.csv", ""),
    ("regularize M --penalty l1 --weight 1e-4 --data D --epochs 1", "--out", "x.safetensors", ""),
    (
        "regularize M --penalty l1 --weight 1e-4 --data D --epochs 1 --out new.safetensors",
        "--history",
        "x.csv",
        "",
    ),
    ("prune M", "--out", "x.safetensors", ""),
    ("prune M --criterion l1 --fraction 0.5 --data D --out new.safetensors", "--explain", "x.csv", ""),
    (
        "prune M --criterion l1 --fraction 0.5 --data D --out new.safetensors",
        "--explain",
        "x.csv",
        "x.plan.toml",
    ),
    ("prune M --out new.safetensors", "--save-plan", "x.toml", ""),
    ("prune M --criterion l1 --fraction 0.5 --out new.safetensors", "--save-scores", "x.json", ""),
    ("summary M", "--dot", "x.dot", ""),
    ("prune M --data D --epochs 1 --out new.safetensors", "--history", "x.csv", ""),
    ("fold M", "--out", "x.safetensors", ""),
    ("factorize M --fraction 0.5", "--out", "x.safetensors", ""),
    ("factorize M --fraction 0.5 --data D --epochs 1 --out new.safetensors", "--history", "x.csv", ""),
    ("share M --bits 4", "--out", "x.safetensors", ""),
    ("share M --bits 4 --data D --epochs 1 --out new.safetensors", "--history", "x.csv", ""),
    ("compact M", "--out", "x.safetensors", ""),
    ("export M", "--out", "x.safetensors", ""),
    ("export M", "--out", "x.pth", ""),
    ("export M", "--out", "x.onnx", ""),
    ("export M --external-data", "--out", "x.onnx", "x.onnx.data"),
    ("export M", "--out", "x.py", "x.weights.safetensors"),
    ("convert M", "--", "x.onnx", ""),
    ("convert M --external-data", "--", "x.onnx", "x.onnx.data"),
    ("import W --arch M", "--out", "x.safetensors", ""),
    ("eval M --data D", "--confusion", "x.csv", ""),
    ("eval M --data D", "--predictions", "x.csv", ""),
    ("eval M --data D --tta 1", "--tta-curve", "x.csv", ""),
    ("lr-find --model M --data D --steps 20", "--curve", "x.svg", ""),
    ("atlas --layer 16x16@8:3 --batch 1 --sparsity 0 --seconds 0", "--out", "x", "atlas.csv"),
    ("sensitivity M --data D", "--out", "x", "sensitivity.csv"),
    ("sensitivity M --data D --out new.safetensors", "--write-plan", "x.toml", ""),
    ("synthesize M --count 2 --steps 1", "--out", "x", "synthesis.json"),
    ("schedule cosine", "--plot", "x.svg", ""),
    ("run R", "--out", "x", "report.md"),
    ("replay P", "--out", "x", "report.md"),
    ("demo --quick", "--out", "x", "1-teacher.safetensors"),
    ("selftest", "--out", "x.md", ""),
];

/// Replaces the placeholders of a command line.
fn arguments(command: &str, dir: &Path, data: &Path) -> Vec<String> {
    let word = |word: &str| match word {
        "M" => dir.join("model.safetensors").display().to_string(),
        "W" => dir.join("weights.safetensors").display().to_string(),
        "R" => dir.join("recipe.toml").display().to_string(),
        "P" => dir.join("run/report.json").display().to_string(),
        "D" => data.display().to_string(),
        "new.safetensors" => dir.join("new.safetensors").display().to_string(),
        other => other.to_string(),
    };
    command.split_whitespace().map(word).collect()
}

#[test]
fn an_existing_file_is_refused_without_force() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let start = model(dir.path(), data.path());
    let recipe = "[data]\nname = \"fashion-mnist\"\nlimit = 2\n[[stage]]\nname = \"a\"\narch = \"vgg8_bn\"\n";
    let file = dir.path().join("recipe.toml");
    fs::write(&file, recipe).unwrap();
    lopper(&["run", text(&file), "--out", text(&dir.path().join("run"))]).succeeded();
    lopper(&["export", text(&start), "--out", text(&dir.path().join("weights.safetensors"))]).succeeded();
    for (command, option, name, file) in OUTPUTS {
        let what = format!("lopper {command} {option} {name}");
        let place = tempfile::tempdir().unwrap();
        let given = place.path().join(name);
        let existing = match file {
            "" => given.clone(),
            // Beside the file that is named, or in the directory.
            file if name.contains('.') => place.path().join(file),
            file => given.join(file),
        };
        fs::create_dir_all(existing.parent().unwrap()).unwrap();
        fs::write(&existing, PRECIOUS).unwrap();
        let arguments = arguments(command, dir.path(), data.path());
        let line: Vec<&str> =
            arguments.iter().map(String::as_str).chain([option, given.to_str().unwrap()]).collect();
        let run = lopper(&line);
        assert_eq!(run.status, Some(1), "{what}: {}", run.err);
        assert!(run.err.contains(existing.file_name().unwrap().to_str().unwrap()), "{what}: {}", run.err);
        assert!(run.err.contains("--force"), "{what}: {}", run.err);
        assert!(!run.err.contains("training loss"), "{what} works before it refuses: {}", run.err);
        assert_eq!(fs::read_to_string(&existing).unwrap(), PRECIOUS, "{what}");
        assert!(!dir.path().join("new.safetensors").exists(), "{what}");
    }
}

/// The options of `lopper COMMAND` whose help says that they name a file or directory to write.
fn outputs(command: &str) -> Vec<String> {
    let help = lopper(&[command, "--help"]).succeeded().out;
    // Each option begins with a line such as `      --out <OUT>`; its text is indented further.
    let mut options: Vec<(&str, String)> = Vec::new();
    for line in help.lines() {
        match (line.trim_start().split_once("--"), options.last_mut()) {
            (Some((before, _)), _) if before.is_empty() || before.starts_with('-') => {
                options.push((line.trim(), String::new()));
            }
            (_, Some((_, text))) => *text += &format!("{} ", line.trim().to_lowercase()),
            _ => {}
        }
    }
    let writes = |text: &str| {
        ["to write", "write ", "file for the report", "directory for"]
            .iter()
            .any(|words| text.contains(words))
    };
    let named = options.into_iter().filter(|(option, text)| option.contains('<') && writes(text));
    named
        .map(|(option, _)| option.split(' ').find(|word| word.starts_with("--")).unwrap().to_string())
        .collect()
}

#[test]
fn every_option_that_names_an_output_is_checked_above() {
    let help = lopper(&["--help"]).succeeded().out;
    let list = help.split("Commands:").nth(1).unwrap().lines().skip(1).take_while(|line| !line.is_empty());
    // A long description goes on in a line that is indented further.
    let commands =
        list.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let mut checked = 0;
    for command in commands.filter(|name| *name != "help") {
        for option in outputs(command) {
            let listed = OUTPUTS
                .iter()
                .any(|(line, name, ..)| *name == option && line.split(' ').next() == Some(command));
            assert!(listed, "lopper {command} {option} writes a file: list it in OUTPUTS");
            checked += 1;
        }
    }
    assert!(checked >= 20, "only {checked} options found");
}
