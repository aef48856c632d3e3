//! An ONNX file is never beside the weights of another network, whenever its writer is killed.
#![cfg(unix)]

use crate::support::child::{end, signal, start, wait_until};
use crate::support::command::{image_folder, lopper, names, text, train};
use lopper_engine::onnx::{ImportOptions, import};
use lopper_engine::{Graph, file};
use std::time::Duration;

#[test]
fn a_killed_export_mixes_no_networks() {
    let (data, dir, out) = (image_folder(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let models = ["1", "2"].map(|seed| {
        let path = dir.path().join(format!("{seed}.safetensors"));
        train(data.path(), &path, &["--seed", seed]).succeeded();
        path
    });
    let networks = models.each_ref().map(|path| file::load(path).unwrap());
    let target = out.path().join("x.onnx");
    let export = |i: usize| {
        let model = text(&models[i % 2]);
        ["export", model, "--external-data", "--force", "--out", text(&target)]
    };
    lopper(&export(1)).succeeded();
    for i in 0..24 {
        let mut child = start(&export(i));
        // The names change soon after both files are complete.
        let both = || names(out.path()).iter().filter(|name| name.ends_with(".lopper-tmp")).count() == 2;
        if wait_until(&mut child, both) {
            std::thread::sleep(Duration::from_micros(250 * i as u64));
            signal(&child, "KILL");
        }
        end(child);
        if target.exists() {
            let read = import(&target, &ImportOptions::default()).unwrap().graph;
            let same = |network: &Graph| {
                network.params().zip(read.params()).all(|((_, a), (_, b))| a.value().same_bits(b.value()))
            };
            assert!(networks.iter().any(same), "attempt {i}");
        }
    }
    lopper(&export(0)).succeeded();
    assert_eq!(names(out.path()), ["x.onnx", "x.onnx.data"]);
}
