//! New heads on trained bodies: any architecture, and networks that compression changed by hand.

use lopper_engine::layer::{BatchNorm, Linear, Window};
use lopper_engine::train::{Freezing, Layers};
use lopper_engine::{Graph, Layer, Param, Tensor};
use lopper_models::{
    Head, NewHead, Options, build, freeze_body, keep_outputs, last_layer, names, new_head, numbered_classes,
    with_outputs,
};

fn small(name: &str, head: Head) -> Graph {
    let options = Options { head, width: 0.1, ..Options::new(numbered_classes(10), [64, 64, 3]) };
    build(name, &options).unwrap()
}

fn three() -> Vec<String> {
    ["oak", "elm", "ash"].map(String::from).to_vec()
}

/// Parameters of `after` that are not those of `before`, by path.
fn changed(before: &Graph, after: &Graph) -> Vec<String> {
    let same = |path: &str, value: &Tensor| before.param(path).is_ok_and(|p| p.value().same_bits(value));
    let changed = after.params().filter(|(path, param)| !same(path, param.value()));
    changed.map(|(path, _)| path).collect()
}

#[test]
fn every_architecture_gets_a_new_last_layer() {
    for name in names() {
        // The largest networks are slow to build.
        if name.starts_with("vgg1") || name.starts_with("resnet1") || name.contains("110") {
            continue;
        }
        for head in [Head::Own, Head::Fastai] {
            let old = small(name, head);
            let new = new_head(&old, three(), Head::Own, Some(3)).unwrap();
            new.graph.check().unwrap();
            assert_eq!(new.graph.shapes([2, 64, 64, 3]).unwrap().last().unwrap(), &[2, 3], "{name}");
            let last = old.nodes()[last_layer(&old).unwrap()].name.clone();
            assert_eq!((new.drawn, new.replaced), (vec![last.clone()], vec![last.clone()]), "{name}");
            for path in changed(&old, &new.graph) {
                assert!(path.starts_with(&last), "{name}: {path}");
            }
            let own: usize =
                old.params().filter(|(p, _)| p.starts_with(&last)).map(|(_, p)| p.value().len()).sum();
            assert_eq!(new.kept, old.param_count() - own as u64);
            assert_eq!((new.graph.info.classes, new.graph.info.arch), (three(), name.to_string()));
        }
    }
}

#[test]
fn fastais_head_follows_the_last_image_of_any_body() {
    for (name, end) in [
        ("resnet8", "layer3.0.relu_1"),
        ("vgg8_bn", "features.18"),
        ("mobilenet_v2", "features.18.2"),
        ("small_net", "bn3"),
        ("student_net", "cnn.7.3"),
        ("cifar_resnet20", "layer3.2.relu_1"),
        ("densenet121", "relu"),
        ("efficientnet_b0", "features.8.2"),
        // The classes come from a convolution, or from a layer norm of means.
        ("squeezenet1_1", "features.12.concat"),
        ("convnext_tiny", "features.7.2.add"),
    ] {
        let expected = small(name, Head::Fastai);
        // Also onto fastai's own head, which it replaces.
        for old in [small(name, Head::Own), small(name, Head::Fastai)] {
            let new = new_head(&old, numbered_classes(10), Head::Fastai, Some(0)).unwrap().graph;
            assert_eq!(new.param_count(), expected.param_count(), "{name}");
            let pool = &new.nodes()[new.id("head.0.mp").unwrap()];
            assert_eq!(new.nodes()[pool.inputs[0]].name, end, "{name}");
            // The weights are those that the architecture draws with the same seed.
            assert!(changed(&expected, &new).is_empty(), "{name}: {:?}", changed(&expected, &new));
        }
    }
}

#[test]
fn a_new_head_depends_on_the_seed_alone() {
    let old = small("resnet8", Head::Own);
    let draw = |seed| new_head(&old, three(), Head::Own, seed).unwrap().graph;
    assert!(changed(&draw(Some(1)), &draw(Some(1))).is_empty());
    assert_eq!(changed(&draw(Some(1)), &draw(Some(2))), ["fc.weight", "fc.bias"]);
    let bound = 1.0 / (draw(None).param("fc.weight").unwrap().value().dim(1) as f32).sqrt();
    assert!(draw(Some(1)).param("fc.weight").unwrap().value().data().iter().all(|w| w.abs() <= bound));
    assert!(draw(None).param("fc.weight").unwrap().value().data().iter().all(|w| *w == 0.0));
}

/// Replaces `fc` by factors of rank 2, as factorization does.
fn factorized(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    let id = graph.id("fc").unwrap();
    let Layer::Linear(linear) = graph.nodes()[id].layer.clone() else { panic!("fc is linear") };
    let weight = Param::new(Tensor::full(&[2, linear.in_features()], 0.5));
    *graph.layer_mut(id) = Layer::Linear(Linear { weight, bias: None });
    graph.rename(id, "fc.0").unwrap();
    let weight = Param::new(Tensor::full(&[10, 2], 0.5));
    graph.insert_after(id, "fc.1", Layer::Linear(Linear { weight, bias: linear.bias })).unwrap();
    graph
}

