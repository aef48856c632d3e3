//! Channel flow through products, gatherings, layer norms and group norms: ties, constants, and exact removal.

use crate::support::{Random, images};
use lopper_engine::channels::{
    ChannelFlow, Removal, State, constants, keep_parts, removable, remove, states,
};
use lopper_engine::layer::{Activation, Conv2d, GroupNorm, LayerNorm, PRelu, Pool, Window};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Layer, NodeId, Param, Tensor};

/// A convolution of single pixels with bias.
fn conv(o: usize, c: usize, seed: u64) -> Layer {
    let weight = Param::new(Random(seed).tensor(&[o, 1, 1, c]));
    let bias = Some(Param::new(Random(seed + 1).tensor(&[o])));
    let (stride, padding, dilation) = ([1; 2], [0; 2], [1; 2]);
    Layer::Conv2d(Conv2d { weight, bias, stride, padding, extra_padding: [0; 2], dilation, groups: 1 })
}

fn network(input: [usize; 3]) -> Graph {
    let mut graph = Graph::new(input[2]);
    graph.info.input = input;
    graph
}

/// Sets the weights of filter `o` of `node`, of four, to zero, and its bias to `bias`.
fn kill(graph: &mut Graph, node: NodeId, o: usize, bias: f32) {
    let name = graph.nodes()[node].name.clone();
    graph.param_mut(&format!("{name}.weight")).unwrap().update(|values| {
        let size = values.len() / 4;
        values[o * size..(o + 1) * size].fill(0.0);
    });
    graph.param_mut(&format!("{name}.bias")).unwrap().update(|values| values[o] = bias);
}

/// Removes what can be removed from `graph`.
fn pruned(graph: &Graph) -> (Graph, Removal) {
    let flow = ChannelFlow::new(graph).unwrap();
    let (known, states) = (constants(graph).unwrap(), states(graph, &flow).unwrap());
    let mut pruned = graph.clone();
    let removal = remove(&mut pruned, &flow, &known, &states, &removable(&flow, &states)).unwrap();
    pruned.check_layers().unwrap();
    (pruned, removal)
}

/// The largest difference of the outputs of two networks, and of the plan of the second.
fn difference(a: &Graph, b: &Graph) -> f32 {
    let images = images(a, 2, 9);
    let shape: [usize; 4] = images.shape().try_into().unwrap();
    let logits = |graph: &Graph| graph.logits(&Device::cpu(), images.clone()).unwrap();
    let mut plan = Plan::new(b, shape, &Device::cpu()).unwrap();
    let planned = Tensor::from_slice(logits(b).shape(), plan.run(images.data()).unwrap()).unwrap();
    let with = |other: &Tensor| logits(a).max_difference(other).unwrap();
    with(&logits(b)).max(with(&planned))
}

/// An image of 4 channels `x`, multiplied by a gate from its mean, and read by a convolution.
fn squeezed() -> (Graph, [NodeId; 3]) {
    let mut g = network([3, 3, 3]);
    let x = g.push("x", conv(4, 3, 1), &[0]).unwrap();
    let mean = g.push("mean", Layer::Pool(Pool::average(Window::Global)), &[x]).unwrap();
    let reduce = g.push("reduce", conv(2, 4, 3), &[mean]).unwrap();
    let expand = g.push("expand", conv(4, 2, 5), &[reduce]).unwrap();
    let gate = g.push("gate", Layer::Activation(Activation::Sigmoid), &[expand]).unwrap();
    let product = g.push("product", Layer::Multiply, &[x, gate]).unwrap();
    g.push("out", conv(2, 4, 7), &[product]).unwrap();
    (g, [x, expand, product])
}

#[test]
fn a_gate_is_tied_to_what_it_scales() {
    let (graph, [x, expand, product]) = squeezed();
    let flow = ChannelFlow::new(&graph).unwrap();
    assert_eq!((flow.units(x), flow.units(x)), (flow.units(expand), flow.units(product)));
    let layers: Vec<Vec<String>> = flow.groups().iter().map(|group| group.layer_names(&graph)).collect();
    assert_eq!(layers, [vec!["x".to_string(), "expand".into()], vec!["reduce".into()], vec!["out".into()]]);
}

