//! Factorization: a linear layer becomes two, by singular value decomposition (Denton et al. 2014; Xue et al. 2013).
//!
//! ```text
//!   before   fc   [OUT, IN], bias                         y = W x + b
//!   after    fc.0 [RANK, IN]  ─ fc.1 [OUT, RANK], bias    y = B (A x) + b,    B·A the best approximation of W of that rank
//! ```
//!
//! `‖W − BA‖ / ‖W‖ = √(Σ_{i > rank} σ_i² / Σ σ_i²)`: the error is the tail of the singular values, and the full rank is
//! the layer itself. Two layers are smaller than one where `rank · (IN + OUT) < IN · OUT`; a rank that is not is skipped
//! unless it is forced.

mod svd;

use crate::lists::Lists;
use lopper_engine::layer::Linear;
use lopper_engine::rewrite::{Edit, Report, Rewrite};
use lopper_engine::{Error, Graph, Layer, NodeId, Param, Result, memory};
use serde::{Deserialize, Serialize};
use svd::Svd;

/// The options of factorization, as a recipe writes them: one of `fraction` and `energy`.
///
/// `include` and `exclude` hold names of layers, or of modules that contain them, as in sparsification.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FactorizeConfig {
    /// The fraction of the full rank to remove, in 0..1: `rank = (1 − fraction) · min(OUT, IN)`, at least 1.
    pub fraction: Option<f64>,
    /// The share of Σ σ² to keep, in 0..=1: the smallest rank that does.
    pub energy: Option<f64>,
    /// Factorize layers too that become no smaller by it.
    pub force: bool,
    /// The layers to factorize; where empty, all linear ones.
    pub include: Vec<String>,
    /// Layers to leave alone.
    pub exclude: Vec<String>,
}

impl FactorizeConfig {
    /// An error that names the first option that makes no sense, whatever the network.
    pub fn check(&self) -> Result<()> {
        match (self.fraction, self.energy) {
            (Some(fraction), None) if (0.0..1.0).contains(&fraction) => Ok(()),
            (None, Some(energy)) if (0.0..=1.0).contains(&energy) => Ok(()),
            (Some(fraction), None) => Err(Error::invalid(format!(
                "factorize fraction: expected a fraction in [0, 1), found {fraction}"
            ))),
            (None, Some(energy)) => {
                Err(Error::invalid(format!("factorize energy: expected a share in [0, 1], found {energy}")))
            }
            _ => Err(Error::invalid("factorize: expected one of `fraction` and `energy`")),
        }
    }

    /// The rank of a layer `[outputs, inputs]` by `fraction`; none where it depends on the layer's singular values.
    pub fn rank(&self, outputs: usize, inputs: usize) -> Option<usize> {
        // Rounded down, but not by the last bit: 0.3 of 10 removed leaves 7.
        let kept = |fraction: f64| ((1.0 - fraction) * outputs.min(inputs) as f64 + 1e-9) as usize;
        self.fraction.map(|fraction| kept(fraction).max(1))
    }

    fn lists(&self) -> Lists<'_> {
        Lists { technique: "factorize", include: &self.include, exclude: &self.exclude }
    }
}

/// The parameters of the two factors of a layer `[outputs, inputs]`, bias left out.
pub fn factor_params(rank: usize, outputs: usize, inputs: usize) -> usize {
    rank * (outputs + inputs)
}

