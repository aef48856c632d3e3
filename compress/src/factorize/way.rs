//! How one layer is split: the ways in the order of their options, the rank of each, and what it costs.

use super::cost::{Cost, cost, time};
use super::cp::{self, Cp};
use super::rule::{Rule, relative_error};
use super::scales::Scales;
use super::split::Unfolding;
use super::svd::Svd;
use super::tucker;
use super::{ConvSplit, FactorizeConfig, Spectrum};
use lopper_engine::layer::Conv2d;
use lopper_engine::{Error, Layer, Result, Tensor, memory};

/// How a layer is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By the singular values of this matrix.
    Matrix(Unfolding),
    /// By those of the channel or the spatial matrix, whichever leaves the smaller error at the same cost.
    Better,
    /// By those of this matrix, at this rank.
    OfRank(Unfolding, usize),
    /// By Tucker's decomposition.
    Tucker,
    /// By CP decomposition.
    Cp,
}

impl Way {
    /// The way of a convolution; `Err` says why it cannot be split.
    pub fn of(conv: &Conv2d, split: ConvSplit) -> Result<Self, String> {
        if conv.groups > 1 {
            return Err(format!("its {} groups of channels share no factors", conv.groups));
        }
        Ok(match split {
            ConvSplit::None => return Err("convolutions stay whole".into()),
            // A pointwise convolution is a matrix in every view.
            _ if conv.kernel() == [1, 1] => Self::Matrix(Unfolding::Channel),
            ConvSplit::Channel => Self::Matrix(Unfolding::Channel),
            ConvSplit::Spatial => Self::Matrix(Unfolding::Spatial),
            ConvSplit::Tucker => Self::Tucker,
            ConvSplit::Cp => Self::Cp,
            ConvSplit::Auto => Self::Better,
        })
    }

    /// The matrices whose singular values it compares.
    pub fn unfoldings(self) -> Vec<Unfolding> {
        match self {
            Self::Matrix(unfolding) | Self::OfRank(unfolding, _) => vec![unfolding],
            Self::Better => vec![Unfolding::Spatial, Unfolding::Channel],
            Self::Tucker | Self::Cp => Vec::new(),
        }
    }
}

/// The layers that replace one, the line of the report, and the singular values if they are those of one matrix.
pub(super) struct Split {
    pub layers: Vec<Layer>,
    pub summary: String,
    pub spectrum: Option<Spectrum>,
}

/// The layers of a way before they are accepted.
struct Candidate {
    layers: Vec<Layer>,
    rank: String,
    error: f64,
    spectrum: Option<Spectrum>,
}

/// The weight of a convolution or linear layer, scaled.
pub(super) fn matrix_of(layer: &Layer, scales: &Scales) -> Tensor {
    scales.applied(layer.params()[0].1.value())
}

/// The factors of `layer` by `way`, or why it is not split. `x` is the shape of its input, if known.
pub(super) fn split(
    layer: &Layer,
    way: Way,
    config: &FactorizeConfig,
    scales: &Scales,
    x: Option<&[usize]>,
) -> Result<Result<Split, String>> {
    let whole = cost(std::slice::from_ref(layer), x)?;
    // A decomposition is slow: skip it for a rank that is refused anyway.
    if let Way::Matrix(unfolding) = way {
        let shape = layer.params()[0].1.value().shape();
        let [rows, columns] = unfolding.sides(shape);
        let known = config.rank(rows, columns).filter(|_| !config.force);
        if let Some(rank) = known {
            let outline = cost(&unfolding.outline(layer, shape, rank), x)?;
            if let Some(why) = outline.refuses(&whole, &named(unfolding, rank)) {
                return Ok(Err(why));
            }
        }
    }
    check_finite(layer)?;
    let weight = matrix_of(layer, scales);
    let candidate = match (layer, way, config.rule()) {
        (_, Way::OfRank(unfolding, rank), _) => of_matrix(layer, unfolding, &weight, |_| rank)?,
        (_, Way::Matrix(unfolding), Some(rule)) => {
            of_matrix(layer, unfolding, &weight, |svd| rule.rank(svd.squares(), svd.sides()))?
        }
        (_, Way::Better, Some(rule)) => better(layer, &weight, rule, x)?,
        (Layer::Conv2d(conv), Way::Tucker, Some(rule)) => of_tucker(conv, &weight, rule)?,
        (Layer::Conv2d(conv), Way::Cp, Some(rule)) => match of_cp(conv, &weight, rule)? {
            Ok(candidate) => candidate,
            Err(why) => return Ok(Err(why)),
        },
        _ => return Err(Error::invalid("factorize: expected a rule for the rank, found none")),
    };
    // What takes less time by the estimate of a target is known to pay on that machine.
    let force = config.force || config.target_latency.is_some();
    accept(candidate, layer, scales, &whole, force, x)
}

