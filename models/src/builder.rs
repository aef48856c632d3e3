//! Builder that lets an architecture read like its paper: each call appends a layer, infers its input shape, and draws
//! its weights.

use crate::init::Init;
use lopper_engine::layer::{
    Activation, BatchNorm, Conv2d, FixedWindow, GroupNorm, LayerNorm, Linear, PRelu, Pool, Resize, Window,
};
use lopper_engine::memory::{Budget, bytes_of};
use lopper_engine::{Error, Graph, Layer, NodeId, Param, Tensor};
use std::fmt::Display;
use std::ops::Range;

pub use crate::conv::Conv;

/// Graph under construction, and the node that the next layer reads.
///
/// The builder keeps the first error, ignores everything after it, and returns it from [`Builder::finish`], so layers
/// chain without a `?` on each.
#[derive(Debug)]
pub struct Builder {
    graph: Graph,
    /// Output shape of every node, for one image.
    shapes: Vec<Vec<usize>>,
    at: NodeId,
    prefix: String,
    seed: Option<u64>,
    conv_init: Init,
    linear_init: Init,
    budget: Budget,
    error: Option<Error>,
}

impl Builder {
    /// Creates a network for images of `[H, W, C]`. Weights are drawn from `seed` with PyTorch's defaults. With `None`
    /// they stay zero, for a network that is only counted or whose weights come from a file.
    pub fn new(image: [usize; 3], seed: Option<u64>) -> Self {
        let [h, w, c] = image;
        let mut graph = Graph::new(c);
        graph.info.input = image;
        Self {
            graph,
            shapes: vec![vec![1, h, w, c]],
            at: 0,
            prefix: String::new(),
            seed,
            conv_init: Init::Uniform,
            linear_init: Init::Uniform,
            budget: Budget::now(),
            error: None,
        }
    }

    /// Continues the network `graph` for images of `[H, W, C]` behind its last node, with PyTorch's defaults drawn from
    /// `seed`. Returns an error if the network does not take such images.
    pub fn continued(graph: Graph, image: [usize; 3], seed: Option<u64>) -> lopper_engine::Result<Self> {
        let [h, w, c] = image;
        let (shapes, at) = (graph.shapes([1, h, w, c])?, graph.output());
        Ok(Self { graph, shapes, at, ..Self::new(image, seed) })
    }

    /// Sets how the weights of later convolutions and linear layers are drawn.
    pub fn init(&mut self, conv: Init, linear: Init) -> &mut Self {
        (self.conv_init, self.linear_init) = (conv, linear);
        self
    }

    /// Builds with the prefix `scope.` on every name.
    pub fn within(&mut self, scope: impl Display, build: impl FnOnce(&mut Self)) -> &mut Self {
        let outer = self.prefix.len();
        self.prefix += &format!("{scope}.");
        build(self);
        self.prefix.truncate(outer);
        self
    }

    /// Returns the node that the next layer reads.
    pub fn at(&self) -> NodeId {
        self.at
    }

    /// Makes the next layer read `node`, to start a branch.
    pub fn go_to(&mut self, node: NodeId) -> &mut Self {
        self.at = node;
        self
    }

    /// Returns the shape that the next layer reads, for one image: `[1, H, W, C]`, or `[1, C]` after flattening.
    pub fn shape(&self) -> &[usize] {
        &self.shapes[self.at]
    }

    /// Returns the number of channels or features that the next layer reads.
    pub fn channels(&self) -> usize {
        *self.shape().last().expect("no layer yields a scalar")
    }

    /// Appends a convolution.
    pub fn conv(&mut self, name: impl Display, conv: Conv) -> &mut Self {
        let Conv { out, kernel: [kh, kw], stride, padding, extra_padding, dilation, groups, bias } = conv;
        // `join` rejects a group count that does not divide the channels, and names the node.
        let inputs = self.channels().checked_div(groups).unwrap_or(0);
        let (weight, bias) = self.weights(&name, self.conv_init, &[out, kh, kw, inputs], bias);
        let conv = Conv2d { weight, bias, stride, padding, extra_padding, dilation, groups };
        self.layer(name, Layer::Conv2d(conv))
    }

