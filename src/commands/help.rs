//! Examples in the help texts.

use clap::Command;

/// For each command, lines to type.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("demo", &["lopper demo", "lopper demo --quick --out /tmp/trial"]),
    (
        "run",
        &[
            "lopper run small-net --data imagenette2-160 --out runs/small-net",
            "lopper run recipe.toml --data images --quick --out /tmp/trial",
            "lopper run recipe.toml --data images --out runs/mine --resume",
        ],
    ),
    ("report", &["lopper report runs/mine --data images"]),
    ("replay", &["lopper replay runs/mine/report.json --data images --out /tmp/again"]),
    ("recipes", &["lopper recipes", "lopper recipes small-net > recipe.toml"]),
    ("list", &["lopper list criteria", "lopper list --json"]),
    (
        "schedule",
        &[
            "lopper schedule cosine iterative:4 --sparsity 0.8 --plot schedules.svg",
            "lopper schedule one-cycle --learning-rate 1e-3 --epochs 20",
        ],
    ),
    (
        "train",
        &[
            "lopper train --arch vgg8_bn --data fashion-mnist --epochs 5 --out base.safetensors",
            "lopper train --model base.safetensors --data images --save-best --patience 3 --out best.safetensors",
        ],
    ),
    (
        "lr-find",
        &[
            "lopper lr-find --arch resnet18 --data images --curve rates.svg",
            "lopper lr-find --model base.safetensors --data images --optimizer sgd",
        ],
    ),
    (
        "distill",
        &[
            "lopper distill small.safetensors --teacher large.safetensors --data images --out taught.safetensors",
            "lopper distill s.safetensors --teacher l.safetensors --loss dkd --features attention=100 --data D --out t.safetensors",
        ],
    ),
    (
        "synthesize",
        &[
            "lopper synthesize teacher.safetensors --count 2000 --out images",
            "lopper synthesize teacher.safetensors --count 2000 --out images --resume",
        ],
    ),
    (
        "sparsify",
        &[
            "lopper sparsify base.safetensors --sparsity 0.5 --data images --out sparse.safetensors",
            "lopper sparsify base.safetensors --granularity 2:4 --criterion l1 --epochs 0 --out sparse.safetensors",
            "lopper sparsify base.safetensors --target-latency 0.5x --data images --out fast.safetensors",
        ],
    ),
    ("slim", &["lopper slim base.safetensors --data images --epochs 10 --out slim.safetensors"]),
    (
        "sparse-train",
        &[
            "lopper sparse-train new.safetensors --sparsity 0.9 --data images --epochs 50 --out sparse.safetensors",
            "lopper sparse-train new.safetensors --sparsity 0.9 --method top_kast --data D --out sparse.safetensors",
        ],
    ),
    (
        "lottery",
        &[
            "lopper lottery trained.safetensors --rewind new.safetensors --fraction 0.5 --out ticket.safetensors",
        ],
    ),
    (
        "regularize",
        &[
            "lopper regularize base.safetensors --penalty group_norm --weight 1e-4 --data images --out r.safetensors",
        ],
    ),
    (
        "prune",
        &[
            "lopper prune sparse.safetensors --out pruned.safetensors",
            "lopper prune base.safetensors --plan plan.toml --data images --explain cuts.csv --out p.safetensors",
            "lopper prune base.safetensors --criterion taylor --fraction 0.5 --data images --epochs 3 --out p.safetensors",
            "lopper prune base.safetensors --target-latency 0.5x --data images --steps 3 --epochs 9 --out fast.safetensors",
            "lopper prune base.safetensors --target-macs 40M --round-to 16 --out small.safetensors",
            "lopper prune base.safetensors --plan front/plans/large_final-50.toml --out fast.safetensors",
            "lopper prune base.safetensors --criterion l1 --fraction 0.5 --interactive --out p.safetensors",
        ],
    ),
    (
        "explore",
        &[
            "lopper explore base.safetensors --data images --budget 30m --out front",
            "lopper explore base.safetensors --data images --criteria taylor --shares 0.5,0.25 --by macs --out front",
        ],
    ),
    ("fold", &["lopper fold pruned.safetensors --out folded.safetensors"]),
    (
        "factorize",
        &[
            "lopper factorize folded.safetensors --fraction 0.5 --data images --epochs 3 --out small.safetensors",
            "lopper factorize resnet.safetensors --target-macs 0.5x --data images --epochs 3 --out half.safetensors",
        ],
    ),
    (
        "share",
        &["lopper share pruned.safetensors --bits 5 --data images --epochs 1 --out shared.safetensors"],
    ),
    ("compact", &["lopper compact sparse.safetensors --out compact.safetensors"]),
    (
        "eval",
        &[
            "lopper eval small.safetensors --data images --metrics --confusion matrix.svg",
            "lopper eval small.safetensors --data images --split test --tta 10",
        ],
    ),
    ("predict", &["lopper predict small.safetensors photo.jpg other.png --top 3 --json"]),
    (
        "summary",
        &[
            "lopper summary resnet18 --size 224 --classes 1000",
            "lopper summary small.safetensors --groups --dot small.dot",
        ],
    ),
    (
        "bench",
        &[
            "lopper bench small.safetensors --batch 16 --layers",
            "lopper bench base.safetensors --beside pruned.safetensors small.safetensors",
            "lopper bench resnet18 --size 64 --stages 0.9",
            "lopper bench resnet18 --training --batch 32 --layers",
        ],
    ),
    (
        "atlas",
        &[
            "lopper atlas resnet18 --budget 10m --out atlas",
            "lopper atlas --layer 128x128@16:3 --batch 1,8",
            "lopper atlas vgg16 --out atlas --resume",
        ],
    ),
    (
        "sensitivity",
        &[
            "lopper sensitivity base.safetensors --data images --out prices --write-plan plan.toml",
            "lopper sensitivity base.safetensors --data images --ways prune,block:4 --fractions 0.25,0.5 --interval 3% --out p",
        ],
    ),
    ("diff", &["lopper diff sparse.safetensors pruned.safetensors --data images"]),
    ("selftest", &["lopper selftest --device cuda --out selftest.md"]),
    (
        "export",
        &[
            "lopper export small.safetensors --out small.onnx",
            "lopper export small.safetensors --out small.onnx --opset 13 --batch 1 --bytes",
            "lopper export large.safetensors --out large.onnx --external-data",
            "lopper export small.safetensors --out small.py",
            "lopper export small.safetensors --out weights.safetensors",
            "lopper export small.safetensors --out weights.pth",
        ],
    ),
    (
        "import",
        &[
            "lopper import weights.safetensors --arch resnet18 --classes 1000 --out resnet18.safetensors",
            "lopper import network.onnx --class-names cat,dog --out network.safetensors",
        ],
    ),
    (
        "convert",
        &[
            "lopper convert network.onnx network.safetensors",
            "lopper convert resnet18-f37072fd.pth resnet18.onnx --arch resnet18",
        ],
    ),
    (
        "completions",
        &[
            "lopper completions bash > ~/.local/share/bash-completion/completions/lopper",
            "lopper completions zsh > ~/.zfunc/_lopper",
            "lopper completions fish > ~/.config/fish/completions/lopper.fish",
        ],
    ),
];

