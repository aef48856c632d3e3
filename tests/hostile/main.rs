//! Hostile input from the command line: thousands of invalid files, recipes, data sets and options, each in its own run
//! of `lopper`. Every run must end with exit status 0, 1 or 2, and with a message if it fails. It must not panic,
//! abort, hang or leave a partial file behind, and must stay below 4 GiB and 20 seconds.
//!
//! `LOPPER_HOSTILE_RUNS=10000` sets the number of runs, and `LOPPER_HOSTILE_FIRST=n` the first. Run n is the same on
//! every machine.

#[path = "../support/model_file.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod model_file;
#[path = "../../fuzz/src/mutate.rs"]
#[allow(dead_code, reason = "the fuzz targets use more of it")]
mod mutate;
#[path = "../support/networks.rs"]
mod networks;

mod data;
mod models;
mod options;
mod recipes;
mod runner;
mod special_files;

use mutate::Random;
use runner::{Case, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// First run and number of runs in the ordinary test suite.
const FIRST: u64 = 1000;
const RUNS: u64 = 240;
/// Number of concurrent runs.
const WORKERS: usize = 2;

/// Returns the case of run `n`.
fn case(n: u64) -> Case {
    let mut random = Random::new(n);
    match n % 4 {
        0 => models::case(&mut random),
        1 => recipes::case(&mut random),
        2 => data::case(&mut random),
        _ => options::case(&mut random),
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

#[test]
fn hostile_input_causes_errors_at_worst() {
    let first = setting("LOPPER_HOSTILE_FIRST", FIRST);
    let end = first + setting("LOPPER_HOSTILE_RUNS", RUNS);
    let next = AtomicU64::new(first);
    let (faults, ends) = (Mutex::new(Vec::new()), Mutex::new([0u64; 4]));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= end {
                        return;
                    }
                    let case = case(n);
                    let outcome = run(&case);
                    let status = outcome.status.filter(|code| (0..=2).contains(code)).unwrap_or(3);
                    ends.lock().unwrap()[status as usize] += 1;
                    if !outcome.faults.is_empty() {
                        let last = outcome.errors.lines().last().unwrap_or_default();
                        let fault = format!(
                            "{n}: {} ({}): {}; {last}",
                            case.name,
                            case.args.join(" "),
                            outcome.faults.join(", ")
                        );
                        eprintln!("{fault}");
                        faults.lock().unwrap().push(fault);
                    }
                }
            });
        }
    });
    let ([well, failed, usage, other], faults) = (ends.into_inner().unwrap(), faults.into_inner().unwrap());
    println!(
        "runs {first} to {end}: {well} succeed, {failed} fail, {usage} are wrong command lines, {other} end otherwise"
    );
    assert!(faults.is_empty(), "{} of {} runs:\n{}", faults.len(), end - first, faults.join("\n"));
    // The mutations are neither all invalid nor all harmless.
    assert!(end - first < 100 || (well > 0 && failed > 0 && usage > 0));
}
