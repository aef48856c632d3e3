//! Hostile command lines: options with invalid values.

use crate::mutate::Random;
use crate::networks;
use crate::runner::{Case, OUT};

const MODEL: &str = "m.safetensors";

const VALUES: [&str; 26] = [
    "0",
    "1",
    "-1",
    "-0",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1e-400",
    "1e38",
    "1e-46",
    "0.5",
    "1.5",
    "2",
    "99999999999999999999",
    "18446744073709551615",
    "9223372036854775807",
    "4294967295",
    "x",
    "",
    "  ",
    "1,2",
    "é",
    "0x10",
    "taylor",
    "/dev/null",
];

/// Values that cause only little work if they are accepted.
const SHORT: [&str; 14] = [
    "0",
    "1",
    "-1",
    "nan",
    "inf",
    "1e400",
    "0.5",
    "99999999999999999999",
    "18446744073709551615",
    "9223372036854775807",
    "x",
    "",
    "é",
    "2",
];

/// A command, the options that get invalid values, and those of them that can take long.
struct Template {
    fixed: &'static [&'static str],
    options: &'static [&'static str],
    slow: &'static [&'static str],
}

const TEMPLATES: [Template; 15] = [
    Template {
        fixed: &[
            "train",
            "--arch",
            "vgg8_bn",
            "--width",
            "0.25",
            "--data",
            "fashion-mnist",
            "--limit",
            "1",
            "--batch",
            "4",
            "--epochs",
            "1",
            "--out",
            OUT,
        ],
        options: &[
            "learning-rate",
            "rates",
            "freeze",
            "weight-decay",
            "label-smoothing",
            "clip-norm",
            "class-weights",
            "accumulate",
            "ema",
            "monitor",
            "patience",
            "history",
            "optimizer",
            "schedule",
            "head",
            "seed",
            "threads",
            "batch",
            "limit",
            "label-noise",
            "device",
            "precision",
            "arch",
            "epochs",
            "size",
            "width",
        ],
        slow: &["epochs", "size", "width", "arch"],
    },
    Template {
        fixed: &["bench", "resnet8", "--seconds", "0", "--size", "32"],
        options: &["batch", "size", "threads", "linear-weights", "device", "precision", "seed"],
        slow: &["size"],
    },
    Template {
        fixed: &["bench", "resnet8", "--seconds", "0", "--size", "32", "--training"],
        options: &["batch", "size", "threads"],
        slow: &["size"],
    },
    Template {
        fixed: &[
            "sparsify",
            MODEL,
            "--sparsity",
            "0.5",
            "--epochs",
            "0",
            "--data",
            "fashion-mnist",
            "--limit",
            "1",
            "--batch",
            "4",
            "--out",
            OUT,
        ],
        options: &[
            "sparsity",
            "granularity",
            "context",
            "criterion",
            "growth",
            "schedule",
            "start",
            "end",
            "every",
            "include",
            "exclude",
            "epochs",
            "seed",
        ],
        slow: &["epochs"],
    },
    Template {
        fixed: &["prune", MODEL, "--criterion", "large_final", "--fraction", "0.5", "--out", OUT],
        options: &[
            "criterion",
            "fraction",
            "width",
            "widths",
            "growth",
            "every",
            "context",
            "constants",
            "include",
            "exclude",
            "plan",
            "save-plan",
            "epochs",
            "limit",
        ],
        slow: &["epochs"],
    },
    Template {
        fixed: &[
            "slim",
            MODEL,
            "--epochs",
            "1",
            "--data",
            "fashion-mnist",
            "--limit",
            "1",
            "--batch",
            "4",
            "--out",
            OUT,
        ],
        options: &["l1", "include", "exclude", "learning-rate", "optimizer"],
        slow: &[],
    },
    Template {
        fixed: &["factorize", MODEL, "--fraction", "0.5", "--out", OUT],
        options: &["fraction", "include", "exclude", "epochs", "seed"],
        slow: &["epochs"],
    },
    Template {
        fixed: &[
            "distill",
            MODEL,
            "--teacher",
            MODEL,
            "--data",
            "fashion-mnist",
            "--limit",
            "1",
            "--batch",
            "4",
            "--epochs",
            "1",
            "--out",
            OUT,
        ],
        options: &["teacher", "weight", "temperature", "loss", "hint", "epochs", "learning-rate"],
        slow: &["epochs"],
    },
    Template { fixed: &["summary", "resnet18"], options: &["size", "classes", "threads", "seed"], slow: &[] },
    Template { fixed: &["diff", MODEL, MODEL], options: &["tolerance", "size", "threads"], slow: &["size"] },
    Template {
        fixed: &["eval", MODEL, "--data", "fashion-mnist", "--limit", "1"],
        options: &["size", "batch", "limit", "data", "linear-weights", "tta", "top-losses", "confusion"],
        slow: &["size", "tta"],
    },
    Template {
        fixed: &["eval", MODEL, "--data", "fashion-mnist", "--limit", "1", "--metrics", "--tta", "1"],
        options: &["tta-beta", "tta-curve", "predictions", "seed"],
        slow: &[],
    },
    Template { fixed: &["predict", MODEL, "/dev/null"], options: &["top", "size"], slow: &[] },
    Template {
        fixed: &["lr-find", "--model", MODEL, "--data", "fashion-mnist", "--limit", "1", "--batch", "4"],
        options: &["first", "last", "steps", "weight-decay", "label-smoothing", "optimizer", "curve"],
        slow: &["steps"],
    },
    Template {
        fixed: &["import", MODEL, "--arch", "resnet8", "--classes", "10", "--size", "32", "--out", OUT],
        options: &["classes", "size", "arch", "out"],
        slow: &["size"],
    },
];

/// Returns a command with one option set to a random value.
pub fn case(random: &mut Random) -> Case {
    let template = &TEMPLATES[random.below(TEMPLATES.len())];
    let option = template.options[random.below(template.options.len())];
    let values = if template.slow.contains(&option) { &SHORT[..] } else { &VALUES[..] };
    let value = values[random.below(values.len())];
    let given = format!("--{option}");
    let mut args: Vec<String> = template.fixed.iter().map(|arg| arg.to_string()).collect();
    if let Some(at) = args.iter().position(|arg| *arg == given) {
        args.drain(at..at + 2);
    }
    args.push(format!("{given}={value}"));
    Case::new(format!("option {given}={value}"), &args).with(MODEL, networks::fashion().bytes())
}