/// Splits the linear layers that `config` names into two factors each; the report says rank, size and error. An error
/// where an option makes no sense or a weight is not finite. A mask on a weight does not outlive it.
pub fn factorize(graph: &Graph, config: &FactorizeConfig) -> Result<Rewrite> {
    config.check()?;
    let linear = graph.nodes().iter().filter(|node| matches!(node.layer, Layer::Linear(_)));
    config.lists().check("linear layer", linear.map(|node| node.name.as_str()))?;
    let mut rewrite = Rewrite { graph: graph.clone(), edits: Vec::new(), report: Report::new("factorize") };
    // Each layer that was split moves those behind it by one.
    let mut inserted = 0;
    for (id, node) in graph.nodes().iter().enumerate() {
        let Layer::Linear(linear) = &node.layer else { continue };
        if let Some(why) = config.lists().skips(&node.name) {
            rewrite.report.skipped(&node.name, why);
            continue;
        }
        match split(linear, config).map_err(|e| e.in_node(&node.name))? {
            Ok(factors) => {
                rewrite.report.changed(&node.name, factors.told);
                rewrite.edits.extend(replace(&mut rewrite.graph, id + inserted, factors.layers)?);
                inserted += 1;
            }
            Err(why) => rewrite.report.skipped(&node.name, why),
        }
    }
    Ok(rewrite)
}

/// The two layers that one becomes, and what to say of it.
struct Factors {
    layers: [Linear; 2],
    told: String,
}

/// The factors of `linear`, or why it stays whole.
fn split(linear: &Linear, config: &FactorizeConfig) -> Result<Result<Factors, String>> {
    let weight = linear.weight.value();
    let (outputs, inputs) = (linear.out_features(), linear.in_features());
    let grows = |rank: usize| {
        let (before, after) = (outputs * inputs, factor_params(rank, outputs, inputs));
        let why = format!("rank {rank} takes {after} weights instead of {before}");
        (after >= before && !config.force).then_some(why)
    };
    // The decomposition is the slow part: not for a rank that is refused.
    if let Some(why) = config.rank(outputs, inputs).and_then(grows) {
        return Ok(Err(why));
    }
    if let Some(value) = weight.data().iter().find(|w| !w.is_finite()) {
        return Err(Error::invalid(format!("factorize: a weight is {value}")));
    }
    memory::require("the matrices of the decomposition", Svd::bytes(outputs, inputs))?;
    let svd =
        Svd::new(weight).ok_or_else(|| Error::invalid("factorize: the decomposition did not converge"))?;
    let rank =
        config.rank(outputs, inputs).unwrap_or_else(|| svd.rank_for(config.energy.unwrap_or(1.0)).max(1));
    if let Some(why) = grows(rank) {
        return Ok(Err(why));
    }
    let told = format!(
        "rank {rank} of {}, {} → {} weights, relative error {:.4}",
        outputs.min(inputs),
        outputs * inputs,
        factor_params(rank, outputs, inputs),
        svd.relative_error(rank)
    );
    let (first, second) = svd.factors(rank);
    let param = |value| {
        let mut param = Param::new(value);
        param.trainable = linear.weight.trainable;
        param
    };
    let first = Linear { weight: param(first), bias: None };
    let second = Linear { weight: param(second), bias: linear.bias.clone() };
    Ok(Ok(Factors { layers: [first, second], told }))
}