    /// Appends a fully connected layer with a bias.
    pub fn linear(&mut self, name: impl Display, outputs: usize) -> &mut Self {
        self.fully_connected(name, outputs, true)
    }

    /// Appends a fully connected layer without a bias.
    pub fn linear_without_bias(&mut self, name: impl Display, outputs: usize) -> &mut Self {
        self.fully_connected(name, outputs, false)
    }

    fn fully_connected(&mut self, name: impl Display, outputs: usize, bias: bool) -> &mut Self {
        let (weight, bias) = self.weights(&name, self.linear_init, &[outputs, self.channels()], bias);
        self.layer(name, Layer::Linear(Linear { weight, bias }))
    }

    /// Appends batch normalization, initially the identity.
    pub fn batch_norm(&mut self, name: impl Display) -> &mut Self {
        self.layer(name, Layer::BatchNorm(BatchNorm::new(self.channels())))
    }

    /// Appends batch normalization with the `momentum` of a batch in the running statistics, and ε.
    pub fn batch_norm_with(&mut self, name: impl Display, momentum: f32, eps: f32) -> &mut Self {
        self.layer(name, Layer::BatchNorm(BatchNorm { momentum, eps, ..BatchNorm::new(self.channels()) }))
    }

    /// Appends layer normalization over the channels with ε, initially with γ = 1 and β = 0.
    pub fn layer_norm(&mut self, name: impl Display, eps: f32) -> &mut Self {
        self.layer(name, Layer::LayerNorm(LayerNorm::new(self.channels(), eps)))
    }

    /// Appends the softmax over the channels, or its logarithm.
    pub fn softmax(&mut self, name: impl Display, log: bool) -> &mut Self {
        self.layer(name, Layer::Softmax { log })
    }

    /// Appends group normalization in `groups` groups of channels with ε, initially with γ = 1 and β = 0. As many groups as
    /// channels make an instance normalization.
    pub fn group_norm(&mut self, name: impl Display, groups: usize, eps: f32) -> &mut Self {
        self.layer(name, Layer::GroupNorm(GroupNorm::new(self.channels(), groups, eps)))
    }

    /// Appends a rectifier with a slope for each channel, initially ¼.
    pub fn prelu(&mut self, name: impl Display) -> &mut Self {
        self.layer(name, Layer::PRelu(PRelu::new(self.channels())))
    }

    /// Appends an activation.
    pub fn activation(&mut self, name: impl Display, activation: Activation) -> &mut Self {
        self.layer(name, Layer::Activation(activation))
    }

    /// Appends `max(0, x)`.
    pub fn relu(&mut self, name: impl Display) -> &mut Self {
        self.activation(name, Activation::Relu)
    }

    /// Appends `min(max(0, x), 6)`.
    pub fn relu6(&mut self, name: impl Display) -> &mut Self {
        self.activation(name, Activation::Relu6)
    }

    /// Appends a pooling.
    pub fn pool(&mut self, name: impl Display, pool: Pool) -> &mut Self {
        self.layer(name, Layer::Pool(pool))
    }

