//! Modules of PyTorch compute as the plan does.

use crate::runtime::{assert_close, compressed, floats, small};
use crate::support::python::Package;
use crate::support::random_graph::networks;
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, python};
use lopper_models::init;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::fs;

#[test]
fn modules_of_pytorch_give_the_plans_logits() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    let mut add = |name: String, graph: &Graph| {
        let path = folder.path().join(format!("{name}.py"));
        python::export(graph, &path).unwrap();
        let [h, w, c] = graph.info.input;
        let images = init::normal(3, "images", &[2, h, w, c], 1.0);
        let bytes =
            images.permute(&[0, 3, 1, 2]).data().iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        fs::write(path.with_extension("input"), bytes).unwrap();
        fs::write(path.with_extension("shape"), format!("2 {c} {h} {w}")).unwrap();
        let logits =
            Plan::new(graph, [2, h, w, c], &Device::cpu()).unwrap().run(images.data()).unwrap().to_vec();
        expected.push((name, logits));
    };
    for (seed, name) in
        (0..).zip(["resnet18", "mobilenet_v2", "efficientnet_lite0", "cifar_resnet20", "vgg8_bn"])
    {
        let graph = small(name, seed);
        add(name.to_string(), &graph);
        for (technique, graph) in compressed(&graph, seed) {
            add(format!("{name}_{technique}"), &graph);
        }
    }
    let mut runner = TestRunner::deterministic();
    for i in 0..30 {
        add(format!("random{i}"), &networks().new_tree(&mut runner).unwrap().current().graph());
    }
    if Package::Torch.run("torch_run.py", &[folder.path().to_str().unwrap()]).is_none() {
        return;
    }
    for (name, logits) in expected {
        assert_close(&name, &floats(&folder.path().join(format!("{name}.output"))), &logits);
    }
}
