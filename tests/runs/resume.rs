//! A run that is killed any number of times, anywhere, and resumed ends with the bits of an uninterrupted run.
#![cfg(unix)]

use crate::support::child::{end, signal, start, wait_until, writes};
use crate::support::command::{image_folder, lopper, names, shell, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A small deterministic generator (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

const DATA: [&str; 6] = ["--data", "fashion-mnist", "--limit", "2", "--batch", "5"];

/// Trains a network for one epoch, in `dir`.
fn network(dir: &Path, name: &str, seed: &str) -> PathBuf {
    let path = dir.join(name);
    let build = ["train", "--arch", "vgg8_bn", "--width", "0.1", "--epochs", "1", "--seed", seed];
    lopper(&[&build[..], &DATA, &["--out", text(&path)]].concat()).succeeded();
    path
}

/// Recipe with a teacher, distillation, pruning with fine-tuning, and folding.
const RECIPE: &str = r#"
seed = 3
[data]
name = "fashion-mnist"
limit = 2
batch = 5
[[stage]]
name = "teacher"
arch = "vgg8_bn"
width = 0.1
train = { epochs = 2, learning_rate = 1e-3, accumulate = 2, ema = 0.9, save_best = true, early_stopping = { patience = 3 } }
[[stage]]
name = "taught"
arch = "vgg8_bn"
width = 0.1
teacher = "teacher"
distill = {}
sparsify = { sparsity = 0.5, criterion = "taylor" }
train = { epochs = 2, learning_rate = 1e-3 }
[[stage]]
name = "narrow"
repeat = 2
prune = { criterion = "large_final", width = 0.9, schedule = "linear", every = 1 }
train = { epochs = 1, learning_rate = 1e-3 }
[[stage]]
name = "pruned"
prune = {}
[stage.train]
epochs = 1
learning_rate = 1e-3
clip_norm = 1.0
optimizer = { name = "sgd", momentum = 0.9 }
[[stage.train.groups]]
params = "classifier.*"
lr_factor = 0.5
[[stage]]
name = "folded"
fold = {}
"#;

/// Runs `args` once without interruption, and once with `--resume` and interruptions until it is done, in separate
/// directories; `{}` in an argument stands for the directory. Both must produce the same models. Returns the number of
/// interruptions, and how many of them were in the middle of a write.
fn ends_alike(args: &[&str], random: &mut Random) -> [usize; 2] {
    let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let inside = |dir: &Path, more: &[&str]| -> Vec<String> {
        args.iter().chain(more).map(|arg| arg.replace("{}", text(dir))).collect()
    };
    let begin = Instant::now();
    let once = inside(whole.path(), &[]);
    lopper(&once.iter().map(String::as_str).collect::<Vec<_>>()).succeeded();
    let takes = begin.elapsed();
    let again = inside(broken.path(), &["--resume", "--checkpoint-every", "0"]);
    let again: Vec<&str> = again.iter().map(String::as_str).collect();
    let mut interruptions = [0, 0];
    // The first attempt is always killed at the first file that it writes.
    let mut first = Some((Duration::ZERO, 0));
    loop {
        let later = (takes.mul_f64(random.below(1000) as f64 / 800.0), random.below(4));
        let (after, way) = first.take().unwrap_or(later);
        if interrupted(&again, broken.path(), after, way) {
            break;
        }
        interruptions[0] += 1;
        interruptions[1] += usize::from(writes(broken.path()));
        assert!(interruptions[0] < 100, "{args:?} makes no progress");
    }
    // The next run has removed the leftovers of every run that was killed while writing.
    assert_eq!(names(broken.path()), names(whole.path()));
    for name in names(whole.path()).iter().filter(|name| name.ends_with(".safetensors")) {
        let [a, b] = [&whole, &broken].map(|dir| fs::read(dir.path().join(name)).unwrap());
        assert!(a == b, "{name} of {args:?} differs");
    }
    interruptions
}

/// Asserts that there were many interruptions, some of them in the middle of a write.
fn assert_many(interruptions: &[[usize; 2]]) {
    let [all, writing] = [0, 1].map(|kind| interruptions.iter().map(|counts| counts[kind]).sum::<usize>());
    println!(
        "{all} interruptions of {} runs, {writing} of them in the middle of a write",
        interruptions.len()
    );
    assert!(all >= interruptions.len() && writing > 0, "{interruptions:?}");
}

/// Runs `args` and interrupts it `after` a while by SIGKILL, during a write (way 0) or anywhere (1), SIGTERM (2) or
/// SIGINT (3). Returns whether it finished before that.
fn interrupted(args: &[&str], directory: &Path, after: Duration, way: u64) -> bool {
    let (mut child, begin) = (start(args), Instant::now());
    let asked = wait_until(&mut child, || begin.elapsed() >= after && (way != 0 || writes(directory)));
    if asked {
        signal(&child, ["KILL", "KILL", "TERM", "INT"][way as usize]);
    }
    let run = end(child);
    match run.status {
        Some(0) => true,
        // Killed after the removal of its checkpoint: the run had finished.
        Some(1) if run.err.contains("already exists") => true,
        None | Some(130 | 143) if asked => false,
        status => panic!("{args:?} ended with {status:?}: {}", run.err),
    }
}

#[test]
fn a_training_killed_anywhere_ends_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let [student, teacher] =
        [("student", "1"), ("teacher", "2")].map(|(name, seed)| network(dir.path(), name, seed));
    let (student, teacher) = (text(&student), text(&teacher));
    let commands: [&[&str]; 9] = [
        &[
            "train",
            "--arch",
            "vgg8_bn",
            "--width",
            "0.1",
            "--epochs",
            "2",
            "--ema",
            "0.9",
            "--save-best",
            "--accumulate",
            "2",
        ],
        &["distill", student, "--teacher", teacher, "--epochs", "2", "--optimizer", "sgd"],
        &["sparsify", student, "--sparsity", "0.5", "--criterion", "taylor", "--epochs", "2"],
        &["factorize", student, "--fraction", "0.5", "--epochs", "2", "--optimizer", "adam"],
        &[
            "prune",
            student,
            "--criterion",
            "taylor",
            "--fraction",
            "0.5",
            "--growth",
            "cosine",
            "--every",
            "1",
            "--epochs",
            "2",
            "--ema",
            "0.9",
        ],
        &["slim", student, "--l1", "0.01", "--epochs", "2", "--save-best"],
        &["distill", student, "--teacher", teacher, "--mutual", "--loss", "dist", "--epochs", "2"],
        &["sparse-train", student, "--sparsity", "0.8", "--every", "2", "--epochs", "2"],
        &["regularize", student, "--penalty", "growing", "--delta", "0.01", "--epochs", "2"],
    ];
    let interruptions = (0..14u64).map(|seed| {
        let command = commands[seed as usize % commands.len()];
        let number = seed.to_string();
        let rest = ["--seed", &number, "--out", "{}/model.safetensors"];
        ends_alike(&[command, &DATA, &rest].concat(), &mut Random(seed))
    });
    assert_many(&interruptions.collect::<Vec<_>>());
}

#[test]
fn a_recipe_killed_anywhere_ends_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = dir.path().join("recipe.toml");
    fs::write(&recipe, RECIPE).unwrap();
    let interruptions = (14..20u64).map(|seed| {
        let number = seed.to_string();
        ends_alike(&["run", text(&recipe), "--seed", &number, "--out", "{}"], &mut Random(seed))
    });
    assert_many(&interruptions.collect::<Vec<_>>());
}

