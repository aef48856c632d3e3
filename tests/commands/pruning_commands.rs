//! Pruning to a target, in steps, and exploring, from a user's point of view.

use crate::support::command::{LOPPER, Run, finished, image_folder, lopper, model, names, text};
use lopper_compress::PrunePlan;
use lopper_compress::prune::GroupScores;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs `lopper` with the folder `cache` for its tables.
fn with_cache(cache: &Path, args: &[&str]) -> Run {
    finished(Command::new(LOPPER).args(args).env("LOPPER_CACHE", cache).output().expect("lopper starts"))
}

fn macs(path: &Path) -> u64 {
    let json = lopper(&["summary", text(path), "--json"]).succeeded().out;
    serde_json::from_str::<serde_json::Value>(&json).unwrap()["macs"].as_u64().unwrap()
}

#[test]
fn a_model_is_pruned_to_counts_and_to_a_latency() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let start = model(dir.path(), data.path());
    let out = dir.path().join("out.safetensors");
    let prune = |args: &[&str]| -> Vec<String> {
        let all = [&["prune", text(&start), "--out", text(&out), "--force"], args].concat();
        all.into_iter().map(str::to_string).collect()
    };
    let run = |cache: &Path, args: &[&str]| {
        let args = prune(args);
        with_cache(cache, &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let cache = dir.path().join("cache");
    let err = run(&cache, &["--target-macs", "0.5x"]).succeeded().err;
    assert!(err.contains("(target)") && err.contains("asked for at most"), "{err}");
    assert!(2 * macs(&out) <= macs(&start) && !cache.exists(), "counts need no table");

    // On a machine that is busy with other things, any latency may be out of reach.
    let latency = |more: &[&str]| {
        let options = ["--target-latency", "0.6x", "--target-batch", "2", "--threads", "1"];
        let run = run(&cache, &[&options[..], more].concat());
        match run.status {
            Some(0) => assert!(run.err.contains("(target)") && macs(&out) <= macs(&start), "{}", run.err),
            _ => assert!(
                run.err.contains("cannot be reached") && run.err.contains("is the least"),
                "{}",
                run.err
            ),
        }
        run.err
    };
    let err = latency(&[]);
    assert!(err.contains("measuring the times of this machine"), "{err}");
    let [table] = &names(&cache)[..] else { panic!("{:?}", names(&cache)) };
    let err = latency(&[]);
    assert!(!err.contains("measuring the times"), "{err}");
    fs::write(cache.join(table), "{ \"format\": 1 }").unwrap();
    let err = latency(&[]);
    assert!(err.contains("are measured again") && err.contains(table.as_str()), "{err}");
    fs::remove_dir_all(&cache).unwrap();
    latency(&["--no-cache"]);
    assert!(!cache.exists());

    for (args, words) in [
        (&["--target-macs", "10"][..], &["10 multiply-accumulates cannot be reached", "is the least"][..]),
        (&["--target-latency", "0ms"], &["expected a share such as 0.5x", "found 0ms"]),
        (&["--target-bytes", "many"], &["4MB, found many"]),
        (&["--target-macs", "0.5x", "--fraction", "0.5"], &["cannot be used with"]),
        (&["--target-macs", "0.5x", "--target-batch", "2"], &["batch: expected a latency beside it"]),
        (&["--target-macs", "0.5x", "--context", "local"], &["expected the global context, found local"]),
        (&["--target-macs", "0.5x", "--steps", "0"], &["steps: expected 1 to 1000 cuts, found 0"]),
        (&["--criterion", "l1", "--fraction", "0.5", "--round-to", "none"], &["such as 16, or \"plan\""]),
        (&["--criterion", "l1", "--fraction", "0.5", "--min-channels", "a=b"], &["LAYER=NUMBER, found a=b"]),
        (&["--criterion", "l1", "--fraction", "0.5", "--normalization", "mode"], &["unknown variant `mode`"]),
    ] {
        run(&cache, args).refused(words);
    }
}

#[test]
fn steps_are_spread_over_a_training() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let start = model(dir.path(), data.path());
    let out = dir.path().join("out.safetensors");
    let images = ["--data", text(data.path()), "--batch", "8"];
    let steps = [
        "prune",
        text(&start),
        "--target-macs",
        "0.5x",
        "--steps",
        "2",
        "--epochs",
        "2",
        "--out",
        text(&out),
    ];
    lopper(&[&steps[..], &images].concat()).succeeded();
    assert!(2 * macs(&out) <= macs(&start));
    let impossible =
        ["prune", text(&start), "--target-params", "9", "--steps", "2", "--epochs", "2", "--force"];
    lopper(&[&impossible[..], &images, &["--out", text(&out)]].concat())
        .failed_naming(&["9 parameters", "is the least"]);
}

