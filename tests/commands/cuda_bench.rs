//! `lopper bench` on the emulated GPU.

use lopper_kernels::cuda::Cuda;
use std::process::{Command, Output};

/// Runs `lopper bench resnet8` with the options `more` on CUDA on the CPU, if available.
fn bench(more: &[&str]) -> Option<Output> {
    Some(bench_command(more)?.output().expect("lopper starts"))
}

fn bench_command(more: &[&str]) -> Option<Command> {
    Cuda::for_tests()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_lopper"));
    command.args(["bench", "resnet8", "--size", "16", "--seconds", "0", "--device", "cuda-on-cpu"]);
    command.args(more);
    Some(command)
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
fn an_older_gpu_is_refused_and_one_without_wgmma_computes() {
    let Some(mut command) = bench_command(&[]) else { return };
    let output = command.env("LOPPER_EMULATOR_ARCH", "75").output().expect("lopper starts");
    let message = String::from_utf8_lossy(&output.stderr);
    let expected = "lopper: CUDA on the CPU is sm_75: lopper's kernels need sm_80 (Ampere) or newer\n";
    assert_eq!((output.status.code(), &*message), (Some(1), expected));
    let mut command = bench_command(&["--precision", "bf16"]).expect("as above");
    let output = command.env("LOPPER_EMULATOR_ARCH", "80").output().expect("lopper starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("CUDA on the CPU, sm_80: median"), "{text}");
}

#[test]
fn options_that_a_gpu_does_not_support_are_refused() {
    for (option, word) in [(&["--direct"][..], "direct"), (&["--linear-weights", "bf16"], "linear weights")] {
        let Some(output) = bench(option) else { return };
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && message.contains(word), "{message}");
    }
}
