//! The rewrite: masks, and the weights of the start.

use super::LotteryConfig;
use crate::criteria::Evidence;
use crate::sparsify::{dropped_by, some_targets, sparsify, weight};
use lopper_engine::rewrite::Rewrite;
use lopper_engine::{Error, Graph, Result};
use std::collections::BTreeMap;

/// Masks `fraction` of the groups that are left in `graph`, a trained network, and rewinds the rest to `start`.
///
/// # Errors
/// Those of [`sparsify`] and [`rewind`].
pub fn ticket(
    graph: &Graph,
    config: &LotteryConfig,
    start: &Graph,
    evidence: Option<&Evidence>,
) -> Result<Rewrite> {
    config.check()?;
    let masked = masked_share(graph, config)?;
    let masking = config.masking(masked + config.fraction * (1.0 - masked));
    let Rewrite { graph, mut report } = sparsify(graph, &masking, evidence)?;
    let graph = rewind(&graph, start)?;
    report.changed("all layers", format!("rewound to `{}`", config.rewind));
    Ok(Rewrite { graph, report })
}

/// The share of the groups that is masked in the layers that `config` selects.
fn masked_share(graph: &Graph, config: &LotteryConfig) -> Result<f64> {
    let (mut masked, mut all) = (0, 0);
    for target in some_targets(graph, &config.masking(config.fraction))? {
        let dropped = dropped_by(weight(graph, target.node).mask(), &target.groups);
        masked += dropped.iter().filter(|&&dropped| dropped).count();
        all += dropped.len();
    }
    Ok(masked as f64 / all.max(1) as f64)
}

/// `graph` with the parameters and statistics of `start` under its own masks.
///
/// # Errors
/// If the networks differ in a parameter, or in its shape.
pub fn rewind(graph: &Graph, start: &Graph) -> Result<Graph> {
    let mut rewound = graph.clone();
    let (ours, theirs) = (rewound.params().count(), start.params().count());
    if ours != theirs {
        return Err(Error::invalid(format!(
            "lottery rewind: expected a network of the same layers, found one of {theirs} parameters instead of {ours}"
        )));
    }
    for (path, param) in rewound.params_mut() {
        let value = start.param(&path).map_err(|e| Error::invalid(format!("lottery rewind: {e}")))?.value();
        let (expected, found) = (param.value().shape().to_vec(), value.shape());
        if expected != found {
            return Err(Error::invalid(format!(
                "lottery rewind: {path}: expected the shape {expected:?} of the trained network, found {found:?}"
            )));
        }
        param.set_value(value.clone())?;
    }
    let buffers: BTreeMap<String, _> = start.buffers().collect();
    for (path, buffer) in rewound.buffers_mut() {
        match buffers.get(&path) {
            Some(value) if value.shape() == buffer.shape() => *buffer = (*value).clone(),
            _ => {
                return Err(Error::invalid(format!(
                    "lottery rewind: {path}: the network has no such statistic of the shape {:?}",
                    buffer.shape()
                )));
            }
        }
    }
    Ok(rewound)
}