#[test]
fn a_product_is_zero_if_a_factor_is() {
    let (mut graph, [x, expand, product]) = squeezed();
    kill(&mut graph, x, 1, 0.0);
    kill(&mut graph, x, 2, 0.5);
    let known = constants(&graph).unwrap();
    assert_eq!(known[product], [None, Some(0.0), None, None], "a constant times a gate is no constant");
    kill(&mut graph, expand, 2, 0.0);
    assert_eq!(constants(&graph).unwrap()[product][2], Some(0.25), "half of a half");
    let flow = ChannelFlow::new(&graph).unwrap();
    let states = states(&graph, &flow).unwrap();
    let of = |channel: usize| states[flow.units(x)[channel]];
    assert_eq!((of(0), of(1), of(2)), (State::Live, State::Zero, State::Constant(0.5)));
    let (cut, removal) = pruned(&graph);
    assert_eq!(removal.removed.iter().filter(|&&removed| removed).count(), 2);
    assert_eq!(cut.param("expand.weight").unwrap().value().shape(), [2, 1, 1, 2]);
    assert!(difference(&graph, &cut) < 1e-5);
}

#[test]
fn gathered_channels_are_renumbered() {
    let mut graph = network([3, 3, 3]);
    let x = graph.push("x", conv(4, 3, 1), &[0]).unwrap();
    let all = graph.push("all", Layer::Gather { channels: vec![3, 1, 0, 2, 1] }, &[x]).unwrap();
    graph.push("out", conv(2, 5, 3), &[all]).unwrap();
    let flow = ChannelFlow::new(&graph).unwrap();
    let units = flow.units(x);
    assert_eq!(flow.units(all), [3, 1, 0, 2, 1].map(|channel| units[channel]));
    kill(&mut graph, x, 0, 0.25);
    let (cut, _) = pruned(&graph);
    let Layer::Gather { channels } = &cut.nodes()[all].layer else { unreachable!() };
    assert_eq!(channels[..], [2, 0, 1, 0]);
    assert!(difference(&graph, &cut) < 1e-5);
}

#[test]
fn a_part_of_the_channels_keeps_one() {
    let mut graph = network([3, 3, 3]);
    let x = graph.push("x", conv(4, 3, 1), &[0]).unwrap();
    let first = graph.push("first", Layer::Gather { channels: vec![0, 1] }, &[x]).unwrap();
    let second = graph.push("second", Layer::Gather { channels: vec![2, 3] }, &[x]).unwrap();
    let a = graph.push("a", conv(2, 2, 3), &[first]).unwrap();
    let b = graph.push("b", conv(2, 2, 5), &[second]).unwrap();
    graph.push("sum", Layer::Add, &[a, b]).unwrap();
    kill(&mut graph, x, 0, 0.0);
    kill(&mut graph, x, 1, 0.5);
    let (cut, removal) = pruned(&graph);
    assert_eq!(removal.removed.iter().filter(|&&removed| removed).count(), 1);
    assert!(difference(&graph, &cut) < 1e-5);
    let flow = ChannelFlow::new(&graph).unwrap();
    let mut all = vec![true; flow.unit_count()];
    keep_parts(&graph, &flow, &mut all);
    assert!([first, second].iter().all(|&part| !flow.kept(part, &all).is_empty()));
}

/// x ─ layer norm ─ conv, where filter 1 of x is zero with a bias, and γ of its channel is 0.
fn normalized(gamma: f32) -> (Graph, NodeId) {
    let mut graph = network([3, 3, 3]);
    let x = graph.push("x", conv(4, 3, 1), &[0]).unwrap();
    let mut norm = LayerNorm::new(4, 1e-3);
    norm.weight = Param::new(Tensor::from_fn(&[4], |i| if i == 1 { gamma } else { 1.0 + i as f32 }));
    norm.bias = Param::new(Random(8).tensor(&[4]));
    let norm = graph.push("norm", Layer::LayerNorm(norm), &[x]).unwrap();
    let slopes = graph.push("slopes", Layer::PRelu(PRelu::new(4)), &[norm]).unwrap();
    graph.push("out", conv(2, 4, 3), &[slopes]).unwrap();
    kill(&mut graph, x, 1, 0.75);
    (graph, norm)
}

#[test]
fn a_layer_norm_goes_on_counting_what_was_removed() {
    let (graph, norm) = normalized(0.0);
    let (cut, removal) = pruned(&graph);
    assert_eq!(removal.removed.iter().filter(|&&removed| removed).count(), 1);
    let Layer::LayerNorm(layer) = &cut.nodes()[norm].layer else { unreachable!() };
    assert_eq!((layer.channels(), layer.width, layer.sum, layer.squares), (3, 4, 0.75, 0.5625));
    assert!(difference(&graph, &cut) < 1e-5);
}

