//! Batch normalization.

use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;
use crate::files::torchvision::inverse;
use crate::graph::layer::{BatchNorm, Layer};

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