#[test]
fn an_exploration_is_bounded_continued_and_replayed() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let start = model(dir.path(), data.path());
    let (front, cache) = (dir.path().join("front"), dir.path().join("cache"));
    let explore = |more: &[&str]| {
        let images = ["--data", text(data.path()), "--batch", "8", "--threads", "1"];
        let args =
            [&["explore", text(&start), "--out", text(&front), "--epochs", "0"], &images[..], more].concat();
        with_cache(&cache, &args)
    };
    let options = ["--criteria", "large_final", "--shares", "0.6,0.8", "--by", "macs"];
    // The first candidate is always tried.
    let err = explore(&[&options[..], &["--budget", "0.001s"]].concat()).succeeded().err;
    assert!(err.contains("1 of 7 candidates tried"), "{err}");
    let out = explore(&[&options[..], &["--budget", "10m"]].concat()).succeeded();
    assert!(!out.err.contains("1 of 7: ") && out.err.contains("2 of 7: "), "{}", out.err);
    assert!(out.out.contains("the front:") && out.out.contains("front.svg"), "{}", out.out);
    let written = names(&front);
    assert_eq!(written, ["explore.json", "front.csv", "front.svg", "networks", "plans"]);
    assert_eq!(names(&front.join("plans")), ["large_final-60.toml", "large_final-80.toml"]);
    let table = fs::read_to_string(front.join("front.csv")).unwrap();
    assert!(
        table.starts_with("name,technique,front,top1") && table.contains("plans/large_final-60.toml"),
        "{table}"
    );
    assert!(fs::read_to_string(front.join("front.svg")).unwrap().contains("large_final-60"));

    let (plan, replayed) = (front.join("plans/large_final-60.toml"), dir.path().join("replayed.safetensors"));
    lopper(&["prune", text(&start), "--plan", text(&plan), "--out", text(&replayed)]).succeeded();
    let network = front.join("networks/large_final-60.safetensors");
    lopper(&["diff", text(&network), text(&replayed), "--tolerance", "0"]).succeeded();

    explore(&["--criteria", "random", "--shares", "0.5"]).failed_naming(&["explore.json", "--force"]);
    explore(&["--shares", "1.5"]).failed_naming(&["--shares", "found 1.5"]);
    fs::write(front.join("explore.json"), "{").unwrap();
    explore(&options).failed_naming(&["explore.json"]);
    lopper(&["explore", text(&start), "--out", text(&front)]).failed_naming(&["--data is missing"]);
}

/// Writes an untrained network with residual sums in `dir`.
fn resnet8(dir: &Path) -> PathBuf {
    let path = dir.join("start.safetensors");
    let options = lopper_models::Options::new(lopper_models::numbered_classes(10), [32, 32, 3]);
    lopper_engine::file::save(&lopper_models::build("resnet8", &options).unwrap(), &path).unwrap();
    path
}

