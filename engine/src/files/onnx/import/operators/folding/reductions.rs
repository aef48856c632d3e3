//! Constants that are reduced along axes, and ranges of numbers.

use super::broadcast::{Positions, room};
use super::elementwise::{INEXACT, integer, made, number};
use crate::Tensor;
use crate::files::onnx::import::array::{Array, Kind};
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::int::Int;

/// `x` reduced along `axes` by `op`. The axes are kept, with one element each, or left out.
pub(super) fn reduced(
    importer: &mut Importer<'_, '_>,
    (op, keeps): (&str, bool),
    x: &Array,
    axes: &[usize],
) -> Result<Array, String> {
    let dims = x.dims();
    let ones: Vec<usize> =
        (0..dims.len()).map(|axis| if axes.contains(&axis) { 1 } else { dims[axis] }).collect();
    let kept = (0..dims.len()).filter(|axis| keeps || !axes.contains(axis));
    let kept: Vec<usize> = kept.map(|axis| ones[axis]).collect();
    let positions = Positions::of(&ones, dims);
    let (step, start) = match op {
        "ReduceProd" => ("Mul", 1),
        "ReduceSum" => ("Add", 0),
        "ReduceMax" if !x.is_empty() => ("Max", 0),
        "ReduceMin" if !x.is_empty() => ("Min", 0),
        _ => return Err(format!("reduces {dims:?}")),
    };
    // Each number is read, and counts like one that is made.
    room(importer, &[x.len()], false)?;
    match x {
        Array::Int { values, .. } => {
            let found = vec![None; room(importer, &ones, true)?];
            let function = |a, b| integer((step, false), a, b).ok_or(INEXACT);
            let found = accumulated(found, values.iter().copied().enumerate(), &positions, function)?;
            let values = found.into_iter().map(|value| value.unwrap_or(Int::of(start))).collect();
            Ok(Array::Int { dims: kept, values })
        }
        Array::Number(Kind::Float, x) => {
            let found = vec![None; room(importer, &ones, false)?];
            let (function, _) = number((step, false), Kind::Float).ok_or("reduces what it cannot")?;
            let values = x.data().iter().copied().enumerate();
            let found = accumulated(found, values, &positions, |a, b| Ok::<f32, String>(function(a, b)))?;
            let values = found.into_iter().map(|value| value.unwrap_or(start as f32)).collect();
            let values = Tensor::from_vec(&kept, values).map_err(|e| e.to_string())?;
            Ok(Array::Number(Kind::Float, values))
        }
        Array::Number(..) => Err(format!("reduces {}, which is not understood", x.what())),
    }
}

/// `found`, to which each of `values` is added by `function` at its place.
fn accumulated<T: Copy, E>(
    mut found: Vec<Option<T>>,
    values: impl Iterator<Item = (usize, T)>,
    positions: &Positions,
    function: impl Fn(T, T) -> Result<T, E>,
) -> Result<Vec<Option<T>>, E> {
    for (i, value) in values {
        let place = &mut found[positions.at(i)];
        *place = Some(match *place {
            None => value,
            Some(sum) => function(sum, value)?,
        });
    }
    Ok(found)
}

/// `Range` from `start` to `limit`, without it, in steps of `delta`.
pub(super) fn range(
    importer: &mut Importer<'_, '_>,
    [start, limit, delta]: [&Array; 3],
) -> Result<Array, String> {
    let all = [start, limit, delta];
    if all.iter().all(|array| matches!(array, Array::Int { .. })) {
        let mut numbers = [0; 3];
        for (number, array) in numbers.iter_mut().zip(all) {
            let [found] = array.plain("a bound")?[..] else { return Err("has several bounds".into()) };
            *number = i128::from(found);
        }
        let [start, limit, delta] = numbers;
        if delta == 0 {
            return Err("has steps of 0".into());
        }
        let count = (limit - start + delta - delta.signum()) / delta;
        let count = room(importer, &[usize::try_from(count.max(0)).unwrap_or(usize::MAX)], true)?;
        let value = |i: usize| i64::try_from(start + i as i128 * delta).map(Int::of);
        let values = (0..count).map(value).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        return Ok(Array::list(values));
    }
    let [start, limit, delta] =
        [start.number("its start")?, limit.number("its limit")?, delta.number("its step")?];
    let count = (f64::from(limit - start) / f64::from(delta)).ceil();
    if !count.is_finite() {
        return Err(format!("counts from {start} to {limit} in steps of {delta}"));
    }
    let count = count.clamp(0.0, (1u64 << 53) as f64) as usize;
    made(importer, &[count], Kind::Float, |i| start + i as f32 * delta)
}
