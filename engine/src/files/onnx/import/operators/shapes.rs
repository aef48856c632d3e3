//! Reshapes and transpositions, which move nothing here, and nodes that pass their input on.

use super::{folding, gathers};
use crate::files::onnx::fields::element;
use crate::files::onnx::import::array::{self, Array, Kind};
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::int::Int;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;
use crate::files::onnx::import::view::{Axis, MOST_AXES, View};
use crate::graph::layer::Layer;

/// `Flatten`, `Reshape`, `Squeeze`, `Unsqueeze` and `Transpose`.
pub(super) fn import<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    match importer.value(node, 0)? {
        Value::Constant(array) => return of_constant(importer, node, &array).map(Value::Constant),
        Value::Groups { of, groups, swapped, flat } => {
            return of_groups(importer, node, of, (groups, swapped, flat));
        }
        _ => {}
    }
    let view = importer.computed(node, 0)?;
    let view = match node.op {
        "Flatten" => flatten(node, &view)?,
        "Reshape" => {
            let dims = target(importer, node, &view.dims())?;
            if let Some(groups) = gathers::groups(&view, &dims) {
                return Ok(groups);
            }
            view.reshaped(&dims)?
        }
        "Transpose" => {
            node.only(&["perm"])?;
            let reversed: Vec<i64> = (0..=view.axes.len() as i64).rev().collect();
            view.transposed(node.ints("perm")?.unwrap_or(&reversed))?
        }
        "Squeeze" => squeeze(&view, axes(importer, node)?)?,
        _ => unsqueeze(&view, axes(importer, node)?)?,
    };
    Ok(Value::Computed(view))
}

fn flatten(node: &OnnxNode, view: &View) -> Result<View, String> {
    node.only(&["axis"])?;
    let (axis, rank) = (node.int("axis")?.unwrap_or(1), view.axes.len() as i64 + 1);
    match axis == 1 || axis == 1 - rank {
        true => view.reshaped(&[view.dims().iter().product()]),
        false => Err(format!("flattens from axis {axis}, expected 1, behind the batch")),
    }
}

/// Reshapes and transpositions of an image whose channels are in groups.
fn of_groups<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    of: View,
    (groups, swapped, flat): (usize, bool, bool),
) -> Result<Value, String> {
    match node.op {
        "Transpose" if !flat => {
            node.only(&["perm"])?;
            gathers::transposed(of, groups, swapped, node.ints("perm")?.unwrap_or_default())
        }
        "Reshape" => {
            let dims = target(importer, node, &gathers::shape_of_groups(&of, (groups, swapped, flat)))?;
            gathers::joined(importer, node, &of, (groups, swapped), &dims)
        }
        _ => Err("reads groups of channels, of which only a shuffle and a group norm are understood".into()),
    }
}

/// The shape behind the batch that a reshape of a value of shape `dims` gives.
fn target<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    dims: &[usize],
) -> Result<Vec<usize>, String> {
    node.only(&["allowzero"])?;
    let target = importer.constant(node, 1)?.ok_or("has no shape")?;
    let behind = dims.iter().map(|&dim| Int::of(dim as i64));
    let shape: Vec<Int> = std::iter::once(importer.batch).chain(behind).collect();
    let mut target = target.ints("its shape")?.to_vec();
    if node.int("allowzero")? != Some(1) {
        for (dim, found) in target.iter_mut().zip(&shape) {
            if *dim == Int::of(0) {
                *dim = *found;
            }
        }
    }
    let total: usize = dims.iter().product();
    let (first, rest) = target.split_first().ok_or("reshapes to a single number")?;
    let plain = |int: &Int| int.plain().ok_or("has a shape whose later axes depend on the number of images");
    let mut rest = rest.iter().map(plain).collect::<Result<Vec<i64>, _>>()?;
    let known = rest.iter().filter(|&&dim| dim != -1).try_fold(1i64, |n, &dim| n.checked_mul(dim));
    let known = known.filter(|&n| n > 0).ok_or("has a shape without elements")?;
    match (rest.iter().filter(|&&dim| dim == -1).count(), *first == Int::of(-1)) {
        (0, true) if known == total as i64 => {}
        (0 | 1, false) if *first == importer.batch => {}
        (0 | 1, false) => {
            let found = first.plain().map_or("another number".into(), |found| found.to_string());
            return Err(format!("changes the number of images to {found}; export it with a dynamic batch"));
        }
        _ => return Err("leaves more than one axis open, or changes the number of images".into()),
    }
    let open = total as i64 / known;
    rest.iter_mut().filter(|dim| **dim == -1).for_each(|dim| *dim = open);
    Ok(rest.iter().map(|&dim| dim as usize).collect())
}

