//! Full disks, read-only media, kills, signals, concurrent runs and typos: existing files stay intact, and hours of
//! work are not lost.
#![cfg(unix)]

use crate::support::child::{end, signal, start, wait_until, writes};
use crate::support::command::{Run, image_folder, lopper, model, names, shell, text, train, training};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

/// Returns a command line that trains on built-in images until it is interrupted.
fn long(out: &Path) -> Vec<&str> {
    let network = ["train", "--arch", "vgg8_bn", "--width", "0.1", "--epochs", "500"];
    let images = ["--data", "fashion-mnist", "--limit", "2", "--batch", "5", "--checkpoint-every", "0"];
    [&network[..], &images, &["--out", text(out)]].concat()
}

fn checkpoint_of(out: &Path) -> PathBuf {
    PathBuf::from(format!("{}.checkpoint", text(out)))
}

/// Starts `args`, which train into `out`, and waits for the first checkpoint.
fn under_way(args: &[&str], out: &Path) -> Child {
    let mut child = start(args);
    assert!(wait_until(&mut child, || checkpoint_of(out).exists()), "{}", end(child).err);
    child
}

#[track_caller]
fn refused_before_training(run: Run, words: &[&str]) {
    assert!(!run.err.contains("training loss"), "{}", run.err);
    run.failed_naming(words);
}

