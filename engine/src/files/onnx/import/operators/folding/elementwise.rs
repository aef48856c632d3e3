//! Functions of each element of one, two or more constants.

use super::broadcast::{Positions, room, together};
use crate::Tensor;
use crate::files::onnx::import::array::{Array, Kind};
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::int::Int;
use std::cmp::Ordering;

/// Why integers have no result.
pub(super) const INEXACT: &str = "has no exact result for every number of images";

/// A function of one number, not of an integer.
pub(super) fn one(importer: &mut Importer<'_, '_>, op: &str, x: &Array) -> Result<Array, String> {
    match (x, op) {
        (Array::Int { dims, values }, "Neg" | "Abs") => {
            let value = |&x: &Int| match op {
                "Neg" => Int::of(0).sub(x),
                _ => x.plain()?.checked_abs().map(Int::of),
            };
            let values = values.iter().map(value).collect::<Option<_>>().ok_or(INEXACT)?;
            Ok(Array::Int { dims: dims.clone(), values })
        }
        (Array::Number(Kind::Bool, x), "Not") => made(importer, x.shape(), Kind::Bool, |i| 1.0 - x.data()[i]),
        (Array::Number(Kind::Float, x), _) => {
            let f: fn(f32) -> f32 = match op {
                "Abs" => f32::abs,
                "Ceil" => f32::ceil,
                "Exp" => f32::exp,
                "Floor" => f32::floor,
                "Log" => f32::ln,
                "Neg" => |x| -x,
                "Reciprocal" => |x| 1.0 / x,
                "Sqrt" => f32::sqrt,
                _ => return Err(refused(op, &[x.shape()], "numbers")),
            };
            made(importer, x.shape(), Kind::Float, |i| f(x.data()[i]))
        }
        _ => Err(refused(op, &[x.dims()], x.what())),
    }
}

/// A function of two constants of one type. `remainder` is the attribute `fmod` of `Mod`.
pub(super) fn two(
    importer: &mut Importer<'_, '_>,
    (op, remainder): (&str, bool),
    [x, y]: [&Array; 2],
) -> Result<Array, String> {
    match (x, y) {
        (Array::Int { values, .. }, Array::Int { values: others, .. }) => {
            let dims = together(&[x.dims(), y.dims()])?;
            let len = room(importer, &dims, true)?;
            let [a, b] = [x, y].map(|array| Positions::of(array.dims(), &dims));
            let pairs = (0..len).map(|i| (values[a.at(i)], others[b.at(i)]));
            if let Some(test) = test(op) {
                let found = pairs.map(|(x, y)| x.compared(y).map(|order| f32::from(u8::from(test(order)))));
                let found = found.collect::<Option<Vec<f32>>>().ok_or(INEXACT)?;
                importer.make(len)?;
                let found = Tensor::from_vec(&dims, found).map_err(|e| e.to_string())?;
                return Ok(Array::Number(Kind::Bool, found));
            }
            let values = pairs.map(|(x, y)| integer((op, remainder), x, y)).collect::<Option<_>>();
            Ok(Array::Int { dims, values: values.ok_or(INEXACT)? })
        }
        (Array::Number(kind, a), Array::Number(other, b)) if kind == other => {
            let (f, result) = number((op, remainder), *kind)
                .ok_or_else(|| refused(op, &[a.shape(), b.shape()], x.what()))?;
            let dims = together(&[a.shape(), b.shape()])?;
            let [at, bt] = [a, b].map(|tensor| Positions::of(tensor.shape(), &dims));
            made(importer, &dims, result, |i| f(a.data()[at.at(i)], b.data()[bt.at(i)]))
        }
        (Array::Number(Kind::Float, _), Array::Int { .. }) if op == "Pow" => {
            two(importer, (op, remainder), [x, &y.numbers()?])
        }
        _ => Err(format!(
            "combines {} of shape {:?} and {} of shape {:?}",
            x.what(),
            x.dims(),
            y.what(),
            y.dims()
        )),
    }
}

