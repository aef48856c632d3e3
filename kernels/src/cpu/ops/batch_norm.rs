//! Batch normalization (Ioffe & Szegedy 2015) over the rows of `x` `[rows, C]`, with `rows = N·H·W` for images and
//! `N` for vectors: `x̂ = (x − mean)/√(var + eps)`, `y = activation(gamma·x̂ + beta + residual)`, per channel.
//!
//! All of it is memory-bound, so the implementation minimizes reads and writes:
//!
//! ```text
//! forward    statistics   reads x                      backward   sums      reads x, y, dy
//!            normalize    reads x (residual), writes y            dx        reads x, y, dy, writes dx over dy
//! ```
//!
//! The residual sum and the activation would otherwise take separate passes; here they are fused in both directions.
//! The backward pass takes the activation's gradient from its output `y`.
//!
//! A one-pass variance in `f32` is safe here because each chunk of rows subtracts its own first row. The squares then
//! have the magnitude of the spread, not of the mean. Even if that row is an outlier, the relative error stays below
//! `ε` times the number of rows in a chunk. Chunks are combined in `f64`, by the formula of Chan, Golub & LeVeque
//! (1983).

use crate::activation::{Activation, Function, Visitor};
use crate::cpu::ops::columns::{Repeated, Shift, column_sums, map_channels};
use crate::cpu::ops::lanewise::lanewise_here;
use crate::cpu::{Cpu, Epilogue, LaneImages};
use crate::params::{Normalized, Statistics};
use crate::shapes::BatchNorm;
use rayon::prelude::*;

/// Normalizes by the statistics of this batch, scales and shifts by `affine`, which is `gamma` and `beta`, and ends
/// with `epilogue`, which has no bias. Also returns the statistics: `mean` and the biased variance `var`, both `[C]`.
pub fn batch_norm_forward_train(
    cpu: &Cpu,
    g: &BatchNorm,
    x: &[f32],
    affine: [&[f32]; 2],
    epilogue: &Epilogue,
    y: &mut [f32],
    [mean, var]: [&mut [f32]; 2],
) {
    assert_eq!((x.len(), mean.len(), var.len()), (g.len(), g.c, g.c));
    statistics(cpu, g.rows, x, mean, var);
    batch_norm_forward_eval(cpu, g, x, [mean, var], affine, epilogue, y);
}

/// Computes the mean and the biased variance of each channel.
fn statistics(cpu: &Cpu, rows: usize, x: &[f32], mean: &mut [f32], var: &mut [f32]) {
    let c = mean.len();
    let parts = column_sums(cpu, c, Shift::FirstTile, [x], |first, [x]| {
        let d = x - first;
        [d, d * d]
    });
    let mut center = vec![0.0; c];
    parts.for_each(|part| {
        center[part.channel] += part.count as f64 * f64::from(x[part.first]) + part.sums[0];
    });
    center.iter_mut().for_each(|center| *center /= rows as f64);
    // Σ(x − mean)² of a part is its spread about its own mean plus count times the squared distance of the two means.
    let mut squares = vec![0.0; c];
    parts.for_each(|part| {
        let [d, dd] = part.sums;
        let (n, offset) = (part.count as f64, d / part.count as f64);
        let away = f64::from(x[part.first]) + offset - center[part.channel];
        squares[part.channel] += (dd - d * offset).max(0.0) + n * away * away;
    });
    for ch in 0..c {
        mean[ch] = center[ch] as f32;
        var[ch] = (squares[ch] / rows as f64) as f32;
    }
}

/// Normalizes by the given mean and variance; the rest is as in [`batch_norm_forward_train`]. The mean is subtracted
/// first, so that a large mean causes no cancellation.
pub fn batch_norm_forward_eval(
    cpu: &Cpu,
    g: &BatchNorm,
    x: &[f32],
    statistics: [&[f32]; 2],
    affine: [&[f32]; 2],
    epilogue: &Epilogue,
    y: &mut [f32],
) {
    assert_eq!((x.len(), statistics[0].len()), (g.len(), g.c));
    let packed = PackedBatchNorm::new(statistics, affine, g.eps);
    batch_norm_forward_packed(cpu, &packed, x, epilogue, y);
}

/// A batch norm with given statistics, packed in the order in which the kernel reads it.
pub struct PackedBatchNorm(Repeated<3>);

impl PackedBatchNorm {
    /// Packs mean and variance, `gamma` and `beta`, `[C]` each.
    pub fn new([mean, var]: [&[f32]; 2], [gamma, beta]: [&[f32]; 2], eps: f32) -> Self {
        Self(Repeated::new(mean.len(), [mean, &factors(var, gamma, eps), beta]))
    }

    /// The size of the packed parameters in bytes.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The size of the packed parameters of `c` channels in bytes, known before they are packed.
    pub fn bytes_of(c: usize) -> usize {
        Repeated::<3>::bytes_of(c)
    }
}

