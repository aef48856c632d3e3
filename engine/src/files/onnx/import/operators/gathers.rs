//! Channels in another order: gathering, splitting, and groups that are shuffled or normalized.

use super::lists;
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;
use crate::files::onnx::import::view::View;

/// The largest number of parts of a split.
const MOST_PARTS: usize = 1 << 10;

/// `Gather` of channels, or of integers of a list.
pub(super) fn gather<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    if let Value::Constant(array) = importer.value(node, 0)? {
        return lists::gather(importer, node, &array);
    }
    node.only(&["axis"])?;
    let view = importer.computed(node, 0)?;
    let axis = axis_of(&view, node.int("axis")?.unwrap_or(0))?;
    let size = view.dims()[axis - 1];
    let at = |i: i64| usize::try_from(if i < 0 { i.saturating_add(size as i64) } else { i }).ok();
    let indices = importer.indices(node, 1)?;
    let channels: Option<Vec<usize>> = indices.iter().map(|&i| at(i).filter(|&i| i < size)).collect();
    let channels = channels.ok_or_else(|| format!("gathers channels beyond {size}"))?;
    if channels.is_empty() {
        return Err("gathers nothing".into());
    }
    importer.gathered(node.label(), &view, axis, channels).map(Value::Computed)
}

/// Axis `axis` of ONNX's shape, counted from the front.
fn axis_of(view: &View, axis: i64) -> Result<usize, String> {
    let rank = view.axes.len() as i64 + 1;
    let found = if axis < 0 { axis.saturating_add(rank) } else { axis };
    match usize::try_from(found) {
        Ok(found) if (1..rank).contains(&(found as i64)) => Ok(found),
        _ => Err(format!("takes a part along axis {axis} of {rank}, expected one behind the batch")),
    }
}

/// `Split` of channels. The sizes were an attribute before opset 13; without them the parts are equal.
pub(super) fn split<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Vec<Value>, String> {
    node.only(&["axis", "split", "num_outputs"])?;
    let view = importer.computed(node, 0)?;
    let axis = axis_of(&view, node.int("axis")?.unwrap_or(0))?;
    let (size, parts) = (view.dims()[axis - 1], node.outputs.len());
    if parts == 0 || parts > MOST_PARTS || node.int("num_outputs")?.is_some_and(|n| n != parts as i64) {
        return Err(format!("has {parts} outputs"));
    }
    let given = match node.input(1) {
        Some(_) => Some(importer.indices(node, 1)?),
        None => node.ints("split")?.map(<[i64]>::to_vec),
    };
    let sizes: Vec<usize> = match given {
        Some(sizes) => sizes.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect(),
        // The last part may be smaller.
        None => {
            let part = size.div_ceil(parts);
            (0..parts).map(|i| size.saturating_sub(i * part).min(part)).collect()
        }
    };
    let total = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
    if sizes.len() != parts || total != Some(size) || sizes.contains(&0) {
        return Err(format!("splits {size} channels into {sizes:?} for {parts} outputs"));
    }
    let mut start = 0;
    let mut values = Vec::with_capacity(parts);
    for (&output, len) in node.outputs.iter().zip(sizes) {
        let part = importer.gathered(output, &view, axis, (start..start + len).collect())?;
        values.push(Value::Computed(part));
        start += len;
    }
    Ok(values)
}

/// The channels of an image as `groups` groups, if a reshape to `dims` divides them so.
pub(super) fn groups(view: &View, dims: &[usize]) -> Option<Value> {
    let c = view.size[2];
    let groups = *dims.first()?;
    let divides = groups > 1 && groups < c && c.is_multiple_of(groups) && view.is_channels_first();
    let of_groups = |flat: bool| divides && dims == shape_of_groups(view, (groups, false, flat));
    let flat = [false, true].into_iter().find(|&flat| of_groups(flat))?;
    Some(Value::Groups { of: view.clone(), groups, swapped: false, flat })
}

/// ONNX's shape of an image behind the batch whose channels are in groups.
pub(super) fn shape_of_groups(of: &View, (groups, swapped, flat): (usize, bool, bool)) -> Vec<usize> {
    let [h, w, c] = of.size;
    let size = c / groups;
    match (flat, swapped) {
        (true, _) => vec![groups, size * h * w],
        (false, true) => vec![size, groups, h, w],
        (false, false) => vec![groups, size, h, w],
    }
}

/// The image `of` behind a transposition of its groups by `perm`, the batch included.
pub(super) fn transposed(of: View, groups: usize, swapped: bool, perm: &[i64]) -> Result<Value, String> {
    match perm {
        [0, 2, 1, 3, 4] => Ok(Value::Groups { of, groups, swapped: !swapped, flat: false }),
        _ => {
            Err(format!("permutes groups of channels by {perm:?}, expected an exchange with their channels"))
        }
    }
}

/// The image `of` whose groups are joined again: shuffled, if they changed places.
pub(super) fn joined<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    of: &View,
    (groups, swapped): (usize, bool),
    dims: &[usize],
) -> Result<Value, String> {
    let [h, w, c] = of.size;
    if dims != [c, h, w] {
        return Err(format!("reshapes groups of channels to {dims:?}, which no layer does"));
    }
    if !swapped {
        return Ok(Value::Computed(of.clone()));
    }
    let size = c / groups;
    let channels = (0..c).map(|i| i % groups * size + i / groups).collect();
    importer.gathered(node.label(), of, 1, channels).map(Value::Computed)
}