#[test]
fn a_constant_that_a_layer_norm_scales_stays() {
    let (graph, _) = normalized(2.0);
    let flow = ChannelFlow::new(&graph).unwrap();
    let found = states(&graph, &flow).unwrap();
    assert!(
        matches!(found[flow.units(1)[1]], State::Uneven { .. }),
        "its output depends on the other channels"
    );
    assert!(pruned(&graph).1.removed.iter().all(|&removed| !removed));
}

/// Nothing weighs channel 2 behind the norm, but the statistics depend on it.
#[test]
fn a_layer_norm_demands_all_of_its_channels() {
    let (mut graph, _) = normalized(2.0);
    graph.param_mut("out.weight").unwrap().update(|w| (w[2], w[6]) = (0.0, 0.0));
    let flow = ChannelFlow::new(&graph).unwrap();
    assert_eq!(states(&graph, &flow).unwrap()[flow.units(1)[2]], State::Live);
    // Once nothing reads the norm, nothing needs its channels.
    graph.param_mut("out.weight").unwrap().update(|w| w.fill(0.0));
    assert_eq!(states(&graph, &flow).unwrap()[flow.units(1)[2]], State::Unread);
}

/// x ─ norm of 4 channels in `groups` groups ─ activation ─ conv.
fn grouped(groups: usize) -> (Graph, [NodeId; 2]) {
    let mut graph = network([3, 3, 3]);
    let x = graph.push("x", conv(4, 3, 1), &[0]).unwrap();
    let mut norm = GroupNorm::new(4, groups, 1e-3);
    norm.weight = Param::new(Random(7).tensor(&[4]));
    norm.bias = Param::new(Random(8).tensor(&[4]));
    let norm = graph.push("norm", Layer::GroupNorm(norm), &[x]).unwrap();
    let act = graph.push("act", Layer::Activation(Activation::Sigmoid), &[norm]).unwrap();
    graph.push("out", conv(2, 4, 3), &[act]).unwrap();
    (graph, [x, norm])
}

fn group_norm(graph: &Graph, id: NodeId) -> &GroupNorm {
    let Layer::GroupNorm(norm) = &graph.nodes()[id].layer else { unreachable!("a group norm") };
    norm
}

#[test]
fn the_channels_of_a_group_are_one_unit() {
    for (groups, expected) in [(1, [0, 0, 0, 0]), (2, [0, 0, 2, 2]), (4, [0, 1, 2, 3])] {
        let (graph, [x, norm]) = grouped(groups);
        let flow = ChannelFlow::new(&graph).unwrap();
        let first = expected.map(|channel: usize| flow.units(x)[channel]);
        assert_eq!((flow.units(x), flow.units(norm)), (&first[..], &first[..]), "{groups}");
        assert_eq!((flow.groups()[0].units.len(), flow.groups()[0].frozen), (groups, None));
        assert!(flow.groups()[0].is_uniform(&flow));
    }
}

/// The statistics of the other groups do not depend on one that goes as a whole, which is constant if its channels are.
#[test]
fn a_dead_group_is_removed_exactly() {
    let (mut graph, [x, norm]) = grouped(2);
    kill(&mut graph, x, 0, 0.5);
    kill(&mut graph, x, 1, -0.25);
    let (cut, removal) = pruned(&graph);
    assert_eq!(removal.removed.iter().filter(|&&removed| removed).count(), 1);
    let left = group_norm(&cut, norm);
    assert_eq!((left.groups, left.channels()), (1, 2));
    assert!(difference(&graph, &cut) < 1e-5);
}

#[test]
fn a_dead_channel_of_a_living_group_stays() {
    let (mut graph, [x, norm]) = grouped(2);
    kill(&mut graph, x, 0, 0.5);
    let known = constants(&graph).unwrap();
    assert_eq!((known[x][0], known[norm][0]), (Some(0.5), None), "its output depends on the other channel");
    assert!(pruned(&graph).1.removed.iter().all(|&removed| !removed));
    // Where γ is zero, nothing does.
    graph.param_mut("norm.weight").unwrap().update(|gamma| (gamma[0], gamma[1]) = (0.0, 0.0));
    let (cut, _) = pruned(&graph);
    assert_eq!(group_norm(&cut, norm).groups, 1);
    assert!(difference(&graph, &cut) < 1e-5);
}

/// The variance of a constant is zero, so that an instance norm makes its shift of it.
#[test]
fn an_instance_norm_makes_its_shift_of_a_constant() {
    let (mut graph, [x, norm]) = grouped(4);
    kill(&mut graph, x, 1, 0.75);
    let shift = graph.param("norm.bias").unwrap().value().data()[1];
    assert_eq!(constants(&graph).unwrap()[norm], [None, Some(shift), None, None]);
    let (cut, _) = pruned(&graph);
    let left = group_norm(&cut, norm);
    assert_eq!((left.groups, left.channels(), left.is_instance_norm()), (3, 3, true));
    assert!(difference(&graph, &cut) < 1e-5);
}