#[test]
fn one_layer_replaces_both_factors() {
    let whole = small("resnet8", Head::Own);
    let old = factorized(&whole);
    let NewHead { graph, drawn, replaced, kept } = new_head(&old, three(), Head::Own, Some(3)).unwrap();
    assert_eq!((drawn, replaced), (vec!["fc".into()], vec!["fc.0".to_string(), "fc.1".into()]));
    // The same bits as without the detour.
    let direct = new_head(&whole, three(), Head::Own, Some(3)).unwrap();
    assert!(changed(&direct.graph, &graph).is_empty());
    assert_eq!((graph.nodes().len(), kept), (whole.nodes().len(), direct.kept));
    // A hidden layer with a bias is none of two factors: small_net's `fc1` stays.
    let hidden = new_head(&small("small_net", Head::Own), three(), Head::Own, Some(3)).unwrap();
    assert_eq!(hidden.replaced, ["fc2"]);
}

#[test]
fn convolutions_and_batch_norms_at_the_end_follow_the_classes() {
    let mut old = small("resnet8", Head::Own);
    let fc = old.id("fc").unwrap();
    old.insert_after(fc, "norm", Layer::BatchNorm(BatchNorm::new(10))).unwrap();
    let new = new_head(&old, three(), Head::Own, Some(3)).unwrap();
    assert_eq!(
        (new.drawn.as_slice(), new.graph.param("norm.bias").unwrap().value().len()),
        (&["fc".to_string(), "norm".into()][..], 3)
    );
    // A network that ends in a convolution: the body and its pooling alone.
    let mut net = lopper_models::builder::Builder::new([8, 8, 3], Some(1));
    net.conv("classes", lopper_models::builder::Conv::same(10, 3).bias())
        .adaptive_avg_pool("pool", 1)
        .flatten("flat");
    let mut conv = net.finish().unwrap();
    conv.info.input = [8, 8, 3];
    let new = new_head(&conv, three(), Head::Own, Some(3)).unwrap().graph;
    assert_eq!(new.param("classes.weight").unwrap().value().shape(), [3, 3, 3, 3]);
    assert_eq!(with_outputs(&conv, 7).unwrap().param("classes.bias").unwrap().value().len(), 7);
}

#[test]
fn outputs_of_a_convolution_are_kept() {
    let old = small("squeezenet1_1", Head::Own);
    let mut few = old.clone();
    keep_outputs(&mut few, &[7, 2]).unwrap();
    for slot in ["classifier.1.weight", "classifier.1.bias"] {
        let expected = old.param(slot).unwrap().value().select(0, &[7, 2]);
        assert!(few.param(slot).unwrap().value().same_bits(&expected), "{slot}");
    }
    assert_eq!(few.info.classes, ["7", "2"]);
    let mut normed = small("resnet8", Head::Own);
    let fc = normed.id("fc").unwrap();
    normed.insert_after(fc, "norm", Layer::BatchNorm(BatchNorm::new(10))).unwrap();
    let message = keep_outputs(&mut normed, &[1]).unwrap_err().to_string();
    assert!(
        message.contains("layer `fc`: expected") && message.contains("without a batch norm"),
        "{message}"
    );
}

#[test]
fn heads_that_cannot_be_found_are_named() {
    let mut sum = small("resnet8", Head::Own);
    let fc = sum.output();
    sum.push("sum", Layer::Add, &[fc, fc]).unwrap();
    let mut two = small("resnet8", Head::Own);
    let flat = two.id("flatten").unwrap();
    let other = two.push("other", Layer::Flatten, &[two.nodes()[flat].inputs[0]]).unwrap();
    two.push("joined", Layer::Concat, &[flat, other]).unwrap();
    for (graph, head, words) in [
        (&sum, Head::Own, "found layer `sum` (add)"),
        (&two, Head::Fastai, "through which everything goes; the network has none"),
    ] {
        let message = new_head(graph, three(), head, Some(0)).unwrap_err().to_string();
        assert!(message.contains("new head: ") && message.contains(words), "{message}");
    }
    let none = new_head(&sum, Vec::new(), Head::Own, Some(0)).unwrap_err().to_string();
    assert!(none.contains("at least one class"), "{none}");
    // The windows decide what belongs to the classifier.
    let vgg = small("vgg8_bn", Head::Own);
    assert!(
        vgg.nodes()
            .iter()
            .any(|n| matches!(&n.layer, Layer::Pool(p) if matches!(p.window, Window::Adaptive(_))))
    );
}

#[test]
fn resnet18_with_fastais_head_has_the_published_counts() {
    let options =
        Options { head: Head::Fastai, seed: None, ..Options::new(numbered_classes(43), [96, 96, 3]) };
    let mut graph = build("resnet18", &options).unwrap();
    let trainable = |layers: Vec<Layers>| {
        let mut graph = graph.clone();
        let _ = Freezing::new(layers, Vec::new()).freeze_at_start(&mut graph).unwrap();
        graph.trainable_count()
    };
    assert_eq!(graph.param_count(), 11_725_888);
    assert_eq!(trainable(Vec::new()), 11_725_888);
    assert_eq!(trainable(vec![Layers::Body]), 558_976);
    // The wrong grouping: everything but batch norms.
    assert_eq!(trainable(vec![Layers::Body, Layers::Head]), 12_672);
    assert_eq!(trainable(vec![Layers::Named("*".into())]), 12_672);
    // From an ImageNet body with a classifier of its own.
    let own = Options { head: Head::Own, seed: None, ..Options::new(numbered_classes(1000), [96, 96, 3]) };
    let imagenet = build("resnet18", &own).unwrap();
    let new = new_head(&imagenet, numbered_classes(43), Head::Fastai, None).unwrap();
    assert_eq!((new.graph.param_count(), new.kept), (11_725_888, 11_176_512));
    freeze_body(&mut graph).unwrap();
    assert_eq!(graph.trainable_count(), 558_976);
}