    /// Appends max pooling over a square window.
    pub fn max_pool(
        &mut self,
        name: impl Display,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> &mut Self {
        self.pool(name, Pool::max(FixedWindow::square(kernel, stride, padding)))
    }

    /// Appends mean pooling to `size × size`.
    pub fn adaptive_avg_pool(&mut self, name: impl Display, size: usize) -> &mut Self {
        self.pool(name, Pool::average(Window::Adaptive([size; 2])))
    }

    /// Appends max pooling to `size × size`.
    pub fn adaptive_max_pool(&mut self, name: impl Display, size: usize) -> &mut Self {
        self.pool(name, Pool::max(Window::Adaptive([size; 2])))
    }

    /// Appends a layer that flattens an image into a vector.
    pub fn flatten(&mut self, name: impl Display) -> &mut Self {
        self.layer(name, Layer::Flatten)
    }

    /// Appends dropout with probability `p`.
    pub fn dropout(&mut self, name: impl Display, p: f32) -> &mut Self {
        self.layer(name, Layer::Dropout { p })
    }

    /// Appends the sum with `other`.
    pub fn add(&mut self, name: impl Display, other: NodeId) -> &mut Self {
        self.join(name, Layer::Add, &[self.at, other])
    }

    /// Appends the product with `gate`: a value of the same shape, or one factor for each channel of each image.
    pub fn multiply(&mut self, name: impl Display, gate: NodeId) -> &mut Self {
        self.join(name, Layer::Multiply, &[self.at, gate])
    }

    /// Appends the input's channels in the order of `channels`.
    pub fn gather(&mut self, name: impl Display, channels: Vec<u32>) -> &mut Self {
        self.layer(name, Layer::Gather { channels })
    }

    /// Appends the channels `range` of the input.
    pub fn slice(&mut self, name: impl Display, range: Range<usize>) -> &mut Self {
        self.gather(name, range.map(|channel| channel as u32).collect())
    }

    /// Appends `parts` equal parts of the input's channels, called `name.0`, `name.1`, …, and returns them. The next layer
    /// reads the last one; a remainder makes the last parts smaller, as PyTorch's `chunk` does.
    pub fn chunk(&mut self, name: impl Display, parts: usize) -> Vec<NodeId> {
        let (input, channels) = (self.at, self.channels());
        let size = channels.div_ceil(parts.max(1));
        let part = |i: usize| (i * size).min(channels)..((i + 1) * size).min(channels);
        let parts = (0..parts).filter(|&i| !part(i).is_empty());
        parts.map(|i| self.go_to(input).slice(format!("{name}.{i}"), part(i)).at()).collect()
    }

    /// Appends a shuffle of `groups` groups of channels (Zhang et al. 2018): the first channel of each group, then the second
    /// of each, and so on.
    pub fn shuffle(&mut self, name: impl Display, groups: usize) -> &mut Self {
        let size = (self.channels() / groups.max(1)) as u32;
        let place = |i: u32| i % groups as u32 * size + i / groups as u32;
        self.gather(name, (0..size * groups as u32).map(place).collect())
    }

    /// Appends a resizing.
    pub fn resize(&mut self, name: impl Display, resize: Resize) -> &mut Self {
        self.layer(name, Layer::Resize(resize))
    }

    /// Appends a transposed convolution, `name.dilate` and `name`: zeros between the pixels, and a convolution whose weight
    /// is that of PyTorch's `ConvTranspose2d`, turned by half a circle. `conv` holds what PyTorch calls the kernel size,
    /// stride, padding and dilation; `extra_padding` is PyTorch's output padding. The padding is at most
    /// `dilation · (kernel − 1)`.
    pub fn conv_transpose(&mut self, name: impl Display, conv: Conv) -> &mut Self {
        let reach = [0, 1].map(|axis| conv.dilation[axis] * conv.kernel[axis].saturating_sub(1));
        let padding = [0, 1].map(|axis| reach[axis].checked_sub(conv.padding[axis]));
        let ([Some(rows), Some(cols)], true) = (padding, self.error.is_none()) else {
            let error = Error::invalid(format!("a padding of {:?} is more than {reach:?}", conv.padding));
            self.error.get_or_insert(error.in_node(&format!("{}{name}", self.prefix)));
            return self;
        };
        self.layer(format!("{name}.dilate"), Layer::Dilate { stride: conv.stride });
        self.conv(name, Conv { stride: [1; 2], padding: [rows, cols], ..conv })
    }

    /// Appends the concatenation of `nodes` along the channels.
    pub fn concat(&mut self, name: impl Display, nodes: &[NodeId]) -> &mut Self {
        self.join(name, Layer::Concat, nodes)
    }

    /// Appends any layer with one input.
    pub fn layer(&mut self, name: impl Display, layer: Layer) -> &mut Self {
        self.join(name, layer, &[self.at])
    }

    /// Appends any layer that reads `inputs`.
    pub fn join(&mut self, name: impl Display, layer: Layer, inputs: &[NodeId]) -> &mut Self {
        if self.error.is_some() {
            return self;
        }
        let name = format!("{}{name}", self.prefix);
        let read: Vec<&[usize]> = inputs.iter().map(|&i| self.shapes[i].as_slice()).collect();
        let shape = layer.output_shape(&read).map_err(|e| e.in_node(&name));
        match shape.and_then(|shape| Ok((self.graph.push(name, layer, inputs)?, shape))) {
            Ok((id, shape)) => {
                self.at = id;
                self.shapes.push(shape);
            }
            Err(error) => self.error = Some(error),
        }
        self
    }

    /// Returns the graph, or the first error during its construction.
    pub fn finish(self) -> lopper_engine::Result<Graph> {
        self.error.map_or(Ok(self.graph), Err)
    }

    /// Draws the weight and bias of the layer `name` from the seed.
    fn weights(
        &mut self,
        name: &impl Display,
        init: Init,
        shape: &[usize],
        bias: bool,
    ) -> (Param, Option<Param>) {
        if self.error.is_none() {
            let what = format_args!("layer `{}{name}`: its weights", self.prefix);
            self.error = self.budget.take(what, bytes_of::<f32>(shape.iter().copied())).err();
        }
        // A layer behind an error is dropped, whatever its weights.
        let nothing = vec![0; shape.len()];
        let shape = if self.error.is_some() { &nothing } else { shape };
        let (outputs, fan_in) = (shape[0], shape[1..].iter().product());
        let path = |slot| format!("{}{name}.{slot}", self.prefix);
        let (weight, constants) = match self.seed.filter(|_| self.error.is_none()) {
            Some(seed) => {
                (init.weight(seed, &path("weight"), shape), init.bias(seed, &path("bias"), outputs, fan_in))
            }
            None => (Tensor::zeros(shape), Tensor::zeros(&[outputs])),
        };
        (Param::new(weight), bias.then(|| Param::new(constants)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_residual_block_reads_like_its_picture() {
        let mut net = Builder::new([8, 8, 3], Some(1));
        let shortcut = net.conv("stem", Conv::same(6, 3).bias()).at();
        net.within("block", |net| {
            net.conv("conv", Conv::same(6, 3)).batch_norm("bn").relu("relu").add("add", shortcut);
        });
        net.conv("down", Conv::same(4, 3).stride(2).groups(2)).flatten("flatten").linear("fc", 5);
        let graph = net.finish().unwrap();
        graph.check().unwrap();
        let names: Vec<&str> = graph.nodes().iter().map(|n| n.name.as_str()).collect();
        assert_eq!(
            names,
            ["input", "stem", "block.conv", "block.bn", "block.relu", "block.add", "down", "flatten", "fc"]
        );
        let shapes = graph.shapes([2, 8, 8, 3]).unwrap();
        assert_eq!((&shapes[6], &shapes[8]), (&vec![2, 4, 4, 4], &vec![2, 5]));
        assert!(graph.param("stem.bias").unwrap().value().data().iter().any(|&b| b != 0.0));
    }

    #[test]
    fn the_first_error_is_kept_and_names_its_layer() {
        for groups in [0, 2] {
            let mut net = Builder::new([8, 8, 3], Some(1));
            net.conv("odd", Conv::new(4, 3).groups(groups)).flatten("flatten").linear("fc", 0);
            let error = net.finish().unwrap_err().to_string();
            assert!(error.starts_with("layer `odd`"), "{error}");
        }
    }
}
