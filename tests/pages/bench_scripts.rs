//! The scripts of `benches/` still run: each in its quickest form, without the engines that they compare with.
//! (`.ci/run` runs the benchmarks themselves, by `benches/run_all.sh --smoke`.)

use crate::common::record::Record;
use crate::common::rows::PeerRow;
use lopper_kernels::cuda::Cuda;
use std::path::Path;
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs Python on `arguments` at the root of the project; `None` if there is no Python, which only `.ci/run` forbids.
fn python(arguments: &[&str]) -> Option<Output> {
    let output = Command::new("python3")
        .args(arguments)
        .current_dir(root())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output();
    match output {
        Ok(output) => Some(output),
        Err(error) if std::env::var_os("LOPPER_REQUIRE_PYTHON").is_some() => panic!("python3: {error}"),
        Err(error) => {
            eprintln!("skipped: python3: {error}");
            None
        }
    }
}

#[track_caller]
fn text_of(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn peers_times_lopper_without_the_other_engines() {
    let dir = tempfile::tempdir().unwrap();
    let (out, work) = (dir.path().join("peers.csv"), dir.path().join("work"));
    let [out, work] = [&out, &work].map(|path| path.to_str().unwrap());
    let lopper = env!("CARGO_BIN_EXE_lopper");
    let fixed = ["benches/peers.py", "--lopper", lopper, "--out", out, "--work", work, "--rounds", "2"];
    let cases = ["--seconds", "0.01", "--threads", "1", "--cases", "resnet18 b1"];
    let Some(output) = python(&[&fixed[..], &cases].concat()) else { return };
    assert!(text_of(output).contains("network resnet18 128px b1 t1: lopper "));
    let record = Record::<PeerRow>::read(Path::new(out)).unwrap();
    assert!(["portable", "avx2", "avx512"].contains(&record.says("isa")), "{}", record.says("isa"));
    assert_eq!(record.rows.len(), 2, "two rounds");
    assert!(record.rows.iter().all(|row| row.engine == "lopper" && row.ms > 0.0));
}

/// A sparse case makes its own model file, which keeps the zeros that were asked for.
#[test]
fn peers_times_a_masked_network() {
    let dir = tempfile::tempdir().unwrap();
    let (out, work) = (dir.path().join("peers.csv"), dir.path().join("work"));
    let [out, work_text] = [&out, &work].map(|path| path.to_str().unwrap());
    let lopper = env!("CARGO_BIN_EXE_lopper");
    let fixed = ["benches/peers.py", "--lopper", lopper, "--out", out, "--work", work_text, "--rounds", "1"];
    let cases = ["--seconds", "0.01", "--threads", "1", "--cases", "sparse mobilenet_v2+90 b1"];
    let Some(output) = python(&[&fixed[..], &cases].concat()) else { return };
    assert!(text_of(output).contains("sparse mobilenet_v2+90 128px b1 t1: lopper "));
    let graph = lopper_engine::file::load(work.join("mobilenet_v2+90_128.safetensors")).unwrap();
    for (name, param) in graph.params().filter(|(name, _)| name.ends_with("weight")) {
        let zeros = param.masked_fraction();
        let ends = ["features.0.0.weight", "classifier.1.weight"].contains(&name.as_str());
        assert!(if ends { zeros == 0.0 } else { (zeros - 0.9).abs() < 0.02 }, "{name}: {zeros}");
    }
}

/// An `onnx` case reads the file that lopper writes, and says its ratios.
#[test]
fn peers_times_a_network_from_onnx() {
    let dir = tempfile::tempdir().unwrap();
    let (out, work) = (dir.path().join("peers.csv"), dir.path().join("work"));
    let [out, work_text] = [&out, &work].map(|path| path.to_str().unwrap());
    let lopper = env!("CARGO_BIN_EXE_lopper");
    let fixed = ["benches/peers.py", "--lopper", lopper, "--out", out, "--work", work_text, "--rounds", "2"];
    let cases = ["--seconds", "0.01", "--threads", "1", "--cases", "onnx mobilenet_v2 128px b1"];
    let Some(output) = python(&[&fixed[..], &cases].concat()) else { return };
    let text = text_of(output);
    assert!(text.contains("onnx mobilenet_v2 128px b1 t1: built in "), "{text}");
    assert!(text.contains("  lopper: ") && text.contains(" of built in"), "{text}");
    let record = Record::<PeerRow>::read(Path::new(out)).unwrap();
    let engines: Vec<&str> = record.rows.iter().map(|row| row.engine.as_str()).collect();
    assert_eq!(engines, ["built in", "lopper", "built in", "lopper"]);
    assert!(work.join("mobilenet_v2_128_b1.lopper.onnx").exists());
    let [own, imported] = ["mobilenet_v2_128.random", "mobilenet_v2_128_b1.lopper"]
        .map(|name| lopper_engine::file::load(work.join(format!("{name}.safetensors"))).unwrap());
    for (name, param) in own.params() {
        assert!(imported.param(&name).unwrap().value().same_bits(param.value()), "{name}");
    }
}

/// Of three rounds, the medians of the ratios within a round count, not the ratios of medians.
#[test]
fn ratios_are_formed_within_a_round() {
    let code = "import sys; sys.path.insert(0, 'benches')
import peers
row = lambda engine, number, ms: ['onnx', '', 0, 0, 0, engine, number, ms]
times = {'built in': [1, 2, 10], 'lopper': [1, 9, 5], 'onnxruntime': [2, 80, 5], 'openvino': [4, 18, 8]}
print(peers.ratios([row(name, number, ms) for name, all in times.items() for number, ms in enumerate(all)]))";
    let Some(output) = python(&["-c", code]) else { return };
    let expected = "1.000 of built in, 0.500 of the fastest";
    assert_eq!(text_of(output).trim(), expected);
}

/// Every engine that `peers.py` may start is one that `peer_engine.py` knows.
#[test]
fn peers_and_its_engines_agree() {
    let code = "import sys; sys.path.insert(0, 'benches')
import argparse, peers, peer_engine
options = argparse.Namespace(engines='', python='python3', deepsparse='python3')
for kind in ['network', 'sparse', 'onnx', 'training', 'layer', 'images']:
    for name, _ in peers.engines(peers.Case(kind, '', 0, 0, 0), options):
        assert (kind, name) in peer_engine.ENGINES, (kind, name)
        print(kind, name)";
    let Some(output) = python(&["-c", code]) else { return };
    assert_eq!(text_of(output).lines().count(), 12);
}

#[test]
fn gpu_peers_reads_a_self_test() {
    if Cuda::for_tests().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["selftest", "--device", "cuda-on-cpu", "--only", "time-gemm", "--out", "report.md"];
    let selftest =
        Command::new(env!("CARGO_BIN_EXE_lopper")).args(arguments).current_dir(dir.path()).output();
    text_of(selftest.expect("lopper starts"));
    let report = dir.path().join("report.md");
    let list = ["benches/gpu_peers.py", report.to_str().unwrap(), "--list"];
    let Some(output) = python(&list) else { return };
    let text = text_of(output);
    assert!(text.contains("gemm 64³, mma, bf16: product(64, 'bfloat16')"), "{text}");
}

#[test]
fn the_script_of_all_benchmarks_names_benchmarks_that_exist() {
    let script = std::fs::read_to_string(root().join("benches/run_all.sh")).unwrap();
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let benches: Vec<&str> = manifest
        .split("[[bench]]")
        .skip(1)
        .map(|part| part.split('"').nth(1).expect("a benchmark has a name"))
        .collect();
    for name in &benches {
        assert!(script.contains(name), "benches/run_all.sh does not run {name}");
        assert!(root().join(format!("benches/{name}.rs")).exists(), "{name}");
    }
    let status = Command::new("bash").arg("-n").arg(root().join("benches/run_all.sh")).status();
    assert!(status.expect("bash starts").success());
    let usage =
        Command::new("bash").args(["benches/run_all.sh", "--unknown"]).current_dir(root()).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&usage.stdout).contains("--smoke DIR"));
}