/// Puts two layers in the place of one, called `name.0` and `name.1`.
fn replace(graph: &mut Graph, id: NodeId, [first, second]: [Linear; 2]) -> Result<Vec<Edit>> {
    let name = graph.nodes()[id].name.clone();
    let removed = graph.nodes()[id]
        .layer
        .params()
        .into_iter()
        .map(|(slot, _)| Edit::Remove { param: format!("{name}.{slot}") });
    let mut edits: Vec<Edit> = removed.collect();
    let has_bias = second.bias.is_some();
    *graph.layer_mut(id) = Layer::Linear(first);
    graph.rename(id, format!("{name}.0"))?;
    graph.insert_after(id, format!("{name}.1"), Layer::Linear(second))?;
    let added = ["0.weight", "1.weight"].into_iter().chain(has_bias.then_some("1.bias"));
    edits.extend(added.map(|slot| Edit::Reset { param: format!("{name}.{slot}") }));
    Ok(edits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::linear;
    use lopper_engine::Tensor;
    use lopper_engine::rewrite::Outcome;

    fn product(a: &Tensor, b: &Tensor) -> Vec<f64> {
        let (rank, inputs) = (a.dim(0), a.dim(1));
        let entry = |o: usize, i: usize| {
            (0..rank).map(|r| f64::from(b.data()[o * rank + r]) * f64::from(a.data()[r * inputs + i])).sum()
        };
        (0..b.dim(0)).flat_map(|o| (0..inputs).map(move |i| (o, i))).map(|(o, i)| entry(o, i)).collect()
    }

    fn distance(w: &Tensor, product: &[f64]) -> f64 {
        let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
        let mut gap = w.data().iter().zip(product).map(|(&w, p)| f64::from(w) - p);
        norm(&mut gap) / norm(&mut w.data().iter().map(|&w| f64::from(w)))
    }

    #[test]
    fn the_error_of_each_rank_is_the_tail_of_the_singular_values() {
        // Shapes on both sides of square, and longer than a panel.
        for (outputs, inputs) in [(7, 19), (19, 7), (12, 12), (5, 1200), (1200, 5)] {
            let Layer::Linear(layer) = linear(outputs, inputs) else { unreachable!() };
            let w = layer.weight.value();
            let svd = Svd::new(w).unwrap();
            let full = outputs.min(inputs);
            for rank in 1..=full {
                let (a, b) = svd.factors(rank);
                assert_eq!((a.shape(), b.shape()), (&[rank, inputs][..], &[outputs, rank][..]));
                let error = distance(w, &product(&a, &b));
                assert!(
                    (error - svd.relative_error(rank)).abs() < 1e-6,
                    "{outputs}×{inputs} rank {rank}: {error}"
                );
            }
            assert!(svd.relative_error(full) < 1e-7);
            let energy = 1.0 - svd.relative_error(3).powi(2);
            assert_eq!(svd.rank_for(energy - 1e-9), 3);
        }
    }

    #[test]
    fn a_matrix_of_low_rank_is_recovered_by_that_rank() {
        let Layer::Linear(a) = linear(3, 40) else { unreachable!() };
        let Layer::Linear(b) = linear(30, 3) else { unreachable!() };
        let w = Tensor::from_vec(
            &[30, 40],
            product(a.weight.value(), b.weight.value()).iter().map(|&x| x as f32).collect(),
        )
        .unwrap();
        let svd = Svd::new(&w).unwrap();
        assert_eq!(svd.rank_for(1.0 - 1e-12), 3);
        let (first, second) = svd.factors(30);
        assert!(first.data().iter().chain(second.data()).all(|x| x.is_finite()));
        assert!(distance(&w, &product(&first, &second)) < 1e-6);
    }

    #[test]
    fn layers_that_would_not_shrink_are_skipped_unless_forced() {
        let mut g = Graph::new(1);
        g.push("flat", Layer::Flatten, &[0]).unwrap();
        g.push("square", linear(8, 8), &[1]).unwrap();
        g.push("wide", linear(4, 8), &[2]).unwrap();
        let config = FactorizeConfig { fraction: Some(0.5), ..FactorizeConfig::default() };
        let once = factorize(&g, &config).unwrap();
        let why = "rank 4 takes 64 weights instead of 64".to_string();
        assert_eq!(once.report.nodes[0], ("square".into(), Outcome::Skipped(why)));
        assert_eq!(once.graph.param("wide.0.weight").unwrap().value().shape(), [2, 8]);
        assert_eq!(once.graph.nodes()[once.graph.output()].name, "wide.1");
        assert_eq!(once.edits.len(), 5);
        let forced = factorize(&g, &FactorizeConfig { force: true, ..config.clone() }).unwrap();
        assert_eq!(forced.report.changed_count(), 2);
        assert!(factorize(&g, &FactorizeConfig { energy: Some(0.5), ..config.clone() }).is_err());
        let unknown = FactorizeConfig { include: vec!["classifier".into()], ..config };
        assert!(factorize(&g, &unknown).unwrap_err().to_string().contains("`classifier`"));
    }
}
