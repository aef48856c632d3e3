//! `lopper selftest` on the emulator of a GPU, and without one.

use lopper_kernels::cuda::Cuda;
use std::path::Path;
use std::process::{Command, Output};

fn selftest(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lopper"));
    command.arg("selftest").args(arguments).current_dir(dir).output().expect("lopper starts")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_part_passes_on_the_emulator() {
    if Cuda::for_tests().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--device", "cuda-on-cpu", "--out", "report.md", "--json"];
    let output = selftest(dir.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let report = std::fs::read_to_string(dir.path().join("report.md")).unwrap();
    for text in [
        "| Device | CUDA on the CPU, sm_90a,",
        " 1 skipped, 0 not run, 0 failed |",
        "measure the emulator, not a GPU.",
        "| conv2d, weight gradient | wgmma, bf16 |",
        "| conv2d, weight gradient | wgmma, tf32 |  | |  | skipped: no wgmma kernel",
        "| resnet8, gradients | f16 |",
        "| a demo for the emulator | f32 |",
        "| gemm 64³ | mma, bf16 |",
    ] {
        assert!(report.contains(text), "expected `{text}` in:\n{report}");
    }
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = json["parts"].as_array().unwrap();
    assert_eq!(found.len(), 13);
    for part in found {
        for line in part["lines"].as_array().unwrap() {
            let error = line["worst"]["error"].as_f64();
            let limit = line["worst"]["limit"].as_f64();
            assert!(error <= limit, "{line}");
            assert!(line["timing"].is_null() || line["timing"]["median_ms"].as_f64() > Some(0.0), "{line}");
        }
    }
    let last = report.rsplit("```json\n").next().unwrap().split("\n```").next().unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(last).unwrap(), json);
}

#[test]
fn parts_without_time_are_listed_as_not_run() {
    if Cuda::for_tests().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--device", "cuda-on-cpu", "--only", "simt", "--minutes", "0"];
    let output = selftest(dir.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let report = std::fs::read_to_string(dir.path().join("selftest.md")).unwrap();
    assert!(report.contains("not run: no time was left") && report.contains("0 passed"), "{report}");
}

#[test]
fn bad_input_is_named_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut cases =
        vec![(vec!["--device", "cpu"], "use --device cuda"), (vec!["--device", "tpu"], "device tpu")];
    if Cuda::open(0).is_err() {
        cases.push((vec!["--device", "cuda"], "driver"));
    }
    if Cuda::for_tests().is_some() {
        cases.push((
            vec!["--device", "cuda-on-cpu", "--only", "simd"],
            "part simd: expected one of elementwise",
        ));
        cases.push((vec!["--device", "cuda-on-cpu", "--out", "missing/report.md"], "missing/report.md"));
    }
    for (arguments, word) in cases {
        let output = selftest(dir.path(), &arguments);
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(
            errors.starts_with("lopper: ") && errors.lines().count() == 1 && errors.contains(word),
            "{errors}"
        );
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