/// The axes to add or to remove: an attribute before opset 13.
fn axes<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Option<Vec<i64>>, String> {
    node.only(&["axes"])?;
    let axes = match importer.constant(node, 1)? {
        Some(axes) => Some(axes.plain("its axes")?),
        None => node.ints("axes")?.map(<[i64]>::to_vec),
    };
    match axes {
        Some(axes) if axes.len() > MOST_AXES => {
            Err(format!("has {} axes, expected at most {MOST_AXES}", axes.len()))
        }
        axes => Ok(axes),
    }
}

fn squeeze(view: &View, axes: Option<Vec<i64>>) -> Result<View, String> {
    let dims = view.dims();
    let left = squeezed(dims.len() + 1, |i| i > 0 && dims[i - 1] == 1, axes)?;
    let groups: Vec<&[Axis]> =
        left.iter().filter(|&&i| i > 0).map(|&i| view.axes[i - 1].as_slice()).collect();
    match left.first() {
        Some(0) => Ok(view.with_axes(&groups)),
        _ => Err("removes the batch".into()),
    }
}

/// The axes of `rank` that are left, of which those of one element may be removed.
fn squeezed(
    rank: usize,
    is_one: impl Fn(usize) -> bool,
    axes: Option<Vec<i64>>,
) -> Result<Vec<usize>, String> {
    let removed = match axes {
        None => (0..rank).filter(|&i| is_one(i)).collect(),
        Some(axes) => array::axes(&axes, rank)?,
    };
    match removed.iter().find(|&&i| !is_one(i)) {
        Some(i) => Err(format!("removes axis {i}, which has more than one element")),
        None => Ok((0..rank).filter(|i| !removed.contains(i)).collect()),
    }
}

fn unsqueeze(view: &View, axes: Option<Vec<i64>>) -> Result<View, String> {
    let axes = axes.ok_or("has no axes")?;
    let rank = view.axes.len() + 1 + axes.len();
    let added = array::axes(&axes, rank)?;
    if added.contains(&0) {
        return Err("adds an axis before the batch".into());
    }
    let mut groups = view.axes.iter();
    let axes = (1..rank).map(|i| match added.contains(&i) {
        true => Ok(Vec::new()),
        false => groups.next().cloned().ok_or("adds an axis twice"),
    });
    let axes: Vec<Vec<Axis>> = axes.collect::<Result<_, _>>()?;
    match axes.len() <= MOST_AXES {
        true => Ok(View { axes, ..view.clone() }),
        false => Err(format!("makes {} axes, expected at most {MOST_AXES}", axes.len() + 1)),
    }
}

fn of_constant<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    array: &Array,
) -> Result<Array, String> {
    let dims = array.dims();
    match node.op {
        "Transpose" => {
            node.only(&["perm"])?;
            let order = match node.ints("perm")? {
                Some(order) => array::axes(order, dims.len())?,
                None => (0..dims.len()).rev().collect(),
            };
            let mut sorted = order.clone();
            sorted.sort_unstable();
            match sorted.into_iter().eq(0..dims.len()) {
                true => folding::permuted(importer, array, &order),
                false => Err(format!("permutes {} axes by {order:?}", dims.len())),
            }
        }
        "Reshape" => {
            node.only(&["allowzero"])?;
            let target = importer.constant(node, 1)?.ok_or("has no shape")?.plain("its shape")?;
            constant_shape(array, &target).and_then(|dims| array.reshaped(&dims))
        }
        "Squeeze" => {
            let left = squeezed(dims.len(), |i| dims[i] == 1, axes(importer, node)?)?;
            array.reshaped(&left.iter().map(|&i| dims[i]).collect::<Vec<_>>())
        }
        "Unsqueeze" => {
            let axes = axes(importer, node)?.ok_or("has no axes")?;
            let rank = dims.len() + axes.len();
            let (added, mut left) = (array::axes(&axes, rank)?, dims.iter());
            let dim = |i: usize| if added.contains(&i) { Some(1) } else { left.next().copied() };
            let dims: Option<Vec<usize>> = (0..rank).map(dim).collect();
            array.reshaped(&dims.ok_or("adds an axis twice")?)
        }
        _ => {
            node.only(&["axis"])?;
            let (axis, rank) = (node.int("axis")?.unwrap_or(1), dims.len() as i64);
            let axis = if axis < 0 { axis.saturating_add(rank) } else { axis };
            let axis = usize::try_from(axis).ok().filter(|&axis| axis <= dims.len());
            let (rows, columns) = dims.split_at(axis.ok_or("flattens from an axis that it lacks")?);
            array.reshaped(&[rows.iter().product(), columns.iter().product()])
        }
    }
}

