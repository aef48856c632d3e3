//! Constants of channels, and formulas that become layers.

use crate::Tensor;
use crate::files::onnx::import::formula::{Bell, Formula};
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;
use crate::files::onnx::import::view::View;
use crate::graph::layer::{Activation, Layer};

/// A constant number for each channel.
pub(super) struct Terms {
    pub values: Vec<f32>,
}

impl Terms {
    /// Each number changed by `f`.
    pub fn map(mut self, f: impl Fn(f32) -> f32) -> Self {
        self.values.iter_mut().for_each(|value| *value = f(*value));
        self
    }
}

/// The constant `values` as a number for each channel of `view`.
pub(super) fn terms(importer: &Importer<'_, '_>, view: &View, values: &Tensor) -> Result<Terms, String> {
    importer.may_make(view.size[2])?;
    let (shape, rank) = (values.shape(), view.axes.len() + 1);
    let channels = view.size[2];
    if values.len() == 1 && shape.len() <= rank {
        return Ok(Terms { values: vec![values.data()[0]; channels] });
    }
    // Shapes are aligned at their last axes.
    let long = shape.iter().position(|&dim| dim > 1).and_then(|i| (i + rank).checked_sub(shape.len()));
    let only = shape.iter().filter(|&&dim| dim > 1).count() == 1;
    match long {
        Some(axis) if only && view.is_channel_axis(axis) && values.len() == channels => {
            Ok(Terms { values: values.data().to_vec() })
        }
        _ => {
            Err(format!("has a constant of shape {shape:?}; expected one number for each channel or for all"))
        }
    }
}

/// A formula of `view`, or the activation that it is.
pub(super) fn formulated<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    view: &View,
    formula: Formula,
) -> Value {
    let activation = match formula.gelu() {
        Some(Bell::Erf) => Activation::Gelu,
        Some(Bell::Tanh) => Activation::GeluTanh,
        None => return Value::Formula(view.clone(), formula, node.label().to_string()),
    };
    let id = importer.push_named(node.label(), Layer::Activation(activation), &[view.node]);
    Value::Computed(view.at(id))
}
