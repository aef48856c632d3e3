//! Execution of a graph: what it computes, keeps and refuses.

use lopper_engine::layer::{Activation, BatchNorm, CompactConv2d, Conv2d, Linear, Pool, Window};
use lopper_engine::{Device, Error, Graph, Layer, Mode, Param, Tape, Tensor};
use lopper_kernels::params::CompactIndex;
use lopper_kernels::reference;

fn wave(shape: &[usize], phase: f32) -> Tensor {
    Tensor::from_fn(shape, |i| (i as f32 * 1.3 + phase).sin())
}

fn conv(weight: Tensor, bias: Option<Tensor>) -> Conv2d {
    let bias = bias.map(Param::new);
    Conv2d {
        weight: Param::new(weight),
        bias,
        stride: [1; 2],
        padding: [1; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
    }
}

/// Builds two ReLUs of the image, one over channels that the other doubles, and a node that nothing reads.
fn branches() -> Graph {
    let mut g = Graph::new(2);
    let relu = g.push("relu", Layer::Activation(Activation::Relu), &[0]).unwrap();
    let six = g.push("relu6", Layer::Activation(Activation::Relu6), &[0]).unwrap();
    // With the two rows of the test it would refuse to train if it ran: there is one value per channel.
    let pooled = g.push("pool", Layer::Pool(Pool::average(Window::Adaptive([1, 1]))), &[relu]).unwrap();
    g.push("unread", Layer::BatchNorm(BatchNorm::new(2)), &[pooled]).unwrap();
    g.push("sum", Layer::Add, &[relu, six, relu]).unwrap();
    g
}

#[test]
fn taps_are_kept_and_unread_nodes_do_not_run() {
    let (g, device) = (branches(), Device::cpu());
    let image = Tensor::from_vec(&[1, 1, 2, 2], vec![-1.0, 2.0, 7.0, 0.5]).unwrap();
    let six = g.id("relu6").unwrap();
    let mut tape = Tape::new(&device);
    let pass = g.forward(&mut tape, Mode::Train, image.clone(), &[six, 0, six]).unwrap();
    assert_eq!(pass.output.value().data(), [0.0, 6.0, 20.0, 1.5]);
    let taps: Vec<&[f32]> = pass.taps.iter().map(|t| t.value().data()).collect();
    let clipped: &[f32] = &[0.0, 2.0, 6.0, 0.5];
    assert_eq!(taps, [clipped, image.data(), clipped]);
    assert!(g.forward(&mut tape, Mode::Train, image.clone(), &[99]).is_err());
    let unread = g.id("unread").unwrap();
    let error = g.forward(&mut tape, Mode::Train, image, &[unread]).err().expect("now it is read");
    assert!(error.to_string().starts_with("layer `unread`: batch norm: training needs more"), "{error}");
}

#[test]
fn errors_name_the_layer() {
    let mut g = Graph::new(3);
    g.push("stem", Layer::Conv2d(conv(wave(&[4, 3, 3, 3], 0.0), None)), &[0]).unwrap();
    g.push("head.fc", Layer::Linear(Linear { weight: Param::new(wave(&[2, 9], 0.0)), bias: None }), &[1])
        .unwrap();
    let device = Device::cpu();
    let error = g.logits(&device, Tensor::zeros(&[1, 4, 4, 3])).unwrap_err().to_string();
    assert_eq!(error, "layer `head.fc`: linear: expected [N, 9], found [1, 4, 4, 4]");
    for wrong in [&[1, 4, 4, 2][..], &[4, 4, 3], &[0, 4, 4, 3], &[1, 0, 4, 3]] {
        assert!(matches!(g.logits(&device, Tensor::zeros(wrong)), Err(Error::Node { .. })), "{wrong:?}");
    }
}

/// Returns a compact convolution from 5 channels to 4, of which 3 and 2 are live. A channel of ones carries its border.
fn compact() -> CompactConv2d {
    CompactConv2d {
        conv: conv(wave(&[2, 3, 3, 4], 0.0), Some(wave(&[2], 1.0))),
        inputs: vec![0, 2, 3],
        outputs: vec![1, 3],
        in_width: 5,
        carrier: true,
        fill: vec![0.25, 0.0, -1.5, 0.0],
    }
}

#[test]
fn a_compact_convolution_matches_the_reference() {
    let layer = compact();
    let x = wave(&[2, 4, 5, 5], 2.0);
    let g = layer.geometry(x.shape()).unwrap();
    let index = CompactIndex { inputs: layer.inputs.clone(), outputs: layer.outputs.clone(), carrier: true };
    let doubles = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let inner = layer.conv.bias.as_ref().unwrap().value().data();
    let bias = doubles(&[0.0, inner[0], 0.0, inner[1]]);
    let (w, fill) = (doubles(layer.conv.weight.value().data()), doubles(&layer.fill));
    let mut expected = vec![0.0; g.y_len()];
    let x64 = doubles(x.data());
    reference::conv2d_compact_forward(&g, &x64, &index, &w, &fill, Some(&bias), &mut expected);

    let mut graph = Graph::new(5);
    graph.push("compact", Layer::CompactConv2d(layer), &[0]).unwrap();
    let y = graph.logits(&Device::cpu(), x).unwrap();
    assert_eq!(y.shape(), g.y_shape());
    for (i, (&found, expected)) in y.data().iter().zip(expected).enumerate() {
        assert!((f64::from(found) - expected).abs() < 1e-5, "y[{i}]: {found}, not {expected}");
    }
}

#[test]
fn a_compact_convolution_refuses_only_gradients() {
    let mut graph = Graph::new(5);
    graph.push("compact", Layer::CompactConv2d(compact()), &[0]).unwrap();
    let images = wave(&[1, 4, 4, 5], 0.0);
    let run = |graph: &Graph| {
        graph.forward(&mut Tape::new(&Device::cpu()), Mode::Eval, images.clone(), &[]).map(|_| ())
    };
    let error = run(&graph).unwrap_err().to_string();
    assert!(error.contains("layer `compact`") && error.contains("for inference"), "{error}");
    lopper_engine::train::freeze(&mut graph, 2);
    run(&graph).unwrap();
}

/// The gradient of the images is that of the same operations without a graph, bit for bit, and images that are a constant
/// have the same output.
#[test]
fn images_may_have_a_gradient() {
    let mut g = Graph::new(3);
    let filters = conv(wave(&[5, 3, 3, 3], 0.0), Some(wave(&[5], 1.0)));
    let fc = Linear { weight: Param::new(wave(&[2, 80], 0.5)), bias: None };
    g.push("conv", Layer::Conv2d(filters.clone()), &[0]).unwrap();
    g.push("relu", Layer::Activation(Activation::Relu), &[1]).unwrap();
    g.push("flatten", Layer::Flatten, &[2]).unwrap();
    g.push("fc", Layer::Linear(fc.clone()), &[3]).unwrap();
    let (device, images) = (Device::cpu(), wave(&[2, 4, 4, 3], 2.0));

    let mut tape = Tape::new(&device);
    let leaf = tape.leaf(images.clone());
    let pass = g.forward_from(&mut tape, Mode::Eval, leaf.clone(), &[0]).unwrap();
    assert!(pass.taps[0].value().same_bits(&images));
    let (output, loss) = (pass.output.value().clone(), tape.sum(&pass.output).unwrap());
    let found = tape.backward(&loss).unwrap().take(&leaf).expect("a leaf has a gradient");

    let mut tape = Tape::new(&device);
    let leaf = tape.leaf(images.clone());
    let w = tape.constant(filters.weight.value().clone());
    let b = tape.constant(filters.bias.as_ref().unwrap().value().clone());
    let x = tape.conv2d(&leaf, &w, Some(&b), filters.options()).unwrap();
    let x = tape.activation(&x, Activation::Relu).unwrap();
    let x = tape.flatten(&x).unwrap();
    let w = tape.constant(fc.weight.value().clone());
    let x = tape.linear(&x, &w, None).unwrap();
    let loss = tape.sum(&x).unwrap();
    let expected = tape.backward(&loss).unwrap().take(&leaf).unwrap();
    assert_eq!(found.shape(), images.shape());
    assert!(found.same_bits(&expected) && found.data().iter().any(|&g| g != 0.0));
    assert!(g.logits(&device, images).unwrap().same_bits(&output));
}