/// Undoes the scales, and refuses what is not smaller and faster unless it is forced.
fn accept(
    candidate: Candidate,
    layer: &Layer,
    scales: &Scales,
    whole: &Cost,
    force: bool,
    x: Option<&[usize]>,
) -> Result<Result<Split, String>> {
    let Candidate { mut layers, rank, error, spectrum } = candidate;
    let after = cost(&layers, x)?;
    if let Some(why) = after.refuses(whole, &rank).filter(|_| !force) {
        return Ok(Err(why));
    }
    let mut savings = String::new();
    if let (Layer::Conv2d(_), Some(x)) = (layer, x) {
        let macs = after.macs as f64 / whole.macs as f64;
        let estimated = time(&layers, x)? / time(std::slice::from_ref(layer), x)?;
        // Winograd's algorithm takes a KH×KW convolution for less than its products, but no factor of one row.
        if estimated >= 1.0 && !force {
            return Ok(Err(format!(
                "{rank} takes {estimated:.2} of the time by the plan's estimate, for {macs:.2} of the \
                 multiply-accumulates"
            )));
        }
        savings = format!(", {macs:.2} of the multiply-accumulates, {estimated:.2} of the estimated time");
    }
    unscale(&mut layers, scales);
    let (before, after) = (whole.weights, after.weights);
    let summary = format!("{rank}, {before} → {after} weights{savings}, relative error {error:.4}");
    Ok(Ok(Split { layers, summary, spectrum }))
}

/// Divides the first and the last factor by what the weight was multiplied with.
fn unscale(layers: &mut [Layer], scales: &Scales) {
    if scales.are_plain() {
        return;
    }
    if let [first, .., last] = layers {
        let weight = |layer: &Layer| layer.params()[0].1.value().clone();
        let (mut head, mut tail) = (weight(first), weight(last));
        scales.undo(&mut head, &mut tail);
        for (layer, value) in [(first, head), (last, tail)] {
            if let Some((_, param)) = layer.params_mut().into_iter().next() {
                param.set_value(value).expect("the same shape");
            }
        }
    }
}

fn check_finite(layer: &Layer) -> Result<()> {
    match layer.params()[0].1.value().data().iter().find(|w| !w.is_finite()) {
        Some(value) => Err(Error::invalid(format!("factorize: expected finite weights, found {value}"))),
        None => Ok(()),
    }
}

/// `spatial, rank 7`; of a linear layer, `rank 7`.
fn named(unfolding: Unfolding, rank: usize) -> String {
    match unfolding.name() {
        "" => format!("rank {rank}"),
        name => format!("{name}, rank {rank}"),
    }
}

/// The singular values of a view of `weight`.
pub(super) fn decomposed(unfolding: Unfolding, weight: &Tensor) -> Result<Svd> {
    let [rows, columns] = unfolding.sides(weight.shape());
    memory::require("the matrices of the decomposition", Svd::bytes(rows, columns))?;
    Svd::new(unfolding.matrix(weight)).ok_or_else(diverged)
}

fn diverged() -> Error {
    Error::invalid("factorize: the decomposition did not converge: exclude the layer")
}

fn of_matrix(
    layer: &Layer,
    unfolding: Unfolding,
    weight: &Tensor,
    rank: impl Fn(&Svd) -> usize,
) -> Result<Candidate> {
    let svd = decomposed(unfolding, weight)?;
    Ok(of_svd(layer, unfolding, weight, &svd, rank(&svd)))
}

