//! Optimizers step each weight independently, decay what they should, and refuse a parameter that changed its shape.

use lopper_engine::layer::Linear;
use lopper_engine::train::{Optimizer, OptimizerConfig, Rates};
use lopper_engine::{Device, Error, Graph, Layer, Param, ParamGradients, Tensor};

const CONFIGS: [OptimizerConfig; 3] = [
    OptimizerConfig::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.1 },
    OptimizerConfig::Adam { betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.1 },
    OptimizerConfig::AdamW { betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.1 },
];

fn graph(weight: Tensor, bias: Tensor) -> Graph {
    let mut g = Graph::new(3);
    let flat = g.push("flatten", Layer::Flatten, &[0]).unwrap();
    let linear = Linear { weight: Param::new(weight), bias: Some(Param::new(bias)) };
    g.push("fc", Layer::Linear(linear), &[flat]).unwrap();
    g
}

fn gradients(weight: Tensor, bias: Tensor) -> ParamGradients {
    [("fc.weight".to_string(), weight), ("fc.bias".to_string(), bias)].into()
}

fn wave(shape: &[usize], phase: f32) -> Tensor {
    Tensor::from_fn(shape, |i| (i as f32 * 1.7 + phase).sin())
}

/// An optimizer steps each weight independently, so stepping and slicing commute.
#[test]
fn stepping_and_slicing_commute() {
    let device = Device::cpu();
    let keep = [3, 1];
    for config in CONFIGS {
        let mut optimizer = Optimizer::new(config);
        let mut whole = graph(wave(&[4, 3], 0.0), wave(&[4], 1.0));
        let first = gradients(wave(&[4, 3], 2.0), wave(&[4], 3.0));
        optimizer.step(&mut whole, &first, 0.1, &device).unwrap();

        let cut = |p: &str| whole.param(p).unwrap().value().select(0, &keep);
        let mut pruned = graph(cut("fc.weight"), cut("fc.bias"));
        let states = optimizer.states().into_iter().map(|(path, mut state)| {
            state.moments.iter_mut().for_each(|m| *m = m.select(0, &keep));
            (path, state)
        });
        let mut follower = Optimizer::new(config);
        follower.restore(states.collect(), &pruned).unwrap();

        let second = gradients(wave(&[4, 3], 4.0), wave(&[4], 5.0));
        let cut_second = second.iter().map(|(p, g)| (p.clone(), g.select(0, &keep))).collect();
        optimizer.step(&mut whole, &second, 0.1, &device).unwrap();
        follower.step(&mut pruned, &cut_second, 0.1, &device).unwrap();
        for (path, param) in pruned.params() {
            let expected = whole.param(&path).unwrap().value().select(0, &keep);
            assert!(param.value().same_bits(&expected), "{config:?} {path}");
        }
    }
}

#[test]
fn a_parameter_of_another_shape_is_an_error() {
    let device = Device::cpu();
    let mut optimizer = Optimizer::new(CONFIGS[0]);
    let step = |optimizer: &mut Optimizer, rows: usize, gradient_rows: usize| {
        let mut graph = graph(wave(&[rows, 3], 0.0), wave(&[rows], 1.0));
        let gradients = gradients(wave(&[gradient_rows, 3], 2.0), wave(&[gradient_rows], 3.0));
        optimizer.step(&mut graph, &gradients, 0.1, &device)
    };
    step(&mut optimizer, 4, 4).unwrap();
    let error = step(&mut optimizer, 3, 3).unwrap_err();
    assert!(matches!(&error, Error::Shape { .. }) && error.to_string().contains("fc.weight"), "{error}");
    assert!(step(&mut Optimizer::new(CONFIGS[0]), 4, 3).is_err());
}

#[test]
fn weight_decay_spares_vectors_on_request() {
    for config in CONFIGS {
        let mut graph = graph(Tensor::full(&[2, 3], 1.0), Tensor::full(&[2], 1.0));
        let still = gradients(Tensor::zeros(&[2, 3]), Tensor::zeros(&[2]));
        let mut optimizer = Optimizer::new(config).without_vector_decay();
        optimizer.step(&mut graph, &still, 0.1, &Device::cpu()).unwrap();
        assert!(graph.param("fc.weight").unwrap().value().data().iter().all(|&w| w < 1.0));
        assert_eq!(graph.param("fc.bias").unwrap().value().data(), [1.0; 2]);
    }
}

#[test]
fn a_schedule_sets_momentum_and_frozen_parameters_stay() {
    let device = Device::cpu();
    let sgd = OptimizerConfig::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 };
    let mut optimizer = Optimizer::new(sgd);
    let mut graph = graph(Tensor::zeros(&[1, 1]), Tensor::zeros(&[1]));
    graph.param_mut("fc.bias").unwrap().trainable = false;
    let one = gradients(Tensor::full(&[1, 1], 1.0), Tensor::full(&[1], 1.0));
    optimizer.step(&mut graph, &one, 1.0, &device).unwrap();
    let rates = Rates { learning_rate: 1.0, momentum: Some(0.5) };
    optimizer.step(&mut graph, &one, rates, &device).unwrap();
    // Velocities 1 and 0.5·1 + 1.
    assert_eq!(graph.param("fc.weight").unwrap().value().data(), [-2.5]);
    assert_eq!(graph.param("fc.bias").unwrap().value().data(), [0.0]);
}

#[test]
fn masked_weights_stay_zero() {
    let device = Device::cpu();
    for config in CONFIGS {
        let mut g = graph(wave(&[4, 3], 0.0), wave(&[4], 1.0));
        let mask = Tensor::from_fn(&[4, 3], |i| f32::from(i % 3 != 1));
        g.param_mut("fc.weight").unwrap().set_mask(Some(mask.clone())).unwrap();
        let mut weight = wave(&[4, 3], 2.0);
        weight.data_mut()[1] = f32::NAN;
        let mut optimizer = Optimizer::new(config);
        for _ in 0..3 {
            let gradients = gradients(weight.clone(), wave(&[4], 3.0));
            optimizer.step(&mut g, &gradients, 0.1, &device).unwrap();
        }
        for (&w, &kept) in g.param("fc.weight").unwrap().value().data().iter().zip(mask.data()) {
            assert_eq!(w != 0.0, kept == 1.0, "{config:?}: {w}");
        }
    }
}
