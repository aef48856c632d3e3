//! `lopper bench` on the emulated GPU.

use kernels::cuda::emulator;
use std::process::{Command, Output};

/// `lopper bench resnet8` on CUDA on the CPU with `more` options, if that can be had.
fn bench(more: &[&str]) -> Option<Output> {
    emulator::for_tests()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_lopper"));
    command.args(["bench", "resnet8", "--size", "16", "--seconds", "0", "--device", "cuda-on-cpu"]);
    Some(command.args(more).output().expect("lopper starts"))
}

#[test]
fn every_step_is_timed_and_no_peak_is_claimed() {
    let Some(output) = bench(&["--layers", "--json"]) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let timing: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let layers = timing["layers"].as_array().unwrap();
    let first = layers.iter().find(|layer| layer["layer"] == "conv1").unwrap();
    assert_eq!((&first["kernel"], first["macs"].as_u64()), (&"cuda f32".into(), Some(16 * 16 * 32 * 27)));
    assert!(layers.iter().all(|layer| layer["median_ms"].as_f64() > Some(0.0)));
    assert!(timing.get("fma_peak_gflops").is_none() && first.get("fma_percent").is_none());
    let memory = ["weight_bytes", "arena_bytes"].map(|key| timing[key].as_u64());
    assert!(memory.iter().all(|bytes| *bytes > Some(0)), "{memory:?}");
}

#[test]
fn what_a_gpu_does_not_choose_is_refused() {
    for (option, word) in [(&["--direct"][..], "direct"), (&["--linear-weights", "bf16"], "linear weights")] {
        let Some(output) = bench(option) else { return };
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && message.contains(word), "{message}");
    }
}
