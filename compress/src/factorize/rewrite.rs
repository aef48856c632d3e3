//! The rewrite: a linear layer becomes two.

use super::svd::Svd;
use super::{FactorizeConfig, Spectrum, factor_params};
use lopper_engine::layer::Linear;
use lopper_engine::rewrite::{Rewrite, RewriteReport};
use lopper_engine::{Error, Graph, Layer, NodeId, Param, Result, memory};

/// Splits each linear layer that `config` selects into two factors. The report gives rank, size and error. Fails if an
/// option is invalid or a weight is not finite. A mask on a weight is dropped with the weight.
pub fn factorize(graph: &Graph, config: &FactorizeConfig) -> Result<Rewrite> {
    Ok(decompose(graph, config)?.0)
}

/// Like [`factorize`], and returns the singular values of the layers that were split.
pub(super) fn decompose(graph: &Graph, config: &FactorizeConfig) -> Result<(Rewrite, Vec<Spectrum>)> {
    config.check()?;
    let linear = graph.nodes().iter().filter(|node| matches!(node.layer, Layer::Linear(_)));
    config.lists().check("linear layer", linear.map(|node| node.name.as_str()))?;
    let mut rewrite = Rewrite { graph: graph.clone(), report: RewriteReport::new("factorize") };
    let mut spectra = Vec::new();
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
                rewrite.report.changed(&node.name, factors.summary);
                replace(&mut rewrite.graph, id + inserted, factors.layers)?;
                spectra.push(Spectrum { layer: node.name.clone(), ..factors.spectrum });
                inserted += 1;
            }
            Err(why) => rewrite.report.skipped(&node.name, why),
        }
    }
    Ok((rewrite, spectra))
}

/// The two layers that replace one, the line of the report, and the singular values.
struct Factors {
    layers: [Linear; 2],
    summary: String,
    spectrum: Spectrum,
}

/// The factors of `linear`, or why it is not split.
fn split(linear: &Linear, config: &FactorizeConfig) -> Result<Result<Factors, String>> {
    let weight = linear.weight.value();
    let (outputs, inputs) = (linear.out_features(), linear.in_features());
    let grows = |rank: usize| {
        let (before, after) = (outputs * inputs, factor_params(rank, outputs, inputs));
        let why = format!("rank {rank} takes {after} weights instead of {before}");
        (after >= before && !config.force).then_some(why)
    };
    // The decomposition is slow: skip it for a rank that is refused anyway.
    if let Some(why) = config.rank(outputs, inputs).and_then(grows) {
        return Ok(Err(why));
    }
    if let Some(value) = weight.data().iter().find(|w| !w.is_finite()) {
        return Err(Error::invalid(format!("factorize: expected finite weights, found {value}")));
    }
    memory::require("the matrices of the decomposition", Svd::bytes(outputs, inputs))?;
    let diverged = || Error::invalid("factorize: the decomposition did not converge: exclude the layer");
    let svd = Svd::new(weight).ok_or_else(diverged)?;
    let rank =
        config.rank(outputs, inputs).unwrap_or_else(|| svd.rank_for(config.energy.unwrap_or(1.0)).max(1));
    if let Some(why) = grows(rank) {
        return Ok(Err(why));
    }
    let summary = format!(
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
    let spectrum = Spectrum { layer: String::new(), outputs, inputs, rank, values: svd.values() };
    Ok(Ok(Factors { layers: [first, second], summary, spectrum }))
}

/// Replaces the layer `id` by two, called `name.0` and `name.1`.
fn replace(graph: &mut Graph, id: NodeId, [first, second]: [Linear; 2]) -> Result<()> {
    let name = graph.nodes()[id].name.clone();
    *graph.layer_mut(id) = Layer::Linear(first);
    graph.rename(id, format!("{name}.0"))?;
    graph.insert_after(id, format!("{name}.1"), Layer::Linear(second))?;
    Ok(())
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
        let forced = factorize(&g, &FactorizeConfig { force: true, ..config.clone() }).unwrap();
        assert_eq!(forced.report.changed_count(), 2);
        assert!(factorize(&g, &FactorizeConfig { energy: Some(0.5), ..config.clone() }).is_err());
        let unknown = FactorizeConfig { include: vec!["classifier".into()], ..config };
        assert!(factorize(&g, &unknown).unwrap_err().to_string().contains("`classifier`"));
    }
}
