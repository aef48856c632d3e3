//! Layers that several operators make: what a formula becomes, a factor for each channel, channels in another order.

use super::formula::Formula;
use super::importer::Importer;
use super::model::OnnxNode;
use super::value::Value;
use super::view::{Axis, View};
use crate::Tensor;
use crate::graph::layer::{Conv2d, Layer};

impl<'a> Importer<'_, 'a> {
    /// `value`, with the layers of its formula if it is one.
    pub fn whole(&mut self, value: Value) -> Result<Value, String> {
        match value {
            Value::Formula(view, formula, name) => self
                .layers_of(&view, formula, &name)
                .map(Value::Computed)
                .map_err(|e| format!("its output {e}")),
            value => Ok(value),
        }
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
        let conv = Conv2d {
            weight: self.param(weight)?,
            bias,
            stride: [1; 2],
            padding: [0; 2],
            extra_padding: [0; 2],
            dilation: [1; 2],
            groups: channels,
        };
        Ok(view.at(self.push_named(name, Layer::Conv2d(conv), &[view.node])))
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
