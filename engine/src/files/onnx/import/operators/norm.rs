//! Normalizations, and slopes of channels.

use super::terms::terms;
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::spread::Spread;
use crate::files::onnx::import::value::Value;
use crate::files::onnx::import::view::View;
use crate::files::pytorch_layout::inverse;
use crate::graph::layer::{Activation, BatchNorm, Layer, LayerNorm, PRelu};
use crate::{Param, Tensor};

/// `BatchNormalization` with running statistics.
pub(super) fn batch_norm<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&["epsilon", "momentum", "spatial", "training_mode"])?;
    node.one_output()?;
    if node.int("training_mode")? == Some(1) || node.int("spatial")?.is_some_and(|spatial| spatial != 1) {
        return Err("normalizes by the statistics of its input, or each pixel on its own".into());
    }
    let view = importer.computed(node, 0)?;
    let mut values = Vec::new();
    for i in 1..=4 {
        values.push(importer.weights(node, i)?);
    }
    let mut input = view.node;
    if !view.is_channel_axis(1) {
        // Features of a flattened image, each on its own.
        let [_] = &view.axes[..] else {
            return Err(format!("normalizes {:?} along an axis that is not the channels", view.dims()));
        };
        input = importer.vector(&view);
        let features = view.dims()[0];
        if values.iter().any(|values| values.shape() != [features]) {
            return Err(format!("expected {features} values of each statistic"));
        }
        if let Some(order) = view.order() {
            let order = inverse(&order);
            values = values.iter().map(|values| values.select(0, &order)).collect();
        }
    }
    let channels = if view.is_channel_axis(1) { view.size[2] } else { view.dims()[0] };
    if values.iter().any(|values| values.shape() != [channels]) {
        return Err(format!("expected {channels} values of each statistic"));
    }
    let [weight, bias, running_mean, running_var] = &values[..] else { unreachable!("four values") };
    let layer = Layer::BatchNorm(BatchNorm {
        weight: importer.param(weight.clone())?,
        bias: importer.param(bias.clone())?,
        running_mean: running_mean.clone(),
        running_var: running_var.clone(),
        momentum: 1.0 - node.float("momentum")?.unwrap_or(0.9),
        eps: node.float("epsilon")?.unwrap_or(1e-5),
    });
    layer.check().map_err(|e| e.to_string())?;
    let flat = view.flat || input != view.node;
    let mut out = view.at(importer.push(node, layer, &[input]));
    out.flat = flat;
    Ok(Value::Computed(out))
}

/// `LayerNormalization` over the channels.
pub(super) fn layer_norm<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&["axis", "epsilon", "stash_type"])?;
    node.one_output()?;
    let view = importer.computed(node, 0)?;
    let (axis, rank) = (node.int("axis")?.unwrap_or(-1), view.axes.len() as i64 + 1);
    if ![-1, rank - 1].contains(&axis) || rank < 2 || !view.is_channel_axis(rank as usize - 1) {
        return Err(format!(
            "normalizes {:?} from axis {axis} on, which is not just the channels",
            view.dims()
        ));
    }
    let channels = view.size[2];
    let mut norm = LayerNorm::new(channels, node.float("epsilon")?.unwrap_or(1e-5));
    importer.make(2 * channels)?;
    for (i, param) in [(1, &mut norm.weight), (2, &mut norm.bias)] {
        if node.input(i).is_some() {
            let values = importer.weights(node, i)?;
            if values.shape() != [channels] {
                return Err(format!(
                    "expected {channels} values of each parameter, found {:?}",
                    values.shape()
                ));
            }
            *param = Param::new(values);
        }
    }
    let layer = Layer::LayerNorm(norm);
    layer.check().map_err(|e| e.to_string())?;
    let id = importer.push(node, layer, &[view.node]);
    Ok(Value::Computed(view.at(id)))
}

/// A layer norm whose parts were separate nodes, `x − center` and its deviation, so far without its parameters.
pub(super) fn standardized<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    view: &View,
    (center, spread): ([f64; 2], &Spread),
) -> Result<Value, String> {
    let channels = view.size[2];
    importer.make(2 * channels)?;
    let norm = spread.layer_norm(center, channels);
    let layer = Layer::LayerNorm(norm.ok_or("divides by another deviation than that of a layer norm")?);
    layer.check().map_err(|e| e.to_string())?;
    let id = importer.push_named(node.label(), layer, &[view.node]);
    Ok(Value::Computed(view.at(id)))
}

/// Whether `view` is a layer or group norm, read by nothing else, that lacks the parameters that follow.
pub(super) fn takes(importer: &Importer<'_, '_>, view: &View, scale: bool, shift: bool) -> bool {
    let all = |param: &Param, value: f32| param.value().data().iter().all(|&v| v == value);
    let (weight, bias) = match &importer.nodes[view.node].layer {
        Layer::LayerNorm(norm) => (&norm.weight, &norm.bias),
        Layer::GroupNorm(norm) => (&norm.weight, &norm.bias),
        _ => return false,
    };
    importer.is_unshared(view.node) && all(bias, 0.0) && (!scale || all(weight, 1.0)) && (scale || shift)
}

/// Gives the layer or group norm `view` its parameters, and the name of its weight.
pub(super) fn completed<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    view: &View,
    [scale, shift]: [Option<Vec<f32>>; 2],
) -> Result<Value, String> {
    let name = node.inputs.iter().find_map(|name| name.strip_suffix(".weight"));
    if let Some(name) = name.filter(|_| scale.is_some()) {
        importer.rename(view.node, name);
    }
    let (weight, bias) = match &mut importer.nodes[view.node].layer {
        Layer::LayerNorm(norm) => (&mut norm.weight, &mut norm.bias),
        Layer::GroupNorm(norm) => (&mut norm.weight, &mut norm.bias),
        _ => return Err("is no norm".into()),
    };
    for (param, values) in [(weight, scale), (bias, shift)] {
        if let Some(values) = values {
            let values = Tensor::from_vec(&[values.len()], values).map_err(|e| e.to_string())?;
            *param = Param::new(values);
        }
    }
    Ok(Value::Computed(view.clone()))
}

/// `PRelu`, with a slope for each channel or for all.
pub(super) fn prelu<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&[])?;
    let view = importer.computed(node, 0)?;
    let slopes = importer.weights(node, 1)?;
    let layer = match slopes.data() {
        &[slope] if view.size[2] > 1 => Layer::Activation(Activation::LeakyRelu { slope }),
        _ => {
            let slopes = terms(importer, &view, &slopes)?.values;
            let weight = Tensor::from_vec(&[slopes.len()], slopes).map_err(|e| e.to_string())?;
            Layer::PRelu(PRelu { weight: importer.param(weight)? })
        }
    };
    layer.check().map_err(|e| e.to_string())?;
    let id = importer.push(node, layer, &[view.node]);
    Ok(Value::Computed(view.at(id)))
}
