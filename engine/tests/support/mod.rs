//! Random networks and a plain evaluator of them, for the tests of plans and files.

#![allow(dead_code, unused_imports)] // Each test binary uses only some of it.

pub mod blocks;
pub mod colors;
mod evaluate;
pub mod exact;

pub use evaluate::{error, evaluate};

use lopper_engine::layer::{
    Activation, BatchNorm, CompactConv2d, Conv2d, Coordinates, FixedWindow, GroupNorm, LayerNorm, Linear,
    PRelu, Pool, Resize, ResizeSize, Rounding, Sampling, Window,
};
use lopper_engine::{Device, Graph, Layer, NodeId, Param, Tensor};
use lopper_kernels::params::ACTIVATIONS;

/// Returns CUDA on the CPU, if available: see [`lopper_kernels::cuda::Cuda::for_tests`].
pub fn cuda_on_cpu() -> Option<Device> {
    lopper_kernels::cuda::Cuda::for_tests().map(Device::Cuda)
}

/// Small deterministic generator (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns an integer in `low..=high`.
    pub fn int(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() % (high - low + 1) as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.int(1, 100) <= percent
    }

    /// Returns a number in [−1, 1).
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn tensor(&mut self, shape: &[usize]) -> Tensor {
        Tensor::from_fn(shape, |_| self.float())
    }
}

/// Builds a network node by node and tracks the shape of each.
struct Builder {
    graph: Graph,
    shapes: Vec<Vec<usize>>,
    random: Random,
}

impl Builder {
    fn push(&mut self, layer: Layer, inputs: &[NodeId]) -> NodeId {
        let shapes: Vec<&[usize]> = inputs.iter().map(|&i| self.shapes[i].as_slice()).collect();
        self.shapes.push(layer.output_shape(&shapes).unwrap());
        let name = format!("{}{}", layer.kind().replace(' ', "_"), self.shapes.len());
        self.graph.push(name, layer, inputs).unwrap()
    }

    fn conv(
        &mut self,
        x: NodeId,
        o: usize,
        k: usize,
        stride: usize,
        padding: usize,
        groups: usize,
    ) -> NodeId {
        let (c, dilation) = (self.shapes[x][3], if k == 1 { 1 } else { self.random.int(1, 2) });
        // Dilation consumes one more pixel on each side; padding restores it.
        let padding = if k == 3 && dilation == 2 { padding + 1 } else { padding };
        let mut weight = Param::new(self.random.tensor(&[o, k, k, c / groups]));
        if self.random.chance(25) {
            let dead: Vec<bool> = (0..o).map(|_| self.random.chance(50)).collect();
            let len = weight.value().len() / o;
            weight
                .set_mask(Some(Tensor::from_fn(weight.value().shape(), |i| f32::from(!dead[i / len]))))
                .unwrap();
        } else if self.random.chance(30) {
            weight.set_mask(Some(self.sparse(weight.value().shape()))).unwrap();
        }
        let bias = self.random.chance(60).then(|| Param::new(self.random.tensor(&[o])));
        let extra_padding = [usize::from(stride == 2 && o.is_multiple_of(2)), 0];
        let (stride, padding, dilation) = ([stride; 2], [padding; 2], [dilation; 2]);
        self.push(
            Layer::Conv2d(Conv2d { weight, bias, stride, padding, extra_padding, dilation, groups }),
            &[x],
        )
    }

    /// A mask `[O, KH, KW, C/G]` of single weights, or of weights that pairs of filters share, few of which are live.
    fn sparse(&mut self, shape: &[usize]) -> Tensor {
        let (filters, percent) = (self.random.int(1, 2), self.random.int(1, 40));
        let len = shape[1..].iter().product::<usize>();
        let live: Vec<bool> =
            (0..shape[0].div_ceil(filters) * len).map(|_| self.random.chance(percent)).collect();
        Tensor::from_fn(shape, |i| f32::from(live[i / len / filters * len + i % len]))
    }

    fn compact(&mut self, x: NodeId, o: usize) -> NodeId {
        let (width, carrier) = (self.shapes[x][3], self.random.chance(50));
        let live = |n: usize, random: &mut Random| -> Vec<u32> {
            (0..n as u32).filter(|_| random.chance(60)).collect()
        };
        let (inputs, outputs) = (live(width, &mut self.random), live(o, &mut self.random));
        let weight =
            Param::new(self.random.tensor(&[outputs.len(), 3, 3, inputs.len() + usize::from(carrier)]));
        let bias = self.random.chance(60).then(|| Param::new(self.random.tensor(&[outputs.len()])));
        let fill = self.random.tensor(&[o]).data().to_vec();
        let conv = Conv2d {
            weight,
            bias,
            stride: [1; 2],
            padding: [1; 2],
            extra_padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
        };
        self.push(
            Layer::CompactConv2d(CompactConv2d { conv, inputs, outputs, in_width: width, carrier, fill }),
            &[x],
        )
    }