#[test]
fn the_next_writer_removes_the_leftovers_of_killed_ones() {
    let (data, dir, out) = (image_folder(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start_model = model(dir.path(), data.path());
    let target = out.path().join("x.safetensors");
    let fold = ["fold", text(&start_model), "--force", "--out", text(&target)];
    lopper(&fold).succeeded();
    let whole = fs::read(&target).unwrap();
    for _ in 0..8 {
        let mut child = start(&fold);
        if wait_until(&mut child, || writes(out.path())) {
            signal(&child, "KILL");
        }
        end(child);
        assert!(fs::read(&target).unwrap() == whole, "never partially written");
    }
    // A leftover of a writer that is certainly dead, and files of other programs.
    let others = [".x.safetensors.abcdef", "x.lopper-tmp"];
    others
        .iter()
        .chain([&".x.safetensors.abcdef.lopper-tmp"])
        .for_each(|name| fs::write(out.path().join(name), "").unwrap());
    lopper(&fold).succeeded();
    assert_eq!(names(out.path()), [others[0], "x.lopper-tmp", "x.safetensors"]);
}

/// First stage of the recipes below.
const TRAINED: &str = r#"
[data]
name = "fashion-mnist"
batch = 8
limit = 1
[[stage]]
name = "a"
arch = "vgg8_bn"
width = 0.1
train = { epochs = 1, learning_rate = 1e-3 }
[[stage]]
"#;

#[test]
fn the_whole_recipe_is_checked_before_training() {
    let dir = tempfile::tempdir().unwrap();
    let (recipe, out) = (dir.path().join("recipe.toml"), dir.path().join("out"));
    let other = model(dir.path(), image_folder().path());
    let (no_model, other) = (text(&recipe), text(&other));
    let train = "train = { epochs = 1, learning_rate = 1e-3 }";
    for (stage, words) in [
        (format!("name = 'b'\nfrom = '{no_model}'\nfold = {{}}"), &["stage `b`", "recipe.toml"][..]),
        (format!("name = 'b'\nfrom = '{other}'\nfold = {{}}"), &["model.safetensors", "classes"]),
        (
            format!("name = 'b'\nteacher = '{no_model}'\ndistill = {{}}\n{train}"),
            &["stage `b`", "recipe.toml"],
        ),
        (
            format!("name = 'b'\nteacher = '{other}'\ndistill = {{}}\n{train}"),
            &["model.safetensors", "classes"],
        ),
        ("name = 'b'\nprune = {}\nsave_plan = '/nonexistent/x'".into(), &["stage `b`", "/nonexistent/x"]),
        ("name = 'b'\nprune = { include = ['features.99'] }".into(), &["stage `b`", "features.99"]),
        ("name = 'b'\ncompact = { exclude = ['features.99'] }".into(), &["stage `b`", "features.99"]),
        ("name = 'b'\nfactorize = { fraction = 0.5, include = ['fc9'] }".into(), &["stage `b`", "fc9"]),
        ("name = 'b'\nsparsify = { sparsity = 0.5, include = ['fc9'] }".into(), &["stage `b`", "fc9"]),
        (
            format!(
                "name = 'b'\nsparsify = {{ sparsity = 0.5, exclude = ['features', 'classifier'] }}\n{train}"
            ),
            &["no layer is left"],
        ),
        (
            format!(
                "name = 'b'\nteacher = 'a'\ndistill = {{ hints = [{{ student = 'fc9', teacher = 'fc9', weight = 1.0 }}] }}\n{train}"
            ),
            &["stage `b`", "fc9"],
        ),
        (
            "name = 'b'\nprune = {}\nplan = { groups = [{ layers = ['fc9'], units = 4, keep = [1] }] }"
                .into(),
            &["stage `b`"],
        ),
        (format!("name = '{}'\nfold = {{}}", "b".repeat(300)), &["at most 64 characters, found 300"]),
        ("name = '../b'\nfold = {}".into(), &["letters, digits"]),
        ("name = ''\nfold = {}".into(), &["letters, digits"]),
    ] {
        fs::write(&recipe, format!("{TRAINED}{stage}\n")).unwrap();
        refused_before_training(lopper(&["run", text(&recipe), "--out", text(&out)]), words);
        if out.exists() {
            assert!(names(&out).is_empty(), "{:?}", names(&out));
        }
    }
    fs::write(&recipe, format!("{TRAINED}name = 'b'\nfold = {{}}\n").replace("batch = 8", "batch = 64"))
        .unwrap();
    refused_before_training(lopper(&["run", text(&recipe), "--out", text(&out)]), &["batch"]);
}

#[test]
fn a_full_or_read_only_disk_is_detected_before_training() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    // A file size limit simulates a full disk without privileges.
    let out = dir.path().join("m.safetensors");
    let line = training(data.path(), &out).join(" ");
    let run = shell(&format!("ulimit -f 64; exec \"$LOPPER\" {line}"), dir.path());
    refused_before_training(run, &["m.safetensors", "cannot be written", "larger than the system allows"]);
    assert!(names(dir.path()).is_empty());
    if Path::new("/sys/kernel").is_dir() {
        let run = train(data.path(), Path::new("/sys/kernel/m.safetensors"), &[]);
        refused_before_training(run, &["/sys/kernel/m.safetensors", "cannot be written"]);
    }
    for (options, why) in [("ro,size=1m", "read-only"), ("size=1m", "the disk is full")] {
        let script = format!(
            "mkdir -p disk && unshare --map-root-user --mount sh -c 'mount -t tmpfs -o {options} tmpfs disk || exit 77; exec \"$LOPPER\" {}'",
            training(data.path(), Path::new("disk/m.safetensors")).join(" ")
        );
        let run = shell(&script, dir.path());
        match run.status {
            Some(1) if !run.err.contains("unshare") => {
                refused_before_training(run, &["disk/m.safetensors", why]);
            }
            _ => eprintln!("skipped: cannot mount a file system here: {}", run.err),
        }
    }
}

#[test]
fn a_result_that_cannot_be_written_is_saved_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("m.safetensors");
    let mut args = long(&out);
    args[6] = "60";
    let child = under_way(&args, &out);
    fs::create_dir(&out).unwrap(); // no file can be renamed to it anymore
    let run = end(child);
    let kept = dir.path().join("m-kept.safetensors");
    assert!(run.err.contains(&format!("the network is in {} instead", text(&kept))), "{}", run.err);
    run.failed_naming(&["m.safetensors", "not a file"]);
    lopper(&["summary", text(&kept)]).succeeded();
}

#[test]
fn a_vanished_image_stops_training_after_a_checkpoint() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let paths = ["m.safetensors", "whole.safetensors"].map(|name| dir.path().join(name));
    let args = |out| {
        let network =
            ["train", "--arch", "vgg8_bn", "--width", "0.1", "--epochs", "60", "--checkpoint-every", "0"];
        let images = ["--data", text(data.path()), "--size", "16", "--batch", "4", "--out", text(out)];
        [&network[..], &images].concat()
    };
    let child = under_way(&args(&paths[0]), &paths[0]);
    let image = data.path().join("train/dark/3.png");
    let bytes = fs::read(&image).unwrap();
    fs::remove_file(&image).unwrap();
    end(child).failed_naming(&["train/dark/3.png", "--resume continues from it"]);
    assert!(!paths[0].exists() && checkpoint_of(&paths[0]).exists());
    fs::write(&image, bytes).unwrap();
    lopper(&[&args(&paths[0])[..], &["--resume"]].concat()).succeeded();
    lopper(&args(&paths[1])).succeeded();
    assert!(
        fs::read(&paths[0]).unwrap() == fs::read(&paths[1]).unwrap(),
        "the same bits as without the interruption"
    );
    assert_eq!(names(dir.path()), ["m.safetensors", "whole.safetensors"]);
}