/// `Where`.
pub(super) fn choice(importer: &mut Importer<'_, '_>, [which, x, y]: [&Array; 3]) -> Result<Array, String> {
    let Array::Number(Kind::Bool, which) = which else {
        return Err(format!("chooses by {}, expected truth values", which.what()));
    };
    let dims = together(&[which.shape(), x.dims(), y.dims()])?;
    let [w, a, b] = [which.shape(), x.dims(), y.dims()].map(|shape| Positions::of(shape, &dims));
    let first = |i: usize| which.data()[w.at(i)] != 0.0;
    match (x, y) {
        (Array::Int { values, .. }, Array::Int { values: others, .. }) => {
            let value = |i: usize| if first(i) { values[a.at(i)] } else { others[b.at(i)] };
            let values = (0..room(importer, &dims, true)?).map(value).collect();
            Ok(Array::Int { dims, values })
        }
        (Array::Number(kind, x), Array::Number(other, y)) if kind == other => {
            let number = |i: usize| if first(i) { x.data()[a.at(i)] } else { y.data()[b.at(i)] };
            made(importer, &dims, *kind, number)
        }
        _ => Err(format!("chooses between {} and {}", x.what(), y.what())),
    }
}

/// A constant of `kind` with the numbers that `number` gives, once there is room for it.
pub(super) fn made(
    importer: &mut Importer<'_, '_>,
    dims: &[usize],
    kind: Kind,
    number: impl FnMut(usize) -> f32,
) -> Result<Array, String> {
    room(importer, dims, false)?;
    Ok(Array::Number(kind, Tensor::from_fn(dims, number)))
}

fn refused(op: &str, shapes: &[&[usize]], what: &str) -> String {
    format!("computes `{op}` of {what} of shape {shapes:?}, which is not understood")
}

/// What a comparison of this name wants.
fn test(op: &str) -> Option<fn(Ordering) -> bool> {
    Some(match op {
        "Equal" => Ordering::is_eq,
        "Less" => Ordering::is_lt,
        "LessOrEqual" => Ordering::is_le,
        "Greater" => Ordering::is_gt,
        "GreaterOrEqual" => Ordering::is_ge,
        _ => return None,
    })
}

/// A function of two integers.
pub(super) fn integer((op, remainder): (&str, bool), x: Int, y: Int) -> Option<Int> {
    match op {
        "Add" | "Sum" => x.add(y),
        "Sub" => x.sub(y),
        "Mul" => x.mul(y),
        "Div" => x.div(y),
        "Max" => Some(if x.compared(y)?.is_ge() { x } else { y }),
        "Min" => Some(if x.compared(y)?.is_le() { x } else { y }),
        "Mod" => {
            let (x, y) = (x.plain()?, y.plain()?);
            let rest = x.checked_rem(y)?;
            // With the sign of the divisor, or else of the dividend.
            let other = !remainder && rest != 0 && (rest < 0) != (y < 0);
            Some(Int::of(if other { rest + y } else { rest }))
        }
        "Pow" => x.plain()?.checked_pow(u32::try_from(y.plain()?).ok()?).map(Int::of),
        _ => None,
    }
}

/// A function of two numbers.
type Function = fn(f32, f32) -> f32;

/// A function of two numbers or of two truth values, and what it makes.
pub(super) fn number((op, remainder): (&str, bool), kind: Kind) -> Option<(Function, Kind)> {
    fn truth(is: bool) -> f32 {
        f32::from(u8::from(is))
    }
    let f: Function = match (kind, op) {
        (Kind::Float, "Add" | "Sum") => |x, y| x + y,
        (Kind::Float, "Sub") => |x, y| x - y,
        (Kind::Float, "Mul") => |x, y| x * y,
        (Kind::Float, "Div") => |x, y| x / y,
        (Kind::Float, "Pow") => f32::powf,
        (Kind::Float, "Mod") if remainder => |x, y| x % y,
        // What is not a number stays that.
        (Kind::Float, "Max") => |x, y| if x.is_nan() || x > y { x } else { y },
        (Kind::Float, "Min") => |x, y| if x.is_nan() || x < y { x } else { y },
        (Kind::Float, "Less") => |x, y| truth(x < y),
        (Kind::Float, "LessOrEqual") => |x, y| truth(x <= y),
        (Kind::Float, "Greater") => |x, y| truth(x > y),
        (Kind::Float, "GreaterOrEqual") => |x, y| truth(x >= y),
        (Kind::Float | Kind::Bool, "Equal") => |x, y| truth(x == y),
        (Kind::Bool, "And") => |x, y| x * y,
        (Kind::Bool, "Or") => f32::max,
        (Kind::Bool, "Xor") => |x, y| truth(x != y),
        _ => return None,
    };
    let compares = test(op).is_some();
    Some((f, if compares { Kind::Bool } else { kind }))
}
