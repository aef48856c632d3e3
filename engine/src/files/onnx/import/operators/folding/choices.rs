//! Elements of constants in other places: extended, permuted, gathered, sliced and joined.

use super::broadcast::{Positions, room, together};
use super::elementwise::made;
use crate::files::onnx::import::array::Array;
use crate::files::onnx::import::importer::Importer;

/// `Expand` to `shape`, which may be smaller along any axis.
pub(super) fn expanded(importer: &mut Importer<'_, '_>, x: &Array, shape: &[i64]) -> Result<Array, String> {
    let shape: Option<Vec<usize>> = shape.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    let shape = shape.ok_or("expands to a negative size")?;
    let dims = together(&[x.dims(), &shape])?;
    let positions = Positions::of(x.dims(), &dims);
    picked(importer, x, &dims, |i| positions.at(i))
}

/// The axes of `x` in the order `order`, a permutation.
pub(in crate::files::onnx::import) fn permuted(
    importer: &mut Importer<'_, '_>,
    x: &Array,
    order: &[usize],
) -> Result<Array, String> {
    let dims: Vec<usize> = order.iter().map(|&axis| x.dims()[axis]).collect();
    let steps = steps(x.dims());
    let axes: Vec<[usize; 2]> = order.iter().map(|&axis| [x.dims()[axis], steps[axis]]).collect();
    picked(importer, x, &dims, |i| position(&axes, i, |_, at| at))
}

/// Elements `indices` of `x` along `axis`, in the shape `shape`.
pub(in crate::files::onnx::import) fn gathered(
    importer: &mut Importer<'_, '_>,
    x: &Array,
    axis: usize,
    (shape, indices): (&[usize], &[usize]),
) -> Result<Array, String> {
    let dims = [&x.dims()[..axis], shape, &x.dims()[axis + 1..]].concat();
    let behind: usize = x.dims()[axis + 1..].iter().product();
    let (size, count) = (x.dims()[axis], indices.len().max(1));
    picked(importer, x, &dims, |i| {
        let (at, rest) = (i / behind, i % behind);
        (at / count * size + indices[at % count]) * behind + rest
    })
}

/// The parts `(axis, start, end, step)` of `x`.
pub(in crate::files::onnx::import) fn sliced(
    importer: &mut Importer<'_, '_>,
    x: &Array,
    parts: &[(usize, usize, usize, usize)],
) -> Result<Array, String> {
    let mut ranges: Vec<[usize; 3]> = x.dims().iter().map(|&dim| [0, dim, 1]).collect();
    for &(axis, start, end, step) in parts {
        ranges[axis] = [start, end, step];
    }
    let dims: Vec<usize> = ranges.iter().map(|[start, end, step]| (end - start).div_ceil(*step)).collect();
    let axes: Vec<[usize; 2]> =
        dims.iter().copied().zip(steps(x.dims())).map(|(dim, step)| [dim, step]).collect();
    picked(importer, x, &dims, |i| position(&axes, i, |axis, at| ranges[axis][0] + at * ranges[axis][2]))
}

/// `parts` one behind the other along `axis`.
pub(in crate::files::onnx::import) fn joined(
    importer: &mut Importer<'_, '_>,
    parts: &[Array],
    axis: usize,
) -> Result<Array, String> {
    let first = parts.first().ok_or("joins nothing")?;
    let mut dims = first.dims().to_vec();
    let others = |dims: &[usize]| [&dims[..axis], &dims[axis + 1..]].concat();
    let fits = |part: &Array| part.dims().len() == dims.len() && others(part.dims()) == others(&dims);
    if !parts.iter().all(|part| part.what() == first.what() && fits(part)) {
        let shapes: Vec<_> = parts.iter().map(|part| (part.what(), part.dims())).collect();
        return Err(format!("joins constants {shapes:?} along axis {axis}"));
    }
    let sizes = || parts.iter().map(|part| part.dims()[axis]);
    let total = sizes().try_fold(0usize, |sum, size| sum.checked_add(size)).ok_or("joins too much")?;
    dims[axis] = total;
    let behind: usize = dims[axis + 1..].iter().product();
    // The part and its place of each position along the axis.
    room(importer, &[total], false)?;
    let places: Vec<(usize, usize)> =
        sizes().enumerate().flat_map(|(part, size)| (0..size).map(move |at| (part, at))).collect();
    let from = |i: usize| {
        let (at, rest) = (i / behind, i % behind);
        let (part, place) = places[at % total];
        (part, (at / total * parts[part].dims()[axis] + place) * behind + rest)
    };
    match first {
        Array::Int { .. } => {
            let len = room(importer, &dims, true)?;
            let ints = parts.iter().map(|part| part.ints("a part")).collect::<Result<Vec<_>, _>>()?;
            let values = (0..len).map(from).map(|(part, at)| ints[part][at]).collect();
            Ok(Array::Int { dims, values })
        }
        Array::Number(kind, _) => {
            let numbers = parts.iter().map(|part| part.floats("a part")).collect::<Result<Vec<_>, _>>()?;
            made(importer, &dims, *kind, |i| {
                let (part, at) = from(i);
                numbers[part].data()[at]
            })
        }
    }
}

/// The constant of shape `dims` whose element `i` is that of `x` at `from(i)`.
fn picked(
    importer: &mut Importer<'_, '_>,
    x: &Array,
    dims: &[usize],
    from: impl Fn(usize) -> usize,
) -> Result<Array, String> {
    match x {
        Array::Int { values, .. } => {
            let values = (0..room(importer, dims, true)?).map(|i| values[from(i)]).collect();
            Ok(Array::Int { dims: dims.to_vec(), values })
        }
        Array::Number(kind, x) => made(importer, dims, *kind, |i| x.data()[from(i)]),
    }
}

/// How far apart neighbors along each axis of `dims` are.
fn steps(dims: &[usize]) -> Vec<usize> {
    (0..dims.len()).map(|axis| dims[axis + 1..].iter().product()).collect()
}

/// The sum over all axes, each with its size and its step, of the step times what `place` says of the axis and of the place
/// along it at position `i`.
fn position(axes: &[[usize; 2]], mut i: usize, place: impl Fn(usize, usize) -> usize) -> usize {
    let mut found = 0;
    for (axis, &[size, step]) in axes.iter().enumerate().rev() {
        found += place(axis, i % size) * step;
        i /= size;
    }
    found
}