fn of_svd(layer: &Layer, unfolding: Unfolding, weight: &Tensor, svd: &Svd, rank: usize) -> Candidate {
    let [outputs, inputs] = unfolding.sides(weight.shape());
    Candidate {
        layers: unfolding.of_rank(layer, svd, rank),
        rank: format!("{} of {}", named(unfolding, rank), svd.squares().len()),
        error: relative_error(svd.squares(), rank),
        spectrum: Some(Spectrum { layer: String::new(), outputs, inputs, rank, values: svd.values() }),
    }
}

/// Of spatial and channel SVD: for a rule that bounds the error, the one with the fewer products; otherwise the one with
/// the smaller error at the cost that the rule gives channel SVD.
fn better(layer: &Layer, weight: &Tensor, rule: Rule, x: Option<&[usize]>) -> Result<Candidate> {
    let [spatial, channel] = [Unfolding::Spatial, Unfolding::Channel];
    let svds = [decomposed(spatial, weight)?, decomposed(channel, weight)?];
    let count = |unfolding: Unfolding, rank: usize| {
        let cost = cost(&unfolding.outline(layer, weight.shape(), rank), x)?;
        Ok::<u64, Error>(if cost.macs > 0 { cost.macs } else { cost.weights })
    };
    let [alone, rank] = [&svds[0], &svds[1]].map(|svd| rule.rank(svd.squares(), svd.sides()));
    let (spatial_rank, chosen) = match rule {
        Rule::Fraction(_) => {
            let affordable = (count(channel, rank)? / count(spatial, 1)?.max(1)) as usize;
            let other = affordable.clamp(1, svds[0].squares().len());
            let errors = [relative_error(svds[0].squares(), other), relative_error(svds[1].squares(), rank)];
            (other, affordable >= 1 && errors[0] < errors[1])
        }
        _ => (alone, count(spatial, alone)? < count(channel, rank)?),
    };
    Ok(match chosen {
        true => of_svd(layer, spatial, weight, &svds[0], spatial_rank),
        false => of_svd(layer, channel, weight, &svds[1], rank),
    })
}

fn of_tucker(conv: &Conv2d, weight: &Tensor, rule: Rule) -> Result<Candidate> {
    memory::require("the matrices of the decomposition", tucker::bytes(weight.shape()))?;
    let tucker::Tucker { layers, ranks: [r, s], error } =
        tucker::split(conv, weight, rule).ok_or_else(diverged)?;
    let (o, c) = (conv.out_channels(), conv.in_channels());
    let rank = format!("tucker, ranks {s} of {c} inputs and {r} of {o} outputs");
    Ok(Candidate { layers, rank, error, spectrum: None })
}

/// CP at the rank of `rule`: for one that bounds the error, the smallest that does, or why none does.
fn of_cp(conv: &Conv2d, weight: &Tensor, rule: Rule) -> Result<Result<Candidate, String>> {
    let full = cp::full_rank(weight.shape());
    memory::require("the matrices of the decomposition", cp::bytes(weight.shape(), full))?;
    let at = |rank: usize| Cp::new(weight, rank).ok_or_else(diverged);
    let bound = match rule {
        Rule::Energy(energy) => Some((1.0 - energy).max(0.0).sqrt()),
        Rule::Error(error) => Some(error),
        Rule::Fraction(_) | Rule::Vbmf => None,
    };
    let (rank, found) = match bound {
        None => {
            let rank = rule.rank_of(full).unwrap_or(full);
            (rank, at(rank)?)
        }
        Some(bound) => {
            let (mut low, mut high, mut best) = (1, full, at(full)?);
            if best.error > bound {
                let error = best.error;
                return Ok(Err(format!("cp, rank {full} leaves a relative error of {error:.4}")));
            }
            while low < high {
                let middle = usize::midpoint(low, high);
                let found = at(middle)?;
                if found.error <= bound { (high, best) = (middle, found) } else { low = middle + 1 }
            }
            (high, best)
        }
    };
    let rank = format!("cp, rank {rank} of {full}");
    Ok(Ok(Candidate { layers: found.layers(conv), rank, error: found.error, spectrum: None }))
}
