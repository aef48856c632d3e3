//! Layers that several operators make: what a formula becomes, a factor for each channel, channels in another order.

use super::formula::Formula;
use super::importer::Importer;
use super::model::OnnxNode;
use super::value::Value;
use super::view::{Axis, View};
use crate::graph::layer::{Conv2d, Layer, Linear};
use crate::{Param, Tensor};

/// A convolution of single pixels with `weight` `[O, 1, 1, C / groups]`.
pub(super) fn pointwise(weight: Param, bias: Option<Param>, groups: usize) -> Conv2d {
    let (stride, dilation, none) = ([1; 2], [1; 2], [0; 2]);
    Conv2d { weight, bias, stride, padding: none, extra_padding: none, dilation, groups }
}

impl<'a> Importer<'_, 'a> {
    /// `value` as the network's output, with the layers that it still lacks.
    pub fn whole(&mut self, value: Value) -> Result<Value, String> {
        let layers = match value {
            Value::Formula(view, formula, name) => self.layers_of(&view, formula, &name),
            Value::Computed(view) if view.padding != [0; 4] => self.with_padding(&view, "output"),
            Value::Window(part) => self.cropped(&part.of, part.cuts(), "output"),
            value => return Ok(value),
        };
        layers.map(Value::Computed).map_err(|e| format!("its output {e}"))
    }

    /// The layers of `formula` of `view`, called `name`.
    pub fn layers_of(&mut self, view: &View, formula: Formula, name: &str) -> Result<View, String> {
        if let Formula::Cubic([0.0, 0.0, 1.0, 0.0]) = formula {
            let id = self.push_named(name, Layer::Multiply, &[view.node; 2]);
            return Ok(view.at(id));
        }
        if formula == Formula::X {
            return Ok(view.clone());
        }
        if let Formula::OfMean([shift, scale, 0.0]) = formula {
            return self.mean_of_channels(view, [shift, scale], name);
        }
        let channels = view.size[2];
        let [shift, scale] = formula.linear().ok_or_else(|| {
            format!("reads `{name}`, which is {} that does not become a whole", formula.name())
        })?;
        let terms = |value: f64| vec![value as f32; channels];
        self.may_make(2 * channels)?;
        let [scale, shift] =
            [(scale, 1.0), (shift, 0.0)].map(|(value, none)| (value != none).then(|| terms(value)));
        self.affine(view, scale, shift, name)
    }

    /// `scale · x + shift` for each channel of `view`: a depthwise convolution of single pixels called `name`.
    pub fn affine(
        &mut self,
        view: &View,
        scale: Option<Vec<f32>>,
        shift: Option<Vec<f32>>,
        name: &str,
    ) -> Result<View, String> {
        let channels = view.size[2];
        if view.flat {
            return Err("scales or shifts the features of a vector, which no layer does".into());
        }
        let scale = scale.unwrap_or_else(|| vec![1.0; channels]);
        let weight = Tensor::from_vec(&[channels, 1, 1, 1], scale).map_err(|e| e.to_string())?;
        let bias = shift.map(|terms| Tensor::from_vec(&[channels], terms)).transpose();
        let bias = bias.map_err(|e| e.to_string())?.map(|bias| self.param(bias)).transpose()?;
        let conv = pointwise(self.param(weight)?, bias, channels);
        Ok(view.at(self.push_named(name, Layer::Conv2d(conv), &[view.node])))
    }

    /// `shift + scale · m`, m the mean of the channels of each pixel of `view`, or of the features of a vector: a layer of one
    /// filter called `name`.
    pub fn mean_of_channels(
        &mut self,
        view: &View,
        [shift, scale]: [f64; 2],
        name: &str,
    ) -> Result<View, String> {
        let [h, w, channels] = view.size;
        self.make(channels + 1)?;
        let bias = (shift != 0.0).then(|| Param::new(Tensor::full(&[1], shift as f32)));
        let weight = |shape: &[usize]| Param::new(Tensor::full(shape, (scale / channels as f64) as f32));
        let layer = match view.flat {
            true => Layer::Linear(Linear { weight: weight(&[1, channels]), bias }),
            false => Layer::Conv2d(pointwise(weight(&[1, 1, 1, channels]), bias, 1)),
        };
        let mean = View { size: [h, w, 1], ..view.at(self.push_named(name, layer, &[view.node])) };
        let axes: Vec<&[Axis]> = view.axes.iter().map(Vec::as_slice).collect();
        Ok(mean.with_axes(&axes))
    }

    /// Input `i` of `node` as a formula of a value, if it is computed and not padded.
    pub fn formula(&mut self, node: &OnnxNode<'a>, i: usize) -> Result<Option<(View, Formula)>, String> {
        Ok(match self.value(node, i)? {
            Value::Computed(view) if view.padding == [0; 4] => Some((view, Formula::X)),
            Value::Formula(view, formula, _) => Some((view, formula)),
            _ => None,
        })
    }

    /// The channels `channels` of `view`, whose axis `axis` of ONNX's shape they are.
    pub fn gathered(
        &mut self,
        name: &str,
        view: &View,
        axis: usize,
        channels: Vec<usize>,
    ) -> Result<View, String> {
        let (count, axes) = (channels.len(), &view.axes);
        self.make(count)?;
        let layer = |channels: Vec<usize>| Layer::Gather {
            channels: channels.into_iter().map(|channel| channel as u32).collect(),
        };
        if view.is_channel_axis(axis) {
            let id = self.push_named(name, layer(channels), &[view.node]);
            let [h, w, _] = view.size;
            let mut groups: Vec<&[Axis]> = axes.iter().map(Vec::as_slice).collect();
            groups[axis - 1] = &[Axis::C];
            return Ok(View { node: id, size: [h, w, count], ..view.clone() }.with_axes(&groups));
        }
        if axes.len() != 1 || axis != 1 {
            return Err(format!(
                "takes a part of {:?} along axis {axis}, which are not channels",
                view.dims()
            ));
        }
        // Features of a flattened image, in ONNX's order.
        let channels = match view.order() {
            Some(order) => channels.into_iter().map(|channel| order[channel]).collect(),
            None => channels,
        };
        let input = self.vector(view);
        Ok(View::vector(self.push_named(name, layer(channels), &[input]), count))
    }
}
