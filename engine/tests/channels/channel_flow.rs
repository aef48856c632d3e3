//! Channel flow: which channels are tied, which are constant, and which units can go.

use crate::support::Random;
use lopper_engine::channels::{ChannelFlow, Frozen, Group, State, constants, removable, states};
use lopper_engine::layer::{Activation, BatchNorm, Conv2d, FixedWindow, Linear, Pool};
use lopper_engine::{Graph, Layer, Param, Tensor};

/// A convolution from `c` to `o` channels, without bias, that preserves the image size (for odd `k`).
fn conv(o: usize, k: usize, c: usize, groups: usize) -> Layer {
    let weight = Param::new(Random(1).tensor(&[o, k, k, c / groups]));
    let (stride, padding, dilation) = ([1; 2], [k / 2; 2], [1; 2]);
    Layer::Conv2d(Conv2d { weight, bias: None, stride, padding, extra_padding: [0; 2], dilation, groups })
}

/// A linear layer with bias.
fn linear(outputs: usize, inputs: usize) -> Layer {
    let weight = Param::new(Random(2).tensor(&[outputs, inputs]));
    Layer::Linear(Linear { weight, bias: Some(Param::new(Random(3).tensor(&[outputs]))) })
}

/// A batch norm that differs from the identity.
fn bn(channels: usize) -> Layer {
    let mut bn = BatchNorm::new(channels);
    bn.weight = Param::new(Random(4).tensor(&[channels]));
    bn.bias = Param::new(Random(5).tensor(&[channels]));
    bn.running_mean = Random(6).tensor(&[channels]);
    bn.running_var = Tensor::from_fn(&[channels], |i| 0.5 + i as f32);
    Layer::BatchNorm(bn)
}

/// For each group, the names of its layers, the number of units, and the reason why it is frozen.
fn summary(graph: &Graph) -> Vec<(String, usize, Option<Frozen>)> {
    let flow = ChannelFlow::new(graph).unwrap();
    let names =
        |g: &Group| g.layers.iter().map(|&l| graph.nodes()[l].name.as_str()).collect::<Vec<_>>().join(" ");
    flow.groups().iter().map(|g| (names(g), g.units.len(), g.frozen)).collect()
}

#[test]
fn residual_sums_and_flatten_tie_their_channels() {
    let mut g = Graph::new(3);
    g.info.input = [4, 4, 3];
    let a = g.push("a", conv(5, 3, 3, 1), &[0]).unwrap();
    let b = g.push("b", conv(7, 3, 5, 1), &[a]).unwrap();
    let c = g.push("c", conv(5, 3, 7, 1), &[b]).unwrap();
    let sum = g.push("sum", Layer::Add, &[a, c]).unwrap();
    let norm = g.push("bn", bn(5), &[sum]).unwrap();
    let flat = g.push("flat", Layer::Flatten, &[norm]).unwrap();
    g.push("fc", linear(2, 80), &[flat]).unwrap();
    let output = Some("the network's output");
    assert_eq!(summary(&g), [("a c".into(), 5, None), ("b".into(), 7, None), ("fc".into(), 2, output)]);
    let flow = ChannelFlow::new(&g).unwrap();
    let mut removed = vec![false; flow.unit_count()];
    removed[flow.units(a)[1]] = true;
    let kept = flow.kept(flat, &removed);
    assert_eq!(kept, (0..80).filter(|i| i % 5 != 1).collect::<Vec<_>>());
}

#[test]
fn depthwise_and_grouped_convolutions_keep_equal_groups() {
    let mut g = Graph::new(3);
    g.info.input = [4, 4, 3];
    let a = g.push("a", conv(4, 1, 3, 1), &[0]).unwrap();
    let d = g.push("depthwise", conv(8, 3, 4, 4), &[a]).unwrap();
    let e = g.push("grouped", conv(6, 3, 8, 2), &[d]).unwrap();
    g.push("out", conv(2, 1, 6, 1), &[e]).unwrap();
    // `grouped` ties its inputs 0..4 with 4..8; `depthwise`, with two filters per channel of `a`, ties 0 with 1.
    assert_eq!(summary(&g)[0], ("a depthwise".into(), 2, None));
    assert_eq!(summary(&g)[1], ("grouped".into(), 3, None));
    let flow = ChannelFlow::new(&g).unwrap();
    assert_eq!(flow.groups()[0].units.iter().map(|u| u.channel).collect::<Vec<_>>(), [0, 1]);
    assert!(flow.groups().iter().all(|group| group.is_uniform(&flow)));
}