#[test]
fn scores_groups_and_a_picture_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let start = resnet8(dir.path());
    let [out, scores, plan] =
        ["out.safetensors", "scores.json", "plan.toml"].map(|name| dir.path().join(name));
    let chosen = ["--criterion", "l1", "--fraction", "0.5", "--out", text(&out)];
    let files = ["--save-scores", text(&scores), "--save-plan", text(&plan)];
    lopper(&[&["prune", text(&start)], &chosen[..], &files].concat()).succeeded();
    let scores: Vec<GroupScores> = serde_json::from_str(&fs::read_to_string(&scores).unwrap()).unwrap();
    let plan: PrunePlan = toml::from_str(&fs::read_to_string(&plan).unwrap()).unwrap();
    assert!(scores.iter().any(|group| group.apart.len() > 1), "a residual stage has several layers");
    for group in &scores {
        let cut = plan.groups.iter().find(|cut| cut.layers == group.layers).unwrap();
        assert_eq!(cut.units, group.channels.len());
        assert!(group.apart.iter().all(|layer| layer.scores.len() == group.joined.len()));
    }
    for (more, words) in [
        (&["--save-scores", "x.json"][..], "--save-scores"),
        (&["--save-scores", "x.json", "--plan", "p.toml"], "cannot be used with"),
        (&["--interactive"], "--interactive: asks on a terminal, which standard input is not"),
        (&["--interactive", "--growth", "linear"], "cannot be used with"),
    ] {
        lopper(&[&["prune", text(&start), "--out", "never.safetensors"], more].concat()).refused(&[words]);
    }

    let dot = dir.path().join("net.dot");
    let shown = lopper(&["summary", text(&start), "--groups", "--dot", text(&dot)]).succeeded().out;
    assert!(shown.contains("channels that are removed together"), "{shown}");
    let line = |layer: &str| shown.lines().rfind(|line| line.contains(layer)).unwrap().to_string();
    assert!(line("tied to the network's output").contains("10"), "{shown}");
    assert!(scores.iter().all(|group| shown.contains(&group.layers.join(", "))), "{shown}");
    let picture = fs::read_to_string(&dot).unwrap();
    assert!(picture.starts_with("digraph") && picture.contains("n0 -> n1;"), "{picture}");
    lopper(&["summary", "resnet8", "--force"]).refused(&["--dot"]);
}

/// On a terminal, each cut waits for an answer, and the plan that is saved has the cuts that were made.
#[cfg(unix)]
#[test]
fn a_terminal_is_asked_about_each_cut() {
    let dir = tempfile::tempdir().unwrap();
    let start = resnet8(dir.path());
    let [out, plan, all] = ["out.safetensors", "plan.toml", "all.toml"].map(|name| dir.path().join(name));
    let options = ["--criterion", "l1", "--fraction", "0.5", "--context", "local"];
    let plain = ["--save-plan", text(&all), "--out", text(&out)];
    lopper(&[&["prune", text(&start)], &options[..], &plain].concat()).succeeded();
    let of = |path: &Path| toml::from_str::<PrunePlan>(&fs::read_to_string(path).unwrap()).unwrap();
    let asked = |answers: &str| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/terminal.py");
        let start = ["prune", text(&start), "--interactive", "--force"];
        let files = ["--save-plan", text(&plan), "--out", text(&out)];
        let line = [&[script, "[q]uit: ", answers, LOPPER], &start[..], &options, &files].concat();
        let output =
            Command::new("python3").args(line).env("LOPPER_CACHE", dir.path().join("cache")).output();
        match output {
            Ok(output) => Some(finished(output).succeeded().out),
            Err(error) if std::env::var_os("LOPPER_REQUIRE_PYTHON").is_some() => panic!("python3: {error}"),
            Err(error) => {
                eprintln!("skipped: python3: {error}");
                None
            }
        }
    };
    let Some(shown) = asked("nya") else { return };
    assert!(shown.contains("cut 1 of ") && shown.contains("multiply-accumulates"), "{shown}");
    assert!(shown.contains("estimated ") && shown.contains(" cuts are made"), "{shown}");
    assert_eq!(of(&plan).groups, of(&all).groups[1..]);
    fs::remove_file(&out).unwrap();
    let shown = asked("q").unwrap();
    assert!(shown.contains("nothing is cut, and nothing is written") && !out.exists(), "{shown}");
}