fn constant_shape(array: &Array, target: &[i64]) -> Result<Vec<usize>, String> {
    let (dims, len) = (array.dims(), array.dims().iter().product::<usize>() as i64);
    let kept = |(i, &dim): (usize, &i64)| match dim {
        0 => dims.get(i).map_or(0, |&dim| dim as i64),
        dim => dim,
    };
    let target: Vec<i64> = target.iter().enumerate().map(kept).collect();
    let known = target.iter().filter(|&&dim| dim != -1).try_fold(1i64, |n, &dim| n.checked_mul(dim));
    let known = known.filter(|&n| n > 0).ok_or("has a shape without elements")?;
    let dim = |&dim: &i64| usize::try_from(if dim == -1 { len / known } else { dim }).ok();
    let found: Option<Vec<usize>> = target.iter().map(dim).collect();
    found.ok_or_else(|| format!("has the shape {target:?}"))
}

/// `Identity`, `Cast`, `CastLike` and `Dropout`.
pub(super) fn pass<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    match node.op {
        "Cast" => cast(importer, node),
        "CastLike" => cast_like(importer, node),
        "Dropout" => dropout(importer, node),
        _ => {
            node.only(&[])?;
            if let Some(element) = importer.element(node, 0) {
                importer.remember_element(node, element);
            }
            importer.value(node, 0)
        }
    }
}

fn cast<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&["to", "saturate", "round_mode"])?;
    let to = node.int("to")?.unwrap_or(0);
    converted(importer, node, to)
}

/// `CastLike`: to the type of the second input.
fn cast_like<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&["saturate", "round_mode"])?;
    let to = match importer.value(node, 1)? {
        Value::Constant(Array::Int { .. }) => element::INT64,
        Value::Constant(Array::Number(Kind::Bool, _)) => element::BOOL,
        Value::Constant(Array::Number(Kind::Float, _)) | Value::Computed(_) | Value::Formula(..) => {
            element::FLOAT
        }
        _ => return Err("converts to a type that is not understood".into()),
    };
    converted(importer, node, to)
}

/// The first input as numbers of the type `to`. Values are in single precision here, whatever their type in the file.
fn converted<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>, to: i64) -> Result<Value, String> {
    let floats = [element::FLOAT, element::FLOAT16, element::DOUBLE, element::BFLOAT16].contains(&to);
    match importer.value(node, 0)? {
        Value::Constant(array) => {
            importer.remember_element(node, to);
            folding::cast(importer, array, to).map(Value::Constant)
        }
        value @ Value::Formula(..) if floats => Ok(value),
        Value::Computed(_) if floats => importer.computed(node, 0).map(Value::Computed),
        _ => Err(format!("converts to type {to}, which is not understood")),
    }
}

fn dropout<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&["ratio", "seed"])?;
    node.one_output()?;
    if importer.constant(node, 2)?.is_some_and(|training| match training {
        Array::Number(_, training) => training.data() != [0.0],
        Array::Int { .. } => true,
    }) {
        return Err("drops values while it is used".into());
    }
    let view = importer.computed(node, 0)?;
    let p = match importer.constant(node, 1)? {
        Some(ratio) => ratio.number("its ratio")?,
        None => node.float("ratio")?.unwrap_or(0.5),
    };
    let layer = Layer::Dropout { p };
    layer.check().map_err(|e| e.to_string())?;
    let id = importer.push(node, layer, &[view.node]);
    Ok(Value::Computed(view.at(id)))
}
