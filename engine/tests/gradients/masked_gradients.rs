//! Gradients of masked convolutions and linear layers: nothing is computed for what the mask drops, unless it is asked for, and the rest is
//! what it is without a mask.

use lopper_engine::layer::{Activation, Conv2d, Linear, Pool, Window};
use lopper_engine::tape::{Mode, Tape};
use lopper_engine::{Device, Graph, Layer, Param, ParamGradients, Tensor};

/// Values in −1..1 that look random.
fn noise(shape: &[usize], seed: usize) -> Tensor {
    Tensor::from_fn(shape, |i| {
        (((i + 1000 * seed) as f64 * 0.618_033_988_749_895).fract() * 2.0 - 1.0) as f32
    })
}

fn conv(o: usize, k: usize, c: usize, seed: usize) -> Layer {
    let (weight, bias) = (Param::new(noise(&[o, k, k, c], seed)), Some(Param::new(noise(&[o], seed + 1))));
    Layer::Conv2d(Conv2d {
        weight,
        bias,
        stride: [1; 2],
        padding: [k / 2; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
    })
}

/// Whether a mask keeps the weight of a filter and an input channel.
type Keeps = fn(usize, usize) -> bool;

/// `a` (3×3, 24 → 40) → ReLU → `b` (3×3, 40 → 32) → ReLU → `c` (1×1, 32 → 20) → mean → `d` (20 → 9), with the masks `masks`.
fn network(masks: &[(&str, Keeps)]) -> Graph {
    let mut graph = Graph::new(24);
    let relu = || Layer::Activation(Activation::Relu);
    let layers = [
        ("a", conv(40, 3, 24, 1)),
        ("ra", relu()),
        ("b", conv(32, 3, 40, 3)),
        ("rb", relu()),
        ("c", conv(20, 1, 32, 5)),
        ("mean", Layer::Pool(Pool::average(Window::Global))),
        ("flat", Layer::Flatten),
        ("d", Layer::Linear(Linear { weight: Param::new(noise(&[9, 20], 9)), bias: None })),
    ];
    for (last, (name, layer)) in layers.into_iter().enumerate() {
        graph.push(name, layer, &[last]).unwrap();
    }
    for (name, live) in masks {
        let weight = graph.param_mut(&format!("{name}.weight")).unwrap();
        let shape = weight.value().shape().to_vec();
        let (filter, c) = (shape[1..].iter().product::<usize>(), shape[shape.len() - 1]);
        let mask = Tensor::from_fn(&shape, |i| f32::from(live(i / filter, i % c)));
        weight.set_mask(Some(mask)).unwrap();
    }
    graph
}

/// The gradients of a loss.
fn gradients(graph: &Graph, threads: usize, whole: bool) -> ParamGradients {
    let device = Device::open("cpu", Some(threads)).unwrap();
    let mut tape = Tape::new(&device).with_masked_gradients(whole);
    let pass = graph.forward(&mut tape, Mode::Train, noise(&[2, 9, 11, 24], 7), &[]).unwrap();
    let target = tape.constant(noise(pass.output.shape(), 8));
    let loss = tape.mse(&pass.output, &target).unwrap();
    pass.gradients(tape.backward(&loss).unwrap())
}

/// Asserts that `found` is `expected` where `counts` and zero elsewhere.
#[track_caller]
fn assert_where(name: &str, found: &Tensor, expected: &Tensor, counts: impl Fn(usize) -> bool) {
    let largest = expected.data().iter().fold(0.0f32, |most, g| most.max(g.abs()));
    assert!(largest > 0.0, "{name} has no gradient");
    for (i, (found, expected)) in found.data().iter().zip(expected.data()).enumerate() {
        match counts(i) {
            true => assert!((found - expected).abs() <= 1e-4 * largest, "{name} {i}: {found}, {expected}"),
            false => assert_eq!(*found, 0.0, "{name} {i}: {expected} without a mask"),
        }
    }
}

/// Dead filters, dead inputs, both, and single weights in their places, in every layer.
#[test]
fn gradients_are_zero_where_the_mask_is_and_unchanged_elsewhere() {
    let every: [(&str, Keeps); 5] = [
        ("filters", |filter, _| filter % 2 == 0),
        ("inputs", |_, input| input % 3 != 0),
        ("both", |filter, input| filter % 4 == 1 && input % 2 == 1),
        ("weights", |filter, input| (filter * 7 + input * 5) % 3 == 0),
        ("weights of live filters", |filter, input| filter % 2 == 0 && (filter + input) % 3 == 0),
    ];
    for (pattern, live) in every {
        let masks = [("a", live), ("b", live), ("c", live), ("d", live)];
        let masked = network(&masks);
        let mut zeros = masked.clone();
        for (name, _) in masks {
            zeros.param_mut(&format!("{name}.weight")).unwrap().set_mask(None).unwrap();
        }
        let (found, whole) = (gradients(&masked, 2, false), gradients(&masked, 2, true));
        let expected = gradients(&zeros, 2, false);
        for (path, gradient) in &found {
            let mask = masked.param(path).unwrap().mask();
            let what = format!("{pattern}, {path}");
            let counts = |i: usize| mask.is_none_or(|mask| mask.data()[i] == 1.0);
            assert_where(&what, gradient, &expected[path], counts);
            assert_where(&what, &whole[path], &expected[path], |_| true);
            if let Some(mask) = mask {
                let dropped = whole[path].data().iter().zip(mask.data()).filter(|(_, m)| **m == 0.0);
                assert!(dropped.clone().any(|(g, _)| *g != 0.0), "{what}: dropped weights have gradients");
            }
        }
        for threads in [1, 3] {
            let other = gradients(&masked, threads, false);
            assert!(found.iter().all(|(path, g)| g.same_bits(&other[path])), "{pattern}: {threads} threads");
        }
    }
}

#[test]
fn a_layer_without_weights_has_a_gradient_of_zeros() {
    let graph = network(&[("b", |_, _| false)]);
    let found = gradients(&graph, 2, false);
    for path in ["a.weight", "a.bias", "b.weight"] {
        assert!(found[path].data().iter().all(|&g| g == 0.0), "{path}");
    }
    assert!(found["b.bias"].data().iter().any(|&g| g != 0.0));
}

/// The pattern of a mask is derived again when the mask changes.
#[test]
fn a_new_mask_has_a_new_pattern() {
    let mut weight = Param::new(noise(&[4, 1, 1, 2], 1));
    assert!(weight.pattern().is_none());
    let mask = |live: usize| Tensor::from_fn(&[4, 1, 1, 2], |i| f32::from(i / 2 < live));
    for live in [1, 3] {
        weight.set_mask(Some(mask(live))).unwrap();
        assert_eq!(weight.pattern().unwrap().filters().len(), live);
    }
    assert_eq!(weight.select(0, &[0, 3]).pattern().unwrap().filters(), [0]);
    weight.replace(noise(&[2, 1, 1, 2], 2), None).unwrap();
    assert!(weight.pattern().is_none());
}
