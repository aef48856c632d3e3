//! Replays the corpus of the fuzz targets on a stable compiler: inputs that once caused a panic, or come close to a
//! limit.

mod checkpoints;
#[path = "../../fuzz/src/exercise.rs"]
mod exercise;
#[path = "../support/model_file.rs"]
mod model_file;
#[path = "../../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../support/networks.rs"]
mod networks;
mod seeds;
#[path = "../../fuzz/src/targets.rs"]
mod targets;

use std::path::Path;

/// Returns the files of a target's corpus, sorted by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.into_iter().map(|path| (path.display().to_string(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn the_corpus_does_not_panic() {
    for (target, run) in targets::ALL {
        for (name, bytes) in corpus(target) {
            println!("{name}");
            run(&bytes);
        }
    }
}

/// Simulates a few deterministic steps of the fuzzer.
#[test]
fn mutations_of_the_corpus_do_not_panic() {
    const STEPS: u32 = 40;
    for (target, run) in targets::ALL {
        for (name, bytes) in corpus(target).into_iter().filter(|(_, bytes)| bytes.len() < 1 << 14) {
            let mut data = bytes.clone();
            let mut size = data.len();
            data.resize(size + 64, 0);
            for seed in 0..STEPS {
                let room = data.len();
                let binary = ["checkpoint", "idx", "image", "onnx", "pth", "weights"].contains(&target);
                let mutated = match binary {
                    true => mutate::field(&mut data, size, seed),
                    false => mutate::number(&mut data, size, room, seed),
                };
                size = mutated.unwrap_or(size);
                println!("{name}, step {seed}");
                run(&data[..size]);
                // Four changes accumulate, then the input is reset.
                if seed % 4 == 3 {
                    data[..bytes.len()].copy_from_slice(&bytes);
                    size = bytes.len();
                }
            }
        }
    }
}

#[test]
fn every_target_has_a_binary() {
    let manifest =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml")).unwrap();
    let names: Vec<&str> =
        manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")).collect();
    assert_eq!(names.len(), targets::ALL.len());
    for (target, _) in targets::ALL {
        assert!(names.contains(&format!("{target}.rs\"").as_str()), "{target}");
    }
}
