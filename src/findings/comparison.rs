//! Published figures beside those of a run.

use super::Evaluation;
use crate::details::Valued;
use crate::recipe::Published;
use lopper_engine::train::EpochMetrics;
use lopper_engine::train::metrics::LayerSparsity;
use lopper_engine::{Graph, Layer};
use serde::{Deserialize, Serialize};

/// The figures of one stage.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Comparison {
    /// Each published figure with ours.
    pub figures: Vec<Compared>,
    /// A remark on the published ones.
    pub note: String,
}

/// A published figure and ours. Shares are 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// What it measures: a key of `published`, for `f1_tta` with the number of views.
    pub figure: String,
    /// The published figure, or one for each layer or epoch.
    pub published: Vec<f64>,
    /// Ours; empty if it was not measured.
    pub ours: Vec<f64>,
    /// The 95 % interval of ours.
    pub interval: Option<(f64, f64)>,
    /// How they compare, if that can be said.
    pub verdict: Option<Verdict>,
}

/// How a published figure compares with ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Exact counts are equal.
    Equal,
    /// Exact counts differ.
    Differs,
    /// The published counts are for another number of classes.
    OtherClasses,
    /// The published figure lies in our interval.
    Within,
    /// Our interval lies above it.
    Higher,
    /// Our interval lies below it.
    Lower,
}

/// What a stage measured that may be compared.
pub struct Measured<'a> {
    /// Its network.
    pub graph: &'a Graph,
    /// Number of parameters that its training changes.
    pub trainable: u64,
    /// The epochs of its training.
    pub epochs: &'a [EpochMetrics],
    /// Its accuracy.
    pub top1: Option<Valued>,
    /// Its evaluation.
    pub evaluation: Option<&'a Evaluation>,
    /// Number of classes.
    pub classes: usize,
    /// Number of images to train on and to score.
    pub images: [u64; 2],
}

impl Measured<'_> {
    /// Compares `published` with these.
    pub fn compare(&self, published: &Published) -> Comparison {
        Comparison { figures: self.figures(published), note: published.note.clone() }
    }

    fn figures(&self, published: &Published) -> Vec<Compared> {
        let mut figures = Vec::new();
        figures.extend(published.top1.map(|top1| estimate("top1", top1 / 100.0, self.top1.as_ref())));
        let f1 = self.evaluation.and_then(|found| found.weighted_f1.as_ref());
        figures.extend(published.f1_weighted.map(|value| estimate("f1_weighted", value, f1)));
        for (views, &value) in &published.f1_tta {
            let ours = self.with_views(views);
            figures.extend(ours.map(|ours| estimate(&format!("f1_tta_{views}"), value, Some(&ours))));
        }
        // Text sorts 10 before 5.
        figures.sort_by_key(|f| f.figure.strip_prefix("f1_tta_").and_then(|n| n.parse::<u32>().ok()));
        let judged = published.exact;
        let counts = |figure: &str, published: &[u64], ours: Vec<u64>| {
            let verdict = judged.then_some(if published == ours { Verdict::Equal } else { Verdict::Differs });
            let numbers = |counts: &[u64]| counts.iter().map(|&count| count as f64).collect::<Vec<_>>();
            let (published, ours) = (numbers(published), numbers(&ours));
            Compared { figure: figure.into(), published, ours, interval: None, verdict }
        };
        let at = figures.len();
        figures.extend(published.params.map(|n| counts("params", &[n], vec![self.graph.param_count()])));
        figures.extend(published.trainable.map(|n| counts("trainable", &[n], vec![self.trainable])));
        if !published.params_by_layer.is_empty() {
            figures.push(counts("params_by_layer", &published.params_by_layer, by_layer(self.graph)));
        }
        if published.classes.is_some_and(|classes| classes != self.classes) {
            figures[at..].iter_mut().for_each(|figure| figure.verdict = Some(Verdict::OtherClasses));
        }
        if !published.kept.is_empty() {
            figures.push(counts("kept", &published.kept, filters(self.graph)));
        }
        figures.extend(published.images.map(|images| counts("images", &images, self.images.to_vec())));
        if !published.sparsity_by_epoch.is_empty() {
            figures.push(Compared {
                figure: "sparsity_by_epoch".into(),
                published: published.sparsity_by_epoch.iter().map(|percent| percent / 100.0).collect(),
                ours: self.epochs.iter().map(|epoch| self.sparsity(epoch)).collect(),
                interval: None,
                verdict: None,
            });
        }
        figures
    }

    fn with_views(&self, views: &str) -> Option<Valued> {
        let view = self.evaluation?.tta.iter().find(|view| view.views.to_string() == views)?;
        Some(Valued { value: view.weighted_f1?, interval: view.weighted_f1_interval? })
    }

    /// The share of channels that the training has removed, if it removes any, or the masked share of the weights of
    /// convolutions.
    fn sparsity(&self, epoch: &EpochMetrics) -> f64 {
        if let Some(pruned) = &epoch.pruned {
            return pruned.fraction();
        }
        let is_conv = |layer: &&LayerSparsity| {
            let id = self.graph.id(&layer.layer);
            id.is_ok_and(|id| matches!(self.graph.nodes()[id].layer, Layer::Conv2d(_)))
        };
        let convolutions: Vec<LayerSparsity> = epoch.sparsity.iter().filter(is_conv).cloned().collect();
        LayerSparsity::total(&convolutions).fraction()
    }
}