#[test]
fn a_vanished_image_is_skipped_on_request() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let out = dir.path().join("m.safetensors");
    let network =
        ["train", "--arch", "vgg8_bn", "--width", "0.1", "--epochs", "60", "--checkpoint-every", "0"];
    let images = ["--data", text(data.path()), "--size", "16", "--batch", "4", "--out", text(&out)];
    let child = under_way(&[&network[..], &images, &["--skip-bad-images"]].concat(), &out);
    fs::remove_file(data.path().join("train/dark/3.png")).unwrap();
    let run = end(child).succeeded();
    assert!(run.err.contains("skipped 1 image") && run.err.contains("train/dark/3.png"), "{}", run.err);
}

/// The learning rate is 0 in the first step, which is the whole first epoch, and far too large in the second.
#[test]
fn the_last_good_network_is_saved_if_training_diverges() {
    let dir = tempfile::tempdir().unwrap();
    let (recipe, out) = (dir.path().join("recipe.toml"), dir.path().join("out"));
    let text_of = TRAINED.replace("[[stage]]\n", "").replace("name = \"a\"", "[[stage]]\nname = \"a\"");
    let rates = "epochs = 4, learning_rate = 1e30, optimizer = { name = \"sgd\" }, schedule = { name = \"cosine\", warmup = 0.9 }";
    fs::write(&recipe, text_of.replace("epochs = 1, learning_rate = 1e-3", rates)).unwrap();
    let run = lopper(&["run", text(&recipe), "--out", text(&out)]);
    let kept = out.join("1-a-kept.safetensors");
    assert!(run.err.contains(text(&kept)) && run.err.contains("epoch 1/4"), "{}", run.err);
    run.failed_naming(&["lower the learning rate", "the last good network"]);
    lopper(&["summary", text(&kept)]).succeeded();
}

/// Writes a recipe whose models depend on the seed.
fn two_stages(dir: &Path, name: &str, seed: u32, epochs: u32) -> PathBuf {
    let path = dir.join(name);
    let stages = format!(
        "seed = {seed}\n{TRAINED}name = 'b'\ntrain = {{ epochs = {epochs}, learning_rate = 1e-3 }}\n"
    );
    fs::write(&path, stages).unwrap();
    path
}