/// Starts the training `args` into `out` and stops it after its first checkpoint.
fn stopped(args: &[&str], out: &Path) {
    let checkpoint = PathBuf::from(format!("{}.checkpoint", text(out)));
    let mut child = start(&[args, &["--checkpoint-every", "0"]].concat());
    assert!(wait_until(&mut child, || checkpoint.exists()));
    signal(&child, "INT");
    let run = end(child);
    assert_eq!(run.status, Some(130), "{}", run.err);
    assert!(run.err.contains("--resume continues") && run.err.contains("stopped by SIGINT"), "{}", run.err);
    assert!(checkpoint.exists() && !out.exists());
}

#[test]
fn only_the_same_training_is_resumed() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let out = dir.path().join("m.safetensors");
    let with = |epochs, seed, more: &[&str]| {
        let fixed = ["train", "--arch", "vgg8_bn", "--width", "0.1", "--size", "32", "--batch", "4"];
        let options = ["--data", text(data.path()), "--epochs", epochs, "--seed", seed, "--out", text(&out)];
        [&fixed[..], &options, more].concat().iter().map(|s| s.to_string()).collect::<Vec<_>>()
    };
    let run = |args: Vec<String>| lopper(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let first = with("400", "1", &[]);
    stopped(&first.iter().map(String::as_str).collect::<Vec<_>>(), &out);
    run(first).failed_naming(&["checkpoint", "--resume", "--force"]);
    run(with("2", "1", &["--resume"])).failed_naming(&["m.safetensors.checkpoint", "options of stage"]);
    run(with("400", "2", &["--resume"])).failed_naming(&["seed: 1 then, 2 now", "--resume-anyway"]);
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::env::var_os("LOPPER_ISA").is_none() {
        let line = with("400", "1", &["--resume"]).join(" ");
        shell(&format!("LOPPER_ISA=portable exec \"$LOPPER\" {line}"), dir.path())
            .failed_naming(&["device: cpu, ", "cpu, portable now"]);
    }
    let image = data.path().join("train/dark/0.png");
    let bytes = fs::read(&image).unwrap();
    fs::remove_file(&image).unwrap();
    run(with("400", "1", &["--resume"])).failed_naming(&["the images changed"]);
    fs::write(&image, &bytes).unwrap();
    let accepted = run(with("30", "2", &["--resume", "--resume-anyway"])).succeeded();
    assert!(accepted.err.contains("the bits will differ"), "{}", accepted.err);
    run(with("2", "1", &["--resume"])).failed_naming(&["already exists"]);
    run(with("0", "1", &["--resume", "--force"])).failed_naming(&["--resume", "--epochs"]);
}

