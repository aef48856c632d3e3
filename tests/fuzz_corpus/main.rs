//! Replays the corpus of the fuzz targets on a stable compiler: inputs that once caused a panic, or come close to a
//! limit.

#[path = "../onnx/by_hand.rs"]
#[allow(dead_code, reason = "the tests of ONNX use more of it")]
mod by_hand;
mod checkpoints;
#[path = "../../fuzz/src/exercise.rs"]
mod exercise;
#[path = "../support/model_file.rs"]
mod model_file;
#[path = "../../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../support/networks.rs"]
mod networks;
mod onnx_seeds;
mod seeds;
#[path = "../../fuzz/src/structure/mod.rs"]
mod structure;
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
    const ROOM: usize = 1024;
    for (target, run) in targets::ALL {
        for (name, bytes) in corpus(target).into_iter().filter(|(_, bytes)| bytes.len() < 1 << 14) {
            let mut data = bytes.clone();
            let mut size = data.len();
            data.resize(size + ROOM, 0);
            for seed in 0..STEPS {
                size = mutated(target, &mut data, size, seed).unwrap_or(size);
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

/// Changes `data[..size]` like the fuzzer of `target`, and returns its new size.
fn mutated(target: &str, data: &mut [u8], size: usize, seed: u32) -> Option<usize> {
    let room = data.len();
    match target {
        "onnx" => structure::onnx::mutate(data, size, room, seed, &reversed),
        "pth" => structure::pth::mutate(data, size, room, seed, &reversed),
        "checkpoint" | "idx" | "image" | "weights" => mutate::field(data, size, seed),
        _ => mutate::number(data, size, room, seed),
    }
}

/// Stands for libFuzzer's mutations of bytes.
fn reversed(bytes: &mut [u8], size: usize, _: usize) -> usize {
    bytes[..size].reverse();
    size
}

/// Simulates the fuzzer's crossing of two inputs.
#[test]
fn crossings_of_the_corpus_do_not_panic() {
    for (target, cross) in [("onnx", structure::onnx::cross as Cross), ("pth", structure::pth::cross)] {
        let (_, run) = targets::ALL[targets::ALL.iter().position(|(name, _)| *name == target).unwrap()];
        let files = corpus(target);
        for ((name, data), (other, donor)) in files.iter().zip(files.iter().cycle().skip(1)) {
            for seed in 0..20 {
                let mut out = vec![0; data.len() + donor.len()];
                let size = cross(data, donor, &mut out, seed);
                println!("{name} with {other}, seed {seed}");
                run(&out[..size]);
            }
        }
    }
}

type Cross = fn(&[u8], &[u8], &mut [u8], u32) -> usize;

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