/// `a` has both channels of one unit, and one of the other: the widths depend on which of them stays.
#[test]
fn a_grouped_convolution_may_tie_unequal_units() {
    let mut g = Graph::new(2);
    g.info.input = [4, 4, 2];
    let a = g.push("a", conv(3, 1, 2, 1), &[0]).unwrap();
    let pad = g.push("pad", Layer::PadShortcut { stride: 1, before: 0, after: 1 }, &[a]).unwrap();
    let b = g.push("b", conv(4, 1, 3, 1), &[a]).unwrap();
    let sum = g.push("sum", Layer::Add, &[pad, b]).unwrap();
    let grouped = g.push("grouped", conv(2, 1, 4, 2), &[sum]).unwrap();
    g.push("out", conv(2, 1, 2, 1), &[grouped]).unwrap();
    assert_eq!(summary(&g)[0], ("a b".into(), 2, None));
    let flow = ChannelFlow::new(&g).unwrap();
    assert!(!flow.groups()[0].is_uniform(&flow));
}

#[test]
fn a_padded_shortcut_ties_its_input_channels_and_concat_ties_none() {
    let mut g = Graph::new(3);
    g.info.input = [4, 4, 3];
    let a = g.push("a", conv(2, 3, 3, 1), &[0]).unwrap();
    let b = g.push("b", conv(4, 3, 2, 1), &[a]).unwrap();
    let pad = g.push("pad", Layer::PadShortcut { stride: 1, before: 1, after: 1 }, &[a]).unwrap();
    let sum = g.push("sum", Layer::Add, &[b, pad]).unwrap();
    let cat = g.push("cat", Layer::Concat, &[sum, 0]).unwrap();
    g.push("out", conv(2, 1, 7, 1), &[cat]).unwrap();
    let output = Some("the network's output");
    assert_eq!(summary(&g), [("a b".into(), 2, None), ("b".into(), 2, None), ("out".into(), 2, output)]);
    let flow = ChannelFlow::new(&g).unwrap();
    assert_eq!(flow.groups()[1].units.iter().map(|u| u.channel).collect::<Vec<_>>(), [0, 3]);
}

#[test]
fn a_sum_with_the_image_is_frozen() {
    let mut g = Graph::new(3);
    g.info.input = [4, 4, 3];
    let a = g.push("a", conv(3, 3, 3, 1), &[0]).unwrap();
    let sum = g.push("sum", Layer::Add, &[a, 0]).unwrap();
    g.push("out", conv(2, 1, 3, 1), &[sum]).unwrap();
    assert_eq!(summary(&g)[0], ("a".into(), 3, Some("the image")));
    g.info.input = [0; 3];
    assert!(ChannelFlow::new(&g).unwrap_err().to_string().contains("info.input"));
}

/// conv (filter 0 zero, bias 0.5 and 7) → γ = 2, β = 1.
fn dead_filter() -> Graph {
    let mut g = Graph::new(1);
    g.info.input = [4, 4, 1];
    let a = g.push("a", conv(2, 3, 1, 1), &[0]).unwrap();
    g.push("bn", bn(2), &[a]).unwrap();
    g.param_mut("a.weight").unwrap().update(|w| w[..9].fill(0.0));
    let Layer::Conv2d(conv) = g.layer_mut(a) else { unreachable!() };
    conv.bias = Some(Param::new(Tensor::from_vec(&[2], vec![0.5, 7.0]).unwrap()));
    g.param_mut("bn.weight").unwrap().update(|w| w.fill(2.0));
    g.param_mut("bn.bias").unwrap().update(|w| w.fill(1.0));
    g.buffers_mut().for_each(|(path, t)| {
        t.data_mut().fill(if path == "bn.running_mean" { 0.25 } else { 1.0 - 1e-5 });
    });
    g
}

#[test]
fn a_dead_filter_is_a_constant_after_batch_norm_and_relu() {
    let mut g = dead_filter();
    g.push("relu", Layer::Activation(Activation::Relu), &[2]).unwrap();
    let known = constants(&g).unwrap();
    assert_eq!(known[1], [Some(0.5), None]);
    assert!((known[3][0].unwrap() - 1.5).abs() < 1e-6);
    assert_eq!(known[3][1], None);
}

