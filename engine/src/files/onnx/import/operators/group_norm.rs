//! Group and instance normalization.
//!
//! ONNX has group normalization since version 18; before, programs write it with instance normalization:
//!
//! ```text
//!   [N, C, H, W] ─ Reshape ─ [N, G, C/G·H·W] ─ InstanceNormalization ─ Reshape ─ [N, C, H, W] ─ Mul γ ─ Add β
//! ```

use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;
use crate::files::onnx::import::view::View;
use crate::graph::layer::{GroupNorm, Layer};
use crate::{Param, Tensor};

/// `InstanceNormalization` of each channel, or of groups of channels.
pub(super) fn instance_norm<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
) -> Result<Value, String> {
    node.only(&["epsilon"])?;
    if let Value::Groups { of, groups, swapped: false, flat } = importer.value(node, 0)? {
        let of = normalized(importer, node, &of, groups)?;
        return Ok(Value::Groups { of, groups, swapped: false, flat });
    }
    let view = importer.computed(node, 0)?;
    let groups = match view.axes.first() {
        _ if view.is_channel_axis(1) => view.size[2],
        // All channels as one.
        Some(group) if group.is_empty() => 1,
        _ => return Err(not_channels(&view)),
    };
    normalized(importer, node, &view, groups).map(Value::Computed)
}

/// `GroupNormalization`.
pub(super) fn group_norm<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&["epsilon", "num_groups", "stash_type"])?;
    let view = importer.computed(node, 0)?;
    if !view.is_channel_axis(1) {
        return Err(not_channels(&view));
    }
    let (channels, groups) = (view.size[2], node.int("num_groups")?.ok_or("has no number of groups")?);
    let divides = |&groups: &usize| groups > 0 && channels.is_multiple_of(groups);
    match usize::try_from(groups).ok().filter(divides) {
        Some(groups) => normalized(importer, node, &view, groups).map(Value::Computed),
        None => Err(format!("divides {channels} channels into {groups} groups")),
    }
}

fn not_channels(view: &View) -> String {
    format!("normalizes {:?} along an axis that is not the channels", view.dims())
}

/// The norm of `view` in `groups` groups. Its parameters have a number for each channel or, in instance norms of groups and
/// in version 18, for each group.
fn normalized<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    view: &View,
    groups: usize,
) -> Result<View, String> {
    if view.flat {
        return Err("normalizes groups of a vector, which no layer does".into());
    }
    let channels = view.size[2];
    importer.make(2 * channels)?;
    let mut norm = GroupNorm::new(channels, groups, node.float("epsilon")?.unwrap_or(1e-5));
    for (i, param) in [(1, &mut norm.weight), (2, &mut norm.bias)] {
        let values = importer.weights(node, i)?;
        let each = match *values.shape() {
            [found] if found == channels => 1,
            [found] if found == groups => channels / groups,
            ref found => {
                return Err(format!(
                    "has parameters of shape {found:?}, expected a number for each of {channels} channels or {groups} groups"
                ));
            }
        };
        let values = values.data().iter().flat_map(|&value| std::iter::repeat_n(value, each)).collect();
        *param = Param::new(Tensor::from_vec(&[channels], values).map_err(|e| e.to_string())?);
    }
    let layer = Layer::GroupNorm(norm);
    layer.check().map_err(|e| e.to_string())?;
    Ok(view.at(importer.push(node, layer, &[view.node])))
}