/// [`batch_norm_forward_eval`] with packed parameters. The results are bit-identical, and it allocates nothing.
pub fn batch_norm_forward_packed(
    cpu: &Cpu,
    packed: &PackedBatchNorm,
    x: &[f32],
    epilogue: &Epilogue,
    y: &mut [f32],
) {
    assert_eq!((x.len(), x.len() % packed.0.channels()), (y.len(), 0));
    let Epilogue { bias, residual, activation } = *epilogue;
    assert!(bias.is_none(), "the bias of a batch norm is beta");
    activation.visit(Forward { cpu, params: &packed.0, x, residual, y });
}

/// [`batch_norm_forward_packed`] without its activation.
struct Forward<'a> {
    cpu: &'a Cpu,
    params: &'a Repeated<3>,
    x: &'a [f32],
    residual: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl Visitor for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn visit(self, function: impl Function) {
        let Self { cpu, params, x, residual, y } = self;
        match residual {
            None => map_channels(cpu, params, [y], [x], move |[mean, factor, beta], _, [x]| {
                [function.apply((x - mean) * factor + beta)]
            }),
            Some(r) => map_channels(cpu, params, [y], [x, r], move |[mean, factor, beta], _, [x, r]| {
                [function.apply((x - mean) * factor + beta + r)]
            }),
        }
    }
}

/// [`batch_norm_forward_packed`] of images in row lanes; a residual is in the same lanes. The bits of each pixel are
/// the same.
pub fn batch_norm_forward_lanes(
    cpu: &Cpu,
    packed: &PackedBatchNorm,
    images: &LaneImages,
    x: &[f32],
    epilogue: &Epilogue,
    y: &mut [f32],
) {
    let len = images.len(packed.0.channels());
    assert_eq!((x.len(), y.len()), (len, len), "input and output have the length of their layout");
    let Epilogue { bias, residual, activation } = *epilogue;
    assert!(bias.is_none(), "the bias of a batch norm is beta");
    assert!(residual.is_none_or(|residual| residual.len() == len), "the residual has the output's length");
    activation.visit(ForwardPlanes { cpu, params: &packed.0, plane: images.plane(), x, residual, y });
}

/// [`Forward`] of channels that are planes of `plane` floats.
struct ForwardPlanes<'a> {
    cpu: &'a Cpu,
    params: &'a Repeated<3>,
    plane: usize,
    x: &'a [f32],
    residual: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl Visitor for ForwardPlanes<'_> {
    type Output = ();

    #[inline(always)]
    fn visit(self, function: impl Function) {
        let Self { cpu, params, plane, x, residual, y } = self;
        cpu.run(|| {
            cpu.divide(y.par_chunks_mut(plane).enumerate()).for_each(|(i, y)| {
                let part = |of: &'_ [f32]| i * plane..(i * plane + y.len()).min(of.len());
                let [mean, factor, beta] = params.of(i % params.channels());
                match residual {
                    None => lanewise_here(cpu, y, [&x[part(x)]], move |[x]| {
                        function.apply((x - mean) * factor + beta)
                    }),
                    Some(r) => lanewise_here(cpu, y, [&x[part(x)], &r[part(r)]], move |[x, r]| {
                        function.apply((x - mean) * factor + beta + r)
                    }),
                }
            });
        });
    }
}

/// Computes the gradients of [`batch_norm_forward_train`] or [`batch_norm_forward_eval`]. With `dz`, the gradient
/// before the activation, which follows from `dy` and the output `y`:
///
/// `dbeta = Σ dz`, `dgamma = Σ dz·x̂`, `dx = gamma/√(var + eps) · (dz − dbeta/rows − x̂·dgamma/rows)`. The last two
/// terms apply only to statistics of the batch.
///
/// Without a residual, `dy` is overwritten with `dx`. With a residual, `dy` is overwritten with `dz`, the gradient of
/// the residual, and `dx` is written to `residual_dx`. `y` is not read if there is no activation.
///
/// # Panics
/// Panics if the activation is not a clamp: `y` need not determine the gradient of another.
pub fn batch_norm_backward(
    cpu: &Cpu,
    g: &BatchNorm,
    forward: &Normalized<&[f32]>,
    dy: &mut [f32],
    residual_dx: Option<&mut [f32]>,
    [dgamma, dbeta]: [&mut [f32]; 2],
) {
    let BatchNorm { rows, c, eps } = *g;
    let Normalized { statistics, x, mean, var, gamma, activation, y } = *forward;
    assert_eq!((x.len(), dy.len()), (rows * c, rows * c));
    assert_eq!((mean.len(), var.len(), dgamma.len(), dbeta.len()), (c, c, c, c));
    assert!(activation.bounds().is_some(), "only a clamp is fused with the backward pass");
    let y = match y {
        Some(y) if activation != Activation::None => y,
        // The identity ignores `y`, so any matrix of this size serves.
        y => {
            assert!(activation == Activation::None || y.is_some(), "an activation needs its output");
            x
        }
    };
    let scale = factors(var, gamma, eps);
    let parameters = |dgamma: &mut [f32], dbeta: &mut [f32], sums: Vec<[f64; 2]>| {
        for (ch, [dz, dz_x]) in sums.into_iter().enumerate() {
            dbeta[ch] = dz as f32;
            dgamma[ch] = (dz_x * inv_std(var[ch], eps)) as f32;
        }
        match statistics {
            Statistics::Batch => through_statistics(rows, var, eps, dgamma, dbeta),
            Statistics::Given => [vec![0.0; c], vec![0.0; c]],
        }
    };
    activation.visit(Backward { cpu, x, mean, scale: &scale, y, dy, residual_dx, dgamma, dbeta, parameters });
}