/// The end of the general help.
const START: &str = "Start with:\n  lopper demo                 the whole walkthrough on built-in images\n  \
                     lopper COMMAND --help       its options, with examples";

/// Adds the examples to `command` and its subcommands.
pub fn with_examples(command: Command) -> Command {
    let example = |name: &str| EXAMPLES.iter().find(|(command, _)| *command == name);
    command.after_help(START).mut_subcommands(|command| match example(command.get_name()) {
        Some((_, [line])) => command.after_help(format!("Example:\n  {line}")),
        Some((_, lines)) => command.after_help(format!("Examples:\n  {}", lines.join("\n  "))),
        None => command,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use super::*;
    use clap::CommandFactory;

    /// Options with values that may be left out without a default taking their place.
    const WITHOUT_DEFAULT: &[&str] = &[
        "include",
        "exclude",
        "data",
        "model",
        "arch",
        "history",
        "curve",
        "confusion",
        "predictions",
        "tta",
        "tta-curve",
        "criterion",
        "plot",
        "write-plan",
        "explain",
        "fraction",
        "energy",
        "error",
        "sparsity",
        "plan",
        "save-plan",
        "ema",
        "patience",
        "layer",
        "ways",
        "only",
        "budget",
        "out",
        "beside",
        "stages",
        "label-noise",
        "train-list",
        "val-list",
        "class-pattern",
        "labels",
        "augment",
        "rates",
        "freeze",
        "unfreeze",
        "val-track",
        "width",
        "widths",
        "growth",
        "target-latency",
        "target-macs",
        "target-params",
        "target-bytes",
        "steps",
    ];

    fn cli() -> Command {
        let mut command = with_examples(Cli::command());
        command.build();
        command
    }

    #[test]
    fn every_command_has_examples_that_parse() {
        for command in cli().get_subcommands().filter(|command| command.get_name() != "help") {
            let name = command.get_name();
            let (_, lines) = EXAMPLES
                .iter()
                .find(|(of, _)| *of == name)
                .unwrap_or_else(|| panic!("lopper {name} has no example"));
            for line in *lines {
                let words = line.split(" > ").next().unwrap().split_whitespace();
                let parsed = cli().try_get_matches_from(words);
                let found = parsed.unwrap_or_else(|e| panic!("{line}: {e}"));
                assert_eq!(found.subcommand_name(), Some(name), "{line}");
            }
        }
    }

    #[test]
    fn every_option_has_a_text_and_its_default() {
        let mut checked = 0;
        for command in cli().get_subcommands() {
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let what = format!("lopper {} {}", command.get_name(), arg.get_id());
                let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string);
                let help = help.filter(|text| text.len() > 5).unwrap_or_else(|| panic!("{what}: no text"));
                let flag = !arg.get_action().takes_values();
                let known = arg.is_required_set() || arg.is_positional() || flag;
                let default = !arg.get_default_values().is_empty() || help.contains("[default: ");
                let without = arg.get_long().is_some_and(|long| WITHOUT_DEFAULT.contains(&long));
                assert!(known || default || without, "{what}: no default in: {help}");
                checked += 1;
            }
        }
        assert!(checked > 200, "{checked}");
    }

    #[test]
    fn help_fits_100_columns_and_groups_common_options() {
        for command in cli().get_subcommands_mut() {
            for help in [command.render_help(), command.render_long_help()] {
                let (help, name) = (help.to_string(), command.get_name().to_string());
                for line in help.lines() {
                    assert!(line.chars().count() <= 100, "lopper {name}: {line}");
                }
                if name != "help" {
                    let common = help.split("Options of every command:").nth(1);
                    assert!(common.is_some_and(|common| common.contains("--max-memory")), "{help}");
                    assert!(help.contains("Example"), "{help}");
                    let before = help.split("Options of every command:").next().unwrap();
                    assert!(!before.contains("--max-memory"), "{help}");
                }
            }
        }
    }

    #[test]
    fn options_of_images_and_training_have_headings_of_their_own() {
        let command = cli();
        let heading = |name: &str, option: &str| {
            let command = command.find_subcommand(name).unwrap();
            let arg = command.get_arguments().find(|arg| arg.get_long() == Some(option));
            arg.unwrap_or_else(|| panic!("{name} {option}")).get_help_heading().map(str::to_string)
        };
        for (name, option, expected) in [
            ("train", "arch", None),
            ("train", "learning-rate", Some("Training")),
            ("train", "resume", Some("Checkpoints")),
            ("train", "out", Some("Output")),
            ("train", "augment", Some("Images")),
            ("run", "resume", Some("Checkpoints")),
            ("eval", "metrics", None),
            ("eval", "predictions", None),
            ("diff", "tolerance", None),
            ("diff", "data", Some("Images")),
            ("prune", "save-plan", None),
            ("bench", "layers", None),
        ] {
            assert_eq!(heading(name, option).as_deref(), expected, "lopper {name} --{option}");
        }
    }
}