#[test]
fn padding_ends_nonzero_constants() {
    for (shift, padded) in [(1.0, None), (-2.0, Some(0.0))] {
        let mut g = dead_filter();
        g.param_mut("bn.bias").unwrap().update(|w| w.fill(shift));
        let relu = g.push("relu", Layer::Activation(Activation::Relu), &[2]).unwrap();
        let next = g.push("next", conv(1, 3, 2, 1), &[relu]).unwrap();
        // The live channel has weight 0, so only the dead one matters.
        g.param_mut("next.weight")
            .unwrap()
            .update(|w| w.iter_mut().skip(1).step_by(2).for_each(|w| *w = 0.0));
        let average = Layer::Pool(Pool::average(FixedWindow::square(3, 1, 1)));
        let pool = g.push("pool", average, &[relu]).unwrap();
        let known = constants(&g).unwrap();
        assert_eq!((known[next][0], known[pool][0]), (padded, padded));
        let Layer::Conv2d(conv) = g.layer_mut(next) else { unreachable!() };
        conv.padding = [0, 0];
        assert!(constants(&g).unwrap()[next][0].is_some(), "without padding every window sees the constant");
    }
}

#[test]
fn sums_and_features_of_constants_are_constant() {
    let mut g = dead_filter();
    let sum = g.push("sum", Layer::Add, &[1, 2]).unwrap();
    let flat = g.push("flat", Layer::Flatten, &[sum]).unwrap();
    let fc = g.push("fc", linear(1, 32), &[flat]).unwrap();
    let known = constants(&g).unwrap();
    let (conv, norm) = (known[1][0].unwrap(), known[2][0].unwrap());
    assert_eq!(known[sum], [Some(conv + norm), None]);
    assert_eq!(known[flat].iter().filter(|c| **c == Some(conv + norm)).count(), 16);
    assert_eq!(known[fc], [None]);
}

/// conv `a` [2] ─ conv `b` [2] ─ conv `out`, where `out` has no weight for b[1], and only b[1] has one for a[0].
fn unread() -> Graph {
    let mut g = Graph::new(1);
    g.info.input = [4, 4, 1];
    let a = g.push("a", conv(2, 3, 1, 1), &[0]).unwrap();
    let b = g.push("b", conv(2, 1, 2, 1), &[a]).unwrap();
    g.push("out", conv(3, 1, 2, 1), &[b]).unwrap();
    g.param_mut("b.weight").unwrap().update(|w| w.copy_from_slice(&[0.0, 1.0, 1.0, 1.0]));
    g.param_mut("out.weight").unwrap().update(|w| w.iter_mut().skip(1).step_by(2).for_each(|w| *w = 0.0));
    g
}

#[test]
fn units_that_only_unread_filters_weigh_are_unread() {
    let mut g = unread();
    let found = |g: &Graph| {
        let flow = ChannelFlow::new(g).unwrap();
        let states = states(g, &flow).unwrap();
        let of = |node: usize| flow.units(node).iter().map(|&unit| states[unit]).collect::<Vec<_>>();
        [of(1), of(2)]
    };
    assert_eq!(found(&g), [[State::Unread, State::Live], [State::Live, State::Unread]]);
    g.param_mut("out.weight").unwrap().update(|w| w[1] = 1.0);
    assert_eq!(found(&g), [[State::Live; 2]; 2]);
}

#[test]
fn a_group_keeps_one_unit_and_a_frozen_one_keeps_all() {
    let mut g = unread();
    g.param_mut("out.weight").unwrap().update(|w| w.fill(0.0));
    let flow = ChannelFlow::new(&g).unwrap();
    let removed = removable(&flow, &states(&g, &flow).unwrap());
    let kept: Vec<usize> = (0..4).map(|node| flow.kept(node, &removed).len()).collect();
    assert_eq!(kept, [1, 1, 1, 3]);
}

/// An infinity or NaN of the network stays in it: it is no constant, and it reads what it multiplies.
#[test]
fn what_is_not_finite_is_not_constant() {
    for poison in [f32::INFINITY, f32::NAN] {
        let mut g = dead_filter();
        let next = g.push("next", conv(2, 1, 2, 1), &[2]).unwrap();
        g.push("out", conv(1, 1, 2, 1), &[next]).unwrap();
        let state = |g: &Graph| {
            let flow = ChannelFlow::new(g).unwrap();
            states(g, &flow).unwrap()[flow.units(1)[0]]
        };
        assert!(matches!(state(&g), State::Constant(_)));
        let mut weight = g.clone();
        weight.param_mut("next.weight").unwrap().update(|w| w[3] = poison);
        assert_eq!(state(&weight), State::Uneven { reader: next });
        g.param_mut("bn.bias").unwrap().update(|b| b[0] = poison);
        assert_eq!(constants(&g).unwrap()[2], [None, None]);
        assert_eq!(state(&g), State::Uneven { reader: next });
    }
}