/// The two passes of [`batch_norm_backward`] over the images. `parameters` turns the sums of the first into `dgamma`
/// and `dbeta`, and returns the shift and slope of the second.
struct Backward<'a, P> {
    cpu: &'a Cpu,
    x: &'a [f32],
    mean: &'a [f32],
    /// `gamma/√(var + eps)`.
    scale: &'a [f32],
    y: &'a [f32],
    dy: &'a mut [f32],
    residual_dx: Option<&'a mut [f32]>,
    dgamma: &'a mut [f32],
    dbeta: &'a mut [f32],
    parameters: P,
}

impl<P: FnOnce(&mut [f32], &mut [f32], Vec<[f64; 2]>) -> [Vec<f32>; 2]> Visitor for Backward<'_, P> {
    type Output = ();

    #[inline(always)]
    fn visit(self, function: impl Function) {
        let Self { cpu, x, mean, scale, y, dy, residual_dx, dgamma, dbeta, parameters } = self;
        let c = mean.len();
        let sums = column_sums(cpu, c, Shift::Channels(mean), [x, y, dy], move |mean, [x, y, dy]| {
            let dz = function.gradient(y, dy);
            [dz, dz * (x - mean)]
        });
        let [shift, slope] = parameters(dgamma, dbeta, sums.totals());
        let params = &Repeated::new(c, [mean, scale, &shift, &slope]);
        let dx_of = |[mean, scale, shift, slope]: [f32; 4], x: f32, dz: f32| {
            scale * (dz - shift - (x - mean) * slope)
        };
        match residual_dx {
            None => map_channels(cpu, params, [dy], [x, y], move |p, [dy], [x, y]| {
                [dx_of(p, x, function.gradient(y, dy))]
            }),
            Some(dx) => map_channels(cpu, params, [dy, dx], [x, y], move |p, [dy, _], [x, y]| {
                let dz = function.gradient(y, dy);
                [dz, dx_of(p, x, dz)]
            }),
        }
    }
}

/// Computes `dbeta/rows` and `dgamma/(rows·√(var + eps))`: the gradient through the mean, and the gradient through the
/// variance per unit of `x − mean`.
fn through_statistics(rows: usize, var: &[f32], eps: f32, dgamma: &[f32], dbeta: &[f32]) -> [Vec<f32>; 2] {
    let n = rows as f64;
    let shift = dbeta.iter().map(|&dbeta| (f64::from(dbeta) / n) as f32).collect();
    let slope =
        dgamma.iter().zip(var).map(|(&dgamma, &var)| (f64::from(dgamma) * inv_std(var, eps) / n) as f32);
    [shift, slope.collect()]
}

/// `1/√(var + eps)`.
fn inv_std(var: f32, eps: f32) -> f64 {
    (widened(var) + widened(eps)).sqrt().recip()
}

/// Widens `x` to double precision, in which a subnormal `f32` is a normal number. A plain conversion would turn it into
/// zero on a thread that flushes subnormals, but not on others, and a zero variance gives a different result than a
/// small one.
fn widened(x: f32) -> f64 {
    if !x.is_subnormal() {
        return x.into();
    }
    let steps = f64::from(x.to_bits() & !(1 << 31)) * 2f64.powi(-149);
    if x.is_sign_negative() { -steps } else { steps }
}

/// `gamma/√(var + eps)`.
fn factors(var: &[f32], gamma: &[f32], eps: f32) -> Vec<f32> {
    assert_eq!(var.len(), gamma.len());
    var.iter().zip(gamma).map(|(&var, &gamma)| (widened(gamma) * inv_std(var, eps)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Cpu;

    #[test]
    fn widening_is_exact_on_every_thread() {
        let values = [0.0, -0.0, 1.0, f32::MIN_POSITIVE, 1e-40, -1e-40, f32::from_bits(1), f32::MAX];
        let want = values.map(|x| f64::from(x).to_bits());
        assert_eq!(values.map(|x| widened(x).to_bits()), want);
        let flushing =
            Cpu::detect().threads(1).run(|| values.map(|x| widened(std::hint::black_box(x)).to_bits()));
        assert_eq!(flushing, want);
    }
}
