//! A layer with zeros: values, weights, and the elements of the result that are known.

use super::check::Samples;
use super::layer::Operation;
use super::pattern::{Channels, Kind, live_weights};
use super::random::Random;
use super::way::Way;
use lopper_kernels::buffer::Buffer;
use lopper_kernels::params::CompactIndex;
use lopper_kernels::pattern::Pattern;
use lopper_kernels::shapes::{Conv2d, Linear};
use std::borrow::Cow;

/// Values of a layer without zeros.
pub(super) struct Data {
    /// The operation on the whole batch.
    pub operation: Operation,
    x: Buffer,
    w: Buffer,
    bias: Buffer,
    /// Whether the inputs are the channels of an image, none of which is ever dead.
    image: bool,
}

impl Data {
    /// Random values for `operation`.
    pub(super) fn new(operation: Operation) -> Self {
        let g = operation.as_conv2d();
        let values = |seed, len| Random::new(seed).values(len).collect::<Buffer>();
        let (x, w, bias) = (values(1, g.x_len()), values(2, g.w_len()), values(3, g.o));
        Self { operation, x, w, bias, image: g.c == 3 && g.groups == 1 }
    }
}

/// What one way computes.
pub(super) struct Problem<'a> {
    /// The operation as it is computed: a pruned one is narrower.
    pub operation: Operation,
    /// The input `[N, H, W, C]`.
    pub x: Cow<'a, [f32]>,
    /// The weight `[O, KH, KW, C/G]`; with `compact`, that between live channels.
    pub w: Cow<'a, [f32]>,
    /// The bias `[O]`.
    pub bias: Cow<'a, [f32]>,
    /// The zeros of the weight.
    pub pattern: Pattern,
    /// The live channels, if the way computes only these and keeps the widths.
    pub compact: Option<CompactIndex>,
    /// Known elements of the result.
    pub samples: Samples,
    /// The share of the layer's weights that are zero, in [0, 1].
    pub zeros: f64,
}

impl<'a> Problem<'a> {
    /// The problem of `way` with random zeros, or `None` if the layer has no such zeros.
    pub(super) fn new(data: &'a Data, way: Way, sparsity: f64) -> Option<Self> {
        let g = data.operation.as_conv2d();
        let shape = g.filters_shape();
        // Ways with the same kind of zeros have the same zeros.
        let random = &mut Random::new(4);
        match way {
            Way::Dense(_) => Some(Self::outer(data, None, None)),
            Way::Masked => {
                let channels = Channels::filters(shape, sparsity, random);
                Some(Self::outer(data, Some(channels.weights(shape)), None))
            }
            Way::Compacted => {
                let applies = g.groups == 1 && !data.operation.is_linear();
                let channels = applies.then(|| Channels::both(shape, sparsity, data.image, random))?;
                Some(Self::outer(data, Some(channels.weights(shape)), Some(channels)))
            }
            Way::PrunedFilters if g.groups > 1 => None,
            Way::PrunedFilters => Some(Self::pruned(data, Channels::filters(shape, sparsity, random))),
            Way::Pruned if g.groups == 1 => {
                Some(Self::pruned(data, Channels::both(shape, sparsity, data.image, random)))
            }
            Way::Pruned if g.is_depthwise() && g.o == g.c => {
                Some(Self::pruned_depthwise(data, &g, Channels::filters(shape, sparsity, random).filters))
            }
            Way::Pruned => None,
            Way::Sparse(Kind::Filters | Kind::Channels) => None,
            Way::Sparse(kind) => {
                Some(Self::outer(data, Some(live_weights(kind, shape, sparsity, random)?), None))
            }
        }
    }

    /// A problem that keeps the widths; only the weights in `live` are nonzero.
    fn outer(data: &'a Data, live: Option<Vec<bool>>, compact: Option<Channels>) -> Self {
        let g = data.operation.as_conv2d();
        let zeros = live
            .as_ref()
            .map_or(0.0, |live| live.iter().filter(|live| !**live).count() as f64 / live.len() as f64);
        let w: Cow<[f32]> = match live {
            None => Cow::Borrowed(&data.w),
            Some(live) => {
                let masked = data.w.iter().zip(live).map(|(&w, live)| if live { w } else { 0.0 });
                Cow::Owned(masked.collect())
            }
        };
        let samples = Samples::new(&g, &data.x, &w, &data.bias);
        let pattern =
            if zeros == 0.0 { Pattern::dense(g.filters_shape()) } else { Pattern::of(&w, g.filters_shape()) };
        let (x, bias) = (Cow::Borrowed(&data.x[..]), Cow::Borrowed(&data.bias[..]));
        let (w, compact) = match compact {
            None => (w, None),
            Some(Channels { inputs, filters }) => {
                let inner = inner_weight(&w, g.filters_shape(), &inputs, &filters);
                (Cow::Owned(inner), Some(CompactIndex { inputs, outputs: filters, carrier: false }))
            }
        };
        Self { operation: data.operation, x, w, bias, pattern, compact, samples, zeros }
    }

    /// A problem without the dead channels.
    fn pruned(data: &'a Data, Channels { inputs, filters }: Channels) -> Self {
        let g = data.operation.as_conv2d();
        let (c, o) = (inputs.len(), filters.len());
        let operation = match data.operation {
            Operation::Conv2d(g) => Operation::Conv2d(Conv2d { c, o, ..g }),
            Operation::Linear(g) => Operation::Linear(Linear { inputs: c, outputs: o, ..g }),
        };
        let w = inner_weight(&data.w, g.filters_shape(), &inputs, &filters);
        let zeros = 1.0 - w.len() as f64 / data.w.len() as f64;
        let x =
            if c == g.c { Cow::Borrowed(&data.x[..]) } else { Cow::Owned(columns(&data.x, g.c, &inputs)) };
        Self::narrow(operation, x, w, columns(&data.bias, g.o, &filters), zeros)
    }

    fn pruned_depthwise(data: &'a Data, g: &Conv2d, live: Vec<u32>) -> Self {
        let count = live.len();
        let operation = Operation::Conv2d(Conv2d { c: count, o: count, groups: count, ..*g });
        let w = inner_weight(&data.w, g.filters_shape(), &[0], &live);
        let x = Cow::Owned(columns(&data.x, g.c, &live));
        let zeros = 1.0 - count as f64 / g.c as f64;
        Self::narrow(operation, x, w, columns(&data.bias, g.o, &live), zeros)
    }

    fn narrow(operation: Operation, x: Cow<'a, [f32]>, w: Vec<f32>, bias: Vec<f32>, zeros: f64) -> Self {
        let g = operation.as_conv2d();
        let samples = Samples::new(&g, &x, &w, &bias);
        let pattern = Pattern::dense(g.filters_shape());
        let (w, bias) = (Cow::Owned(w), Cow::Owned(bias));
        Self { operation, x, w, bias, pattern, compact: None, samples, zeros }
    }
}

/// The weights of `filters` at `inputs`.
fn inner_weight(w: &[f32], [_, taps, c]: [usize; 3], inputs: &[u32], filters: &[u32]) -> Vec<f32> {
    let rows = filters.iter().map(|&filter| &w[filter as usize * taps * c..][..taps * c]);
    rows.flat_map(|row| columns(row, c, inputs)).collect()
}

/// The `kept` channels of every pixel, where a pixel has `width` channels.
fn columns(values: &[f32], width: usize, kept: &[u32]) -> Vec<f32> {
    values.chunks_exact(width).flat_map(|pixel| kept.iter().map(|&i| pixel[i as usize])).collect()
}
