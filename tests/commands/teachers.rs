//! Teachers that were made for other images than the student.

use crate::support::command::{image_folder, lopper, model, text};
use lopper_engine::file;

/// A teacher with another normalization teaches, and a network with another one still cannot be trained on or scored.
#[test]
fn a_teacher_may_expect_another_normalization() {
    let (directory, images) = (tempfile::tempdir().unwrap(), image_folder());
    let student = model(directory.path(), images.path());
    let [teacher, out] = ["teacher.safetensors", "out.safetensors"].map(|name| directory.path().join(name));
    let mut graph = file::load(&student).unwrap();
    (graph.info.mean, graph.info.std) = (vec![127.0 / 255.0; 3], vec![128.0 / 255.0; 3]);
    graph.info.input = [40, 40, 3];
    file::save(&graph, &teacher).unwrap();

    let distill = |student, teacher| {
        let networks =
            ["distill", text(student), "--teacher", text(teacher), "--epochs", "1", "--batch", "8"];
        lopper(&[&networks[..], &["--data", text(images.path()), "--out", text(&out), "--force"]].concat())
    };
    let run = distill(&student, &teacher).succeeded();
    assert_eq!(run.err.matches("each batch is converted for it").count(), 1, "{}", run.err);
    assert!(
        run.err.contains("made for images of 40×40 pixels and sees the student's, of 32×32"),
        "{}",
        run.err
    );
    let mean = file::load(&out).unwrap().info.mean;
    assert_eq!(mean, file::load(&student).unwrap().info.mean, "the student keeps its normalization");
    let run = distill(&student, &student).succeeded();
    assert!(!run.err.contains("the teacher"), "{}", run.err);
}