#[test]
fn a_damaged_checkpoint_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("m.safetensors");
    let args = ["train", "--arch", "vgg8_bn", "--width", "0.1", "--epochs", "400", "--out", text(&out)];
    let args = [&args[..], &DATA].concat();
    stopped(&args, &out);
    let checkpoint = dir.path().join("m.safetensors.checkpoint");
    let whole = fs::read(&checkpoint).unwrap();
    for damaged in [&whole[..0], &whole[..9], &whole[..whole.len() - 1], &b"nothing of the kind"[..]] {
        fs::write(&checkpoint, damaged).unwrap();
        lopper(&[&args[..], &["--resume"]].concat()).failed_naming(&["m.safetensors.checkpoint"]);
        assert_eq!(fs::read(&checkpoint).unwrap(), damaged, "the file is left unchanged");
    }
    assert!(!out.exists());
}

#[test]
fn finished_stages_are_skipped_if_their_files_are_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let (recipe, out) = (dir.path().join("recipe.toml"), dir.path().join("out"));
    fs::write(&recipe, RECIPE).unwrap();
    let run = |more: &[&str]| lopper(&[&["run", text(&recipe), "--out", text(&out)], more].concat());
    run(&[]).succeeded();
    run(&[]).failed_naming(&["--force", "--resume"]);
    let before = fs::read(out.join("2-taught.safetensors")).unwrap();
    let again = run(&["--resume"]).succeeded();
    assert!(!again.err.contains("training loss") && again.out.contains("folded"), "{}", again.err);
    fs::write(out.join("1-teacher.safetensors"), &before).unwrap();
    run(&["--resume"]).failed_naming(&["1-teacher.safetensors", "changed"]);
    fs::write(&recipe, RECIPE.replace("sparsity = 0.5", "sparsity = 0.25")).unwrap();
    run(&["--resume"]).failed_naming(&["options of stage `taught`"]);
    fs::write(out.join("state.json"), "{").unwrap();
    run(&["--resume"]).failed_naming(&["state.json", "damaged"]);
}
