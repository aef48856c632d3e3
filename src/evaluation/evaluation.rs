//! `evaluate` in a stage of a recipe.

use super::scoring::{Scored, score_views};
use crate::details::{Metrics, Valued};
use crate::findings::Evaluation;
use crate::recipe::EvaluateConfig;
use lopper_engine::{Device, Error, Graph, Result};
use lopper_models::data::{Loader, Splits};

/// Returns the labels of the classes that `config` chooses among those of `splits`.
///
/// # Errors
/// [`Error::Invalid`] if a class does not exist.
pub fn chosen(config: &EvaluateConfig, splits: &Splits) -> Result<Vec<usize>> {
    let label = |name: &String| {
        let named = |names: &[String]| names.iter().position(|class| class == name);
        named(&splits.folders).or_else(|| named(&splits.classes)).ok_or_else(|| {
            let all = splits.folders.join(", ");
            Error::invalid(format!("evaluate.classes: no class `{name}`, only {all}"))
        })
    };
    config.classes.iter().map(label).collect()
}

/// Scores `graph` on the images to score in `splits`; `augmented` makes the views of test-time augmentation.
pub fn evaluate(
    config: &EvaluateConfig,
    graph: &Graph,
    splits: &Splits,
    augmented: &Loader,
    device: &Device,
) -> Result<Evaluation> {
    let counts: Vec<usize> = config.tta.iter().map(|&count| count as usize).collect();
    let (mut network, mut plain) = (graph, splits.val.clone());
    let Scored { plain: scores, curve, .. } =
        score_views(&mut network, &mut plain, augmented, (&counts, config.beta), device)?;
    let (accuracy, confusion) = (scores.top(1), scores.confusion());
    let classes = chosen(config, splits)?;
    let metrics =
        || Metrics::new(&scores, &confusion, &splits.classes, &splits.val.names(), config.top_losses);
    Ok(Evaluation {
        images_of: splits.summary.scored_as.clone(),
        images: accuracy.total,
        top1: accuracy.top1(),
        interval: accuracy.wilson95(),
        loss: scores.loss(),
        weighted_f1: confusion.weighted_f1().map(Valued::from),
        chosen_f1: (!classes.is_empty())
            .then(|| confusion.weighted_f1_of(&classes).map(Valued::from))
            .flatten(),
        metrics: config.metrics.then(metrics),
        tta: curve,
    })
}