#[test]
fn two_runs_never_mix_in_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = [two_stages(dir.path(), "1.toml", 1, 4000), two_stages(dir.path(), "2.toml", 2, 1)];
    let (both, alone) = (dir.path().join("both"), dir.path().join("alone"));
    let into = |recipe, out| ["run", text(recipe), "--out", text(out)];
    lopper(&into(&second, &alone)).succeeded();
    let mut child = start(&into(&first, &both));
    let trains_b = || {
        let checkpoint = fs::read(both.join("checkpoint")).unwrap_or_default();
        // The label is JSON in a string of the JSON header.
        checkpoint.windows(15).any(|bytes| bytes == br#"\"stage\":\"b\""#)
    };
    assert!(wait_until(&mut child, trains_b));
    for more in [&[][..], &["--force"], &["--resume"]] {
        let run = lopper(&[&into(&second, &both)[..], more].concat());
        refused_before_training(run, &[text(&both), "another run is active"]);
    }
    signal(&child, "TERM");
    let run = end(child);
    assert_eq!(run.status, Some(143), "{}", run.err);
    assert_eq!(
        names(&both),
        [
            "1-a.safetensors",
            "checkpoint",
            "history.csv",
            "report.csv",
            "report.html",
            "report.json",
            "report.md",
            "report.svg",
            "state.json"
        ],
        "a checkpoint, and a report and the history of the finished stage"
    );
    let report = fs::read_to_string(both.join("report.md")).unwrap();
    assert!(report.contains("(1 of 2 stages)") && report.contains("| a "), "{report}");
    refused_before_training(lopper(&into(&second, &both)), &[text(&both), "--force", "--resume"]);
    refused_before_training(
        lopper(&[&into(&second, &both)[..], &["--resume"]].concat()),
        &["seed: 1 then, 2 now"],
    );
    lopper(&[&into(&second, &both)[..], &["--force"]].concat()).succeeded();
    assert_eq!(names(&both), names(&alone));
    for name in ["1-a.safetensors", "2-b.safetensors"] {
        assert!(fs::read(both.join(name)).unwrap() == fs::read(alone.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn two_commands_never_write_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("m.safetensors");
    let child = under_way(&long(&out), &out);
    for more in [&[][..], &["--force"], &["--resume"]] {
        refused_before_training(
            lopper(&[&long(&out)[..], more].concat()),
            &["another command is writing it"],
        );
    }
    signal(&child, "KILL");
    end(child);
    // The lock of a dead process blocks nobody, but its checkpoint does.
    refused_before_training(lopper(&long(&out)), &["unfinished training", "--resume", "--force"]);
}

#[test]
fn only_force_overwrites_a_result() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let start = model(dir.path(), data.path());
    let out = dir.path().join("out.safetensors");
    let (from, to) = (text(&start), text(&out));
    let images = ["--data", text(data.path()), "--batch", "8"];
    for command in [
        &["fold", from][..],
        &["prune", from],
        &["compact", from],
        &["factorize", from, "--fraction", "0.5"],
        &["sparsify", from, "--sparsity", "0.5", "--epochs", "0"],
        &["export", from],
        &[&["train", "--model", from, "--epochs", "1"][..], &images].concat(),
        &[&["distill", from, "--teacher", from, "--epochs", "1"][..], &images].concat(),
    ] {
        fs::write(&out, "precious").unwrap();
        let run = |more: &[&str]| lopper(&[command, &["--out", to], more].concat());
        refused_before_training(run(&[]), &["out.safetensors", "already exists", "--force"]);
        assert_eq!(fs::read(&out).unwrap(), b"precious");
        run(&["--force"]).succeeded();
        assert_ne!(fs::read(&out).unwrap(), b"precious");
    }
    let plan = dir.path().join("plan.toml");
    let prune = ["prune", from, "--force", "--out", to, "--save-plan", text(&plan)];
    lopper(&prune).succeeded();
    let new = dir.path().join("new.safetensors");
    lopper(&["prune", from, "--out", text(&new), "--save-plan", text(&plan)])
        .failed_naming(&["plan.toml", "already exists"]);
    let weights = dir.path().join("weights.safetensors");
    lopper(&["export", from, "--out", text(&weights)]).succeeded();
    lopper(&["import", text(&weights), "--arch", from, "--out", to]).failed_naming(&["already exists"]);
}

#[test]
fn signals_stop_training_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    for (name, status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let out = dir.path().join(format!("{name}.safetensors"));
        let child = under_way(&long(&out), &out);
        signal(&child, name);
        let run = end(child);
        assert_eq!(run.status, Some(status), "{}", run.err);
        assert!(
            run.err.contains(&format!("stopped by SIG{name}")) && run.err.contains("--resume"),
            "{}",
            run.err
        );
        assert!(!out.exists() && checkpoint_of(&out).exists());
    }
    assert_eq!(names(dir.path()).len(), 3, "neither locks nor temporary files remain");
}

/// `nohup lopper …`, or a script's background job: an ignored signal stays ignored.
#[test]
fn an_ignored_signal_stays_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("m.safetensors");
    let mut args = long(Path::new("m.safetensors"));
    args[6] = "40";
    let script = format!(
        "trap '' HUP; \"$LOPPER\" {} & while [ ! -e m.safetensors.checkpoint ] && kill -0 $!; do sleep 0.01; done; kill -HUP $!; wait $!",
        args.join(" ")
    );
    if !Path::new("/proc/self/status").exists() {
        return eprintln!("skipped: this system does not report ignored signals");
    }
    shell(&script, dir.path()).succeeded();
    assert!(out.exists());
}

#[test]
fn a_full_standard_output_is_an_error_after_the_result_is_written() {
    if !Path::new("/dev/full").exists() {
        return eprintln!("skipped: this system has no /dev/full");
    }
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let start = model(dir.path(), data.path());
    let script = format!("exec \"$LOPPER\" fold {} --out folded.safetensors >/dev/full", text(&start));
    shell(&script, dir.path()).failed_naming(&["standard output"]);
    lopper(&["summary", text(&dir.path().join("folded.safetensors"))]).succeeded();
    shell("exec \"$LOPPER\" summary vgg8_bn >/dev/full", dir.path()).failed_naming(&["standard output"]);
    let closed = format!("exec \"$LOPPER\" fold {} --out closed.safetensors >&-", text(&start));
    shell(&closed, dir.path());
    lopper(&["summary", text(&dir.path().join("closed.safetensors"))]).succeeded();
}
