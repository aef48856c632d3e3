//! A network that is read from ONNX takes the time of the one that was written: its plan has the same steps.

use lopper_compress::fold;
use lopper_engine::onnx::{ImportOptions, OnnxOptions, export, import};
use lopper_engine::plan::{Plan, Step};
use lopper_engine::{Device, Graph};
use lopper_models::{Options, build, numbered_classes};

/// The steps of the plan of `graph`. Only the kind of a pool over the whole image differs: files know one of several.
fn steps(graph: &Graph, batch: usize) -> Vec<Step> {
    let [h, w, c] = graph.info.input;
    let plan = Plan::new(graph, [batch, h, w, c], &Device::cpu()).unwrap();
    let without_kind = |step: &Step| Step { kind: "", ..step.clone() };
    plan.steps().iter().map(without_kind).collect()
}

#[test]
fn imported_networks_run_the_same_steps() {
    for name in ["resnet18", "mobilenet_v2", "efficientnet_lite0"] {
        for size in [128, 224] {
            let options = Options::new(numbered_classes(10), [size, size, 3]);
            let graph = build(name, &options).unwrap();
            let file = tempfile::Builder::new().suffix(".onnx").tempfile().unwrap();
            export(&graph, file.path(), &OnnxOptions::default()).unwrap();
            let read = import(file.path(), &ImportOptions::default()).unwrap().graph;
            let [own, read] = [&graph, &read].map(|graph| fold(graph).unwrap().graph);
            for batch in [1, 16] {
                let place = format!("{name}, {size} pixels, {batch} images");
                let (own, read) = (steps(&own, batch), steps(&read, batch));
                for (ours, theirs) in own.iter().zip(&read) {
                    assert_eq!(ours, theirs, "{place}");
                }
                assert_eq!(own.len(), read.len(), "{place}");
            }
        }
    }
}