    fn batch_norm(&mut self, x: NodeId) -> NodeId {
        let c = *self.shapes[x].last().unwrap();
        let mut bn = BatchNorm::new(c);
        bn.weight = Param::new(self.random.tensor(&[c]));
        bn.bias = Param::new(self.random.tensor(&[c]));
        bn.running_mean = self.random.tensor(&[c]);
        bn.running_var = Tensor::from_fn(&[c], |_| self.random.float() + 1.5);
        self.push(Layer::BatchNorm(bn), &[x])
    }

    fn activation(&mut self, x: NodeId) -> NodeId {
        let activation = match self.random.chance(60) {
            true => Activation::Relu,
            false => ACTIVATIONS[self.random.int(0, ACTIVATIONS.len() - 1)],
        };
        self.push(Layer::Activation(activation), &[x])
    }

    fn linear(&mut self, x: NodeId, outputs: usize) -> NodeId {
        let weight = Param::new(self.random.tensor(&[outputs, self.shapes[x][1]]));
        let bias = self.random.chance(70).then(|| Param::new(self.random.tensor(&[outputs])));
        self.push(Layer::Linear(Linear { weight, bias }), &[x])
    }

    /// Adds a residual block, whose shortcut is the input or a projection of it.
    fn residual(&mut self, x: NodeId) -> NodeId {
        let c = self.shapes[x][3];
        let conv = self.conv(x, c, 3, 1, 1, 1);
        let main = if self.random.chance(50) { self.batch_norm(conv) } else { conv };
        let shortcut = match self.random.int(0, 3) {
            0 => self.conv(x, c, 1, 1, 0, 1),
            1 => self.batch_norm(x),
            _ => x,
        };
        let parts = if self.random.chance(50) { [main, shortcut] } else { [shortcut, main] };
        let sum = self.push(Layer::Add, &parts);
        if self.random.chance(70) { self.activation(sum) } else { sum }
    }

    fn concat(&mut self, x: NodeId) -> NodeId {
        let (a, b) = (self.conv(x, 3, 1, 1, 0, 1), self.activation(x));
        let parts = [vec![a, b], vec![x, a, b], vec![b; 20]];
        // Twenty parts of a wide image would make the next weights take gigabytes.
        let most = if self.shapes[b][3] > 16 { 1 } else { 2 };
        let parts = &parts[self.random.int(0, most)];
        self.push(Layer::Concat, parts)
    }

    fn pool(&mut self, x: NodeId) -> NodeId {
        let window = FixedWindow {
            ceil_mode: self.random.chance(50),
            count_include_pad: self.random.chance(50),
            ..FixedWindow::square(3, 2, self.random.int(0, 1))
        };
        let pool = if self.random.chance(50) { Pool::max(window) } else { Pool::average(window) };
        self.push(Layer::Pool(pool), &[x])
    }

    /// Adds a gate: the mean of the image, two small convolutions, and a product. The gate may be a vector.
    fn squeeze(&mut self, x: NodeId) -> NodeId {
        let (c, reduced) = (self.shapes[x][3], self.random.int(1, 5));
        let mean = self.push(Layer::Pool(Pool::average(Window::Global)), &[x]);
        let squeezed = self.conv(mean, reduced, 1, 1, 0, 1);
        let excited = self.conv(squeezed, c, 1, 1, 0, 1);
        let mut gate = self.activation(excited);
        if self.random.chance(30) {
            gate = self.push(Layer::Flatten, &[gate]);
        }
        self.push(Layer::Multiply, &[x, gate])
    }

    /// Splits the channels, convolves a part, and shuffles what is joined again.
    fn shuffle(&mut self, x: NodeId) -> NodeId {
        let c = self.shapes[x][3];
        let at = self.random.int(1, c) as u32;
        let first = self.push(Layer::Gather { channels: (0..at).collect() }, &[x]);
        let rest: Vec<u32> = (0..c as u32).rev().take(self.random.int(1, c)).collect();
        let rest = self.push(Layer::Gather { channels: rest }, &[x]);
        let conv = self.conv(rest, at as usize, 1, 1, 0, 1);
        let joined = self.push(Layer::Concat, &[first, conv]);
        let channels = (0..2 * at).map(|i| i % 2 * at + i / 2).collect();
        self.push(Layer::Gather { channels }, &[joined])
    }

    fn layer_norm(&mut self, x: NodeId) -> NodeId {
        let c = *self.shapes[x].last().unwrap();
        let mut norm = LayerNorm::new(c, 0.1);
        (norm.weight, norm.bias) =
            (Param::new(self.random.tensor(&[c])), Param::new(self.random.tensor(&[c])));
        if self.random.chance(30) {
            (norm.width, norm.sum, norm.squares) = (c + 3, 1.5, 2.25);
        }
        self.push(Layer::LayerNorm(norm), &[x])
    }

    fn group_norm(&mut self, x: NodeId) -> NodeId {
        let c = self.shapes[x][3];
        let divisors: Vec<usize> = (1..=c).filter(|&groups| c.is_multiple_of(groups)).collect();
        let mut norm = GroupNorm::new(c, divisors[self.random.int(0, divisors.len() - 1)], 0.1);
        (norm.weight, norm.bias) =
            (Param::new(self.random.tensor(&[c])), Param::new(self.random.tensor(&[c])));
        self.push(Layer::GroupNorm(norm), &[x])
    }

