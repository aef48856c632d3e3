//! Networks that overflow to infinity: a rewrite that claims to keep the function reports it and writes nothing, and
//! strict commands refuse values that are not finite.

use lopper_engine::layer::{BatchNorm, Conv2d, Pool, Window};
use lopper_engine::{Graph, Layer, Param, Tensor, file};
use std::path::Path;
use std::process::{Command, Output};

fn lopper(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lopper")).args(args).output().unwrap()
}

fn assert_fails_naming(output: &Output, words: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(words.iter().all(|word| told.contains(word)), "{words:?} in {told}");
}

/// Writes a network with a convolution and a batch norm of variance `var` and ε = 0.
fn network(path: &Path, var: f32) {
    let mut graph = Graph::new(2);
    let weight = Param::new(Tensor::from_fn(&[2, 1, 1, 2], |i| i as f32 - 1.5));
    let conv = Conv2d {
        weight,
        bias: None,
        stride: [1; 2],
        padding: [0; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
    };
    graph.push("conv", Layer::Conv2d(conv), &[0]).unwrap();
    let mut bn = BatchNorm::new(2);
    (bn.eps, bn.running_var) = (0.0, Tensor::full(&[2], var));
    let bn = graph.push("bn", Layer::BatchNorm(bn), &[1]).unwrap();
    let pool = graph.push("pool", Layer::Pool(Pool::average(Window::Adaptive([1, 1]))), &[bn]).unwrap();
    graph.push("flatten", Layer::Flatten, &[pool]).unwrap();
    graph.info.input = [4, 4, 2];
    graph.info.classes = vec!["a".into(), "b".into()];
    file::save(&graph, path).unwrap();
}

#[test]
fn a_rewrite_that_measures_an_infinity_fails() {
    let folder = tempfile::tempdir().unwrap();
    let [from, to] = ["m.safetensors", "folded.safetensors"].map(|name| folder.path().join(name));
    let [from_text, to_text] = [&from, &to].map(|path| path.to_str().unwrap());
    network(&from, 0.0);
    let folded = lopper(&["fold", from_text, "--out", to_text]);
    assert_fails_naming(&folded, &["keeps the function", "finite"]);
    assert!(!to.exists());
    // The network differs from itself: no tolerance accepts values that are not finite.
    let diff = lopper(&["diff", from_text, from_text, "--tolerance", "1e30"]);
    assert_fails_naming(&diff, &["finite"]);

    network(&from, 0.25);
    assert!(lopper(&["fold", from_text, "--out", to_text]).status.success());
    assert!(lopper(&["diff", from_text, to_text]).status.success());
}

#[test]
fn strict_commands_compute_directly() {
    let kernels = |args: &[&str]| {
        let output = lopper(args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let bench = ["bench", "resnet8", "--size", "32", "--batch", "4", "--seconds", "0", "--layers"];
    let fast = kernels(&bench);
    let strict = kernels(&[&bench[..], &["--strict"]].concat());
    assert!(fast.contains("winograd") && !strict.contains("winograd"), "{fast}\n{strict}");
    assert!(strict.contains("gemm"));
}
