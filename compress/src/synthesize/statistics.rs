//! The distance of the statistics of a batch from those that a batch norm remembers of its training.

use crate::threads::for_each;
use lopper_engine::layer::BatchNorm;
use lopper_engine::tape::Backward;
use lopper_engine::{Device, Error, Result, Tape, Tensor, Var};

/// Rows that a thread takes at a time. Sums over so many are added in order, whatever the number of threads.
const ROWS: usize = 4096;

/// `‖μ(x) − μ̂‖ + ‖σ²(x) − σ̂²‖` for the input x `[…, C]` of `norm`, whose running mean is μ̂ and running variance σ̂². The
/// variance σ² is divided by the number of rows, as in DeepInversion's code. Sums are in f64.
///
/// The gradient by a value of channel c is `(Δμ_c / ‖Δμ‖ + 2 (x − μ_c) Δσ²_c / ‖Δσ²‖) / rows`.
///
/// # Errors
/// If x has another number of channels.
pub fn distance_of_statistics(tape: &mut Tape, x: &Var, norm: &BatchNorm) -> Result<Var> {
    let (channels, device) = (norm.channels(), tape.device().clone());
    if x.shape().last() != Some(&channels) || x.value().is_empty() {
        return Err(Error::shape(
            "distance of statistics",
            format!("expected [.., {channels}], found {:?}", x.shape()),
        ));
    }
    x.value().fetch()?;
    let (values, rows) = (x.value().data(), (x.value().len() / channels) as f64);
    let mean = means(&device, values, channels, |_, x| x);
    let variance = means(&device, values, channels, |c, x| (x - mean[c]).powi(2));
    let away = |found: &[f64], running: &Tensor| -> (f64, Vec<f64>) {
        let difference: Vec<f64> =
            found.iter().zip(running.data()).map(|(found, &known)| found - f64::from(known)).collect();
        let length = difference.iter().map(|d| d * d).sum::<f64>().sqrt();
        let direction = |d: &f64| if length > 0.0 { d / length } else { 0.0 };
        (length, difference.iter().map(direction).collect())
    };
    let (of_mean, towards_mean) = away(&mean, &norm.running_mean);
    let (of_variance, towards_variance) = away(&variance, &norm.running_var);
    let line = |c: usize| {
        let slope = 2.0 * towards_variance[c] / rows;
        (towards_mean[c] / rows - slope * mean[c], slope)
    };
    let op = Statistics { x: x.value().clone(), lines: (0..channels).map(line).collect() };
    Ok(tape.record(&[x], Tensor::scalar((of_mean + of_variance) as f32), op))
}

/// For each channel c, the mean of `f(c, x)` over the rows of `values` `[rows, C]`.
fn means(device: &Device, values: &[f32], channels: usize, f: impl Fn(usize, f64) -> f64 + Sync) -> Vec<f64> {
    let mut parts: Vec<(&[f32], Vec<f64>)> =
        values.chunks(ROWS * channels).map(|part| (part, vec![0.0; channels])).collect();
    for_each(device, &mut parts, |(part, sums)| {
        for row in part.chunks_exact(channels) {
            sums.iter_mut().zip(row).enumerate().for_each(|(c, (sum, &x))| *sum += f(c, x.into()));
        }
    });
    let mut total = vec![0.0; channels];
    for (_, part) in parts {
        total.iter_mut().zip(part).for_each(|(total, sum)| *total += sum);
    }
    let rows = (values.len() / channels) as f64;
    total.into_iter().map(|sum| sum / rows).collect()
}

/// The gradient of a value x of channel c is `a + b·x`, for the c-th of the `lines` (a, b).
struct Statistics {
    x: Tensor,
    lines: Vec<(f64, f64)>,
}

impl Backward for Statistics {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (factor, length) = (f64::from(dy.item()?), ROWS * self.lines.len());
        self.x.fetch()?;
        let mut dx = vec![0.0; self.x.len()];
        let mut parts: Vec<(&mut [f32], &[f32])> =
            dx.chunks_mut(length).zip(self.x.data().chunks(length)).collect();
        for_each(device, &mut parts, |(dx, x)| {
            let lines = self.lines.iter().cycle();
            for ((dx, &x), (a, b)) in dx.iter_mut().zip(*x).zip(lines) {
                *dx = (factor * (a + b * f64::from(x))) as f32;
            }
        });
        Ok(vec![Some(Tensor::from_vec(self.x.shape(), dx)?)])
    }
}