/// Compares the published figure with an estimate of ours.
fn estimate(figure: &str, published: f64, ours: Option<&Valued>) -> Compared {
    let verdict = ours.map(|Valued { interval: (low, high), .. }| match published {
        p if p < *low => Verdict::Higher,
        p if p > *high => Verdict::Lower,
        _ => Verdict::Within,
    });
    Compared {
        figure: figure.into(),
        published: vec![published],
        ours: ours.map(|ours| ours.value).into_iter().collect(),
        interval: ours.map(|ours| ours.interval),
        verdict,
    }
}

/// Number of parameters of `graph` that are trained.
pub fn trainable(graph: &Graph) -> u64 {
    let trained = graph.params().filter(|(_, param)| param.trainable);
    trained.map(|(_, param)| param.value().len() as u64).sum()
}

/// Number of parameters of each layer that has some.
fn by_layer(graph: &Graph) -> Vec<u64> {
    let count = |node: &lopper_engine::Node| -> u64 {
        node.layer.params().into_iter().map(|(_, param)| param.value().len() as u64).sum()
    };
    graph.nodes().iter().map(count).filter(|&count| count > 0).collect()
}

/// Number of filters of each convolution.
fn filters(graph: &Graph) -> Vec<u64> {
    let filters = |node: &lopper_engine::Node| match &node.layer {
        Layer::Conv2d(conv) => Some(conv.weight.value().dim(0) as u64),
        _ => None,
    };
    graph.nodes().iter().filter_map(filters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Differs, Equal, OtherClasses};

    #[test]
    fn a_published_share_is_compared_with_our_interval() {
        let ours = Valued { value: 0.58, interval: (0.56, 0.60) };
        let verdict = |published| estimate("top1", published, Some(&ours)).verdict;
        assert_eq!(verdict(0.55), Some(Verdict::Higher));
        assert_eq!(verdict(0.57), Some(Verdict::Within));
        assert_eq!(verdict(0.61), Some(Verdict::Lower));
        assert_eq!(estimate("top1", 0.5, None).verdict, None);
    }

    #[test]
    fn counts_are_equal_or_not_or_for_other_classes() {
        let options = lopper_models::Options::new(lopper_models::numbered_classes(10), [64, 64, 3]);
        let graph = lopper_models::build("small_net", &options).unwrap();
        let ours = Measured {
            graph: &graph,
            trainable: trainable(&graph),
            epochs: &[],
            top1: None,
            evaluation: None,
            classes: 10,
            images: [9469, 3925],
        };
        let published = Published {
            params: Some(157_570),
            trainable: Some(157_570),
            params_by_layer: vec![1520, 40, 25_050, 100, 125_100, 200, 5_050, 510],
            kept: vec![20, 50, 100],
            images: Some([9469, 3925]),
            ..Published::default()
        };
        let verdicts = |published: &Published| -> Vec<_> {
            ours.figures(published).into_iter().filter_map(|figure| figure.verdict).collect()
        };
        assert_eq!(verdicts(&published), [Equal; 5]);
        let free = Published { exact: false, params: Some(1), ..published.clone() };
        assert!(verdicts(&free).is_empty());
        let wrong = Published { params: Some(157_571), kept: vec![20, 50], ..published.clone() };
        assert_eq!(verdicts(&wrong), [Differs, Equal, Equal, Differs, Equal]);
        let eleven = Published { classes: Some(11), ..published };
        assert_eq!(verdicts(&eleven), [OtherClasses, OtherClasses, OtherClasses, Equal, Equal]);
    }
}
