//! The random networks of the property tests are valid, and varied enough to be useful tests.

use crate::support::random_graph::networks;
use lopper_engine::layer::Activation;
use lopper_engine::{Device, Layer};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::HashSet;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_random_network_is_valid(net in networks()) {
        let graph = net.graph();
        graph.check().unwrap();
        let [h, w, c] = net.image;
        let shapes = graph.shapes([2, h, w, c]).unwrap();
        prop_assert_eq!(shapes.last().unwrap(), &vec![2, net.head.classes]);
        let (first, second) = (net.graph(), net.graph());
        let images = net.images(2);
        let logits = first.logits(&Device::cpu(), images).unwrap();
        prop_assert!(logits.data().iter().all(|v| v.abs() < 1e4), "{:?}", logits.data());
        for ((path, a), (_, b)) in first.params().zip(second.params()) {
            prop_assert_eq!(a.value().data(), b.value().data(), "{}", path);
        }
    }
}

#[test]
fn random_networks_meet_every_layer_and_hard_case() {
    let mut runner = TestRunner::deterministic();
    let mut met = HashSet::new();
    for _ in 0..96 {
        let graph = networks().new_tree(&mut runner).unwrap().current().graph();
        let readers = graph.readers();
        for (id, node) in graph.nodes().iter().enumerate() {
            met.insert(node.layer.kind());
            if let Layer::BatchNorm(bn) = &node.layer {
                let any =
                    |t: &lopper_engine::Tensor, test: fn(f32) -> bool| t.data().iter().any(|&v| test(v));
                let cases = [
                    ("negative scale", any(bn.weight.value(), |v| v < 0.0)),
                    ("zero scale", any(bn.weight.value(), |v| v == 0.0)),
                    ("zero variance", any(&bn.running_var, |v| v == 0.0)),
                    ("tiny variance", any(&bn.running_var, |v| v > 0.0 && v < 1e-6)),
                    ("input read elsewhere", readers[node.inputs[0]].len() > 1),
                    ("norm read twice", readers[id].len() > 1),
                    (
                        "norm behind relu",
                        matches!(graph.nodes()[node.inputs[0]].layer, Layer::Activation(Activation::Relu)),
                    ),
                ];
                met.extend(cases.into_iter().filter(|(_, holds)| *holds).map(|(case, _)| case));
            }
        }
    }
    let wanted = "input,conv2d,grouped conv2d,linear,batch norm,relu,relu6,max pool,avg pool,adaptive avg pool,\
                  adaptive max pool,flatten,dropout,add,concat,pad shortcut,group norm,instance norm,layer norm,softmax,log softmax,negative scale,zero scale,\
                  zero variance,tiny variance,input read elsewhere,norm read twice,norm behind relu";
    let missing: Vec<&str> = wanted.split(',').filter(|case| !met.contains(case)).collect();
    assert!(missing.is_empty(), "never met: {missing:?}");
}