#[test]
fn an_unread_group_is_removed() {
    let (mut graph, [x, norm]) = grouped(2);
    graph.param_mut("out.weight").unwrap().update(|w| (w[2], w[6]) = (0.0, 0.0));
    let states_of = |graph: &Graph| states(graph, &ChannelFlow::new(graph).unwrap()).unwrap();
    let unit = ChannelFlow::new(&graph).unwrap().units(x)[2];
    assert_eq!(states_of(&graph)[unit], State::Live, "the other channel of the group is read");
    graph.param_mut("out.weight").unwrap().update(|w| (w[3], w[7]) = (0.0, 0.0));
    assert_eq!(states_of(&graph)[unit], State::Unread);
    let (cut, _) = pruned(&graph);
    assert_eq!(group_norm(&cut, norm).channels(), 2);
    assert!(difference(&graph, &cut) < 1e-5);
}

/// A plan leaves out a group whose filters are masked, and computes one of which a filter is left.
#[test]
fn plans_leave_out_masked_groups() {
    for (masked, live) in [(2, 2), (1, 4)] {
        let (mut graph, _) = grouped(2);
        for slot in ["weight", "bias"] {
            let param = graph.param_mut(&format!("x.{slot}")).unwrap();
            let shape = param.value().shape().to_vec();
            let size = shape[1..].iter().product::<usize>();
            let mask = Tensor::from_fn(&shape, |i| f32::from(u8::from(i / size >= masked)));
            param.set_mask(Some(mask)).unwrap();
        }
        let mut plan = Plan::new(&graph, [2, 3, 3, 3], &Device::cpu()).unwrap();
        let images = images(&graph, 2, 9);
        let want = graph.logits(&Device::cpu(), images.clone()).unwrap();
        let found = Tensor::from_slice(want.shape(), plan.run(images.data()).unwrap()).unwrap();
        assert!(found.max_difference(&want).unwrap() < 1e-5);
        let step = plan.steps().iter().find(|step| step.name == "norm").unwrap();
        assert_eq!((step.kind, step.shape[3]), ("group norm", live));
    }
}

#[test]
fn groups_that_do_not_divide_are_refused() {
    let refused = |channels: usize, groups: usize, input: &[usize]| {
        let layer = Layer::GroupNorm(GroupNorm::new(channels, groups, 1e-5));
        let shape = layer.output_shape(&[input]).map(drop);
        layer.check().and(shape).unwrap_err().to_string()
    };
    assert!(refused(6, 4, &[1, 2, 2, 6]).contains("4 groups do not divide 6 channels"));
    assert!(refused(6, 0, &[1, 2, 2, 6]).contains("0 groups"));
    assert!(refused(6, 3, &[1, 2, 2, 4]).contains("expected 6 channels, found [1, 2, 2, 4]"));
    assert!(refused(6, 3, &[1, 6]).contains("expected an image [N, H, W, C], found [1, 6]"));
}

/// Masked filters are left out of a plan, which then gives what the whole network gives.
#[test]
fn plans_leave_out_masked_channels_of_gates_and_norms() {
    for name in ["x", "expand"] {
        let (mut graph, _) = squeezed();
        for slot in ["weight", "bias"] {
            for layer in if name == "x" { &["x"][..] } else { &["x", "expand"] } {
                let param = graph.param_mut(&format!("{layer}.{slot}")).unwrap();
                let shape = param.value().shape().to_vec();
                let size = shape[1..].iter().product::<usize>();
                param
                    .set_mask(Some(Tensor::from_fn(&shape, |i| f32::from(u8::from(i / size != 1)))))
                    .unwrap();
            }
        }
        let mut plan = Plan::new(&graph, [2, 3, 3, 3], &Device::cpu()).unwrap();
        let images = images(&graph, 2, 9);
        let want = graph.logits(&Device::cpu(), images.clone()).unwrap();
        let found = Tensor::from_slice(want.shape(), plan.run(images.data()).unwrap()).unwrap();
        assert!(found.max_difference(&want).unwrap() < 1e-5);
        let step = plan.steps().iter().find(|step| step.name == "out").unwrap();
        assert!(step.channels.as_ref().is_some_and(|live| (live.inputs, live.all_inputs) == (3, 4)));
    }
}