    fn prelu(&mut self, x: NodeId) -> NodeId {
        let c = self.shapes[x][3];
        let weight = Param::new(self.random.tensor(&[c]));
        self.push(Layer::PRelu(PRelu { weight }), &[x])
    }

    /// Resizes an image that is not large, or puts zeros between its pixels.
    fn resize(&mut self, x: NodeId) -> NodeId {
        let random = &mut self.random;
        let coordinates = [Coordinates::HalfPixel, Coordinates::Asymmetric, Coordinates::AlignCorners];
        let coordinates = coordinates[random.int(0, 2)];
        let rounding = [Rounding::Floor, Rounding::Ceil, Rounding::HalfDown, Rounding::HalfUp];
        let rounding = rounding[random.int(0, 3)];
        let sampling = match random.chance(50) {
            true => Sampling::Nearest(coordinates, rounding),
            false => Sampling::Bilinear(coordinates),
        };
        let size = match random.chance(50) && self.shapes[x][1].max(self.shapes[x][2]) < 8 {
            true => ResizeSize::Times([2, 3]),
            false => ResizeSize::Fixed([random.int(3, 9), random.int(3, 9)]),
        };
        match random.chance(25) && self.shapes[x][1].max(self.shapes[x][2]) < 8 {
            true => self.push(Layer::Dilate { stride: [2, 1] }, &[x]),
            false => self.push(Layer::Resize(Resize { sampling, size }), &[x]),
        }
    }

    /// Appends one random block to `x`, which is an image.
    fn block(&mut self, x: NodeId) -> NodeId {
        let c = self.shapes[x][3];
        let small = self.shapes[x][1] < 4 || self.shapes[x][2] < 4;
        match self.random.int(0, 17) {
            0 | 1 if !small => {
                let (o, stride, padding) =
                    (self.random.int(1, 20), self.random.int(1, 2), self.random.int(0, 1));
                let conv = self.conv(x, o, 3, stride, padding, 1);
                self.activation(conv)
            }
            2 => {
                let groups = if self.random.chance(50) { c } else { 1 };
                let o = c * self.random.int(1, 2);
                let conv = self.conv(x, o, 3, 1, 1, groups);
                let bn = self.batch_norm(conv);
                if self.random.chance(50) { self.activation(bn) } else { bn }
            }
            3 | 4 => self.residual(x),
            5 => {
                let (a, b) = (self.conv(x, c, 1, 1, 0, 1), self.activation(x));
                self.push(Layer::Add, &[a, x, b, a])
            }
            6 => self.concat(x),
            7 if !small => self.pool(x),
            8 => {
                let (stride, before, after) =
                    (self.random.int(1, 2), self.random.int(0, 3), self.random.int(0, 3));
                self.push(Layer::PadShortcut { stride, before, after }, &[x])
            }
            11 => self.squeeze(x),
            12 => self.shuffle(x),
            13 => self.layer_norm(x),
            14 => self.prelu(x),
            15 => self.resize(x),
            16 => self.group_norm(x),
            17 => {
                let log = self.random.chance(50);
                self.push(Layer::Softmax { log }, &[x])
            }
            9 => {
                let o = self.random.int(2, 12);
                let compact = self.compact(x, o);
                self.activation(compact)
            }
            _ => self.push(Layer::Dropout { p: 0.3 }, &[x]),
        }
    }
}

/// Builds a network with residual sums, concatenations, strides, pools, groups, masks and compact convolutions,
/// different for every seed. Its `info` gives the image size.
pub fn random_graph(seed: u64) -> Graph {
    let mut random = Random(seed);
    let input = [random.int(6, 12), random.int(6, 12), random.int(1, 5)];
    let mut b =
        Builder { graph: Graph::new(input[2]), shapes: vec![vec![1, input[0], input[1], input[2]]], random };
    let mut x = 0;
    for _ in 0..b.random.int(2, 7) {
        x = b.block(x);
    }
    let size = [b.random.int(1, 3), b.random.int(1, 3)];
    let window = if b.random.chance(20) { Window::Global } else { Window::Adaptive(size) };
    let pool = if b.random.chance(50) { Pool::average(window) } else { Pool::max(window) };
    x = b.push(Layer::Pool(pool), &[x]);
    x = b.push(Layer::Flatten, &[x]);
    if b.random.chance(50) {
        x = b.batch_norm(x);
    }
    x = b.linear(x, 9);
    x = b.activation(x);
    x = b.push(Layer::Dropout { p: 0.5 }, &[x]);
    b.linear(x, 4);
    b.graph.info.input = input;
    b.graph.info.classes = ["a", "b", "c", "d"].map(String::from).to_vec();
    b.graph
}

/// Returns `n` random images for `graph`.
pub fn images(graph: &Graph, n: usize, seed: u64) -> Tensor {
    let [h, w, c] = graph.info.input;
    Random(seed).tensor(&[n, h, w, c])
}
