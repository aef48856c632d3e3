//! The distribution of batch-norm scales: how clearly slimming has sorted the channels.

use super::SlimConfig;
use lopper_engine::{Graph, Layer, Result};
use std::fmt;

/// The fraction of the largest |γ| below which a channel counts as almost nothing.
const SMALL: f32 = 1e-2;

/// The scales of one batch norm.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerGammas {
    /// The layer's name.
    pub layer: String,
    /// |γ| of each channel, ascending.
    pub magnitudes: Vec<f32>,
}

/// The scales of the batch norms that a configuration penalizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Gammas {
    /// In graph order.
    pub layers: Vec<LayerGammas>,
}

impl Gammas {
    /// The scales of the batch norms of `graph` that `config` penalizes.
    pub fn measure(graph: &Graph, config: &SlimConfig) -> Result<Self> {
        let layer = |id: usize| {
            let node = &graph.nodes()[id];
            let Layer::BatchNorm(bn) = &node.layer else { return None };
            let mut magnitudes: Vec<f32> = bn.weight.value().data().iter().map(|gamma| gamma.abs()).collect();
            magnitudes.sort_by(f32::total_cmp);
            Some(LayerGammas { layer: node.name.clone(), magnitudes })
        };
        Ok(Self { layers: config.batch_norms(graph)?.into_iter().filter_map(layer).collect() })
    }

    /// The share of Σ|γ| in scales below a hundredth of the largest: what pruning those channels would take.
    pub fn share_of_small(&self) -> f64 {
        let all = self.all();
        let bound = SMALL * all.quantile(1.0);
        let sum = |magnitudes: &mut dyn Iterator<Item = &f32>| magnitudes.map(|&m| f64::from(m)).sum::<f64>();
        let small = sum(&mut all.magnitudes.iter().filter(|&&magnitude| magnitude < bound));
        small / sum(&mut all.magnitudes.iter()).max(f64::MIN_POSITIVE)
    }

    /// All of them together.
    pub fn all(&self) -> LayerGammas {
        let mut magnitudes: Vec<f32> =
            self.layers.iter().flat_map(|l| l.magnitudes.iter().copied()).collect();
        magnitudes.sort_by(f32::total_cmp);
        LayerGammas { layer: "all".into(), magnitudes }
    }
}

impl LayerGammas {
    /// The share of scales below `bound`, in `[0, 1]`.
    pub fn below(&self, bound: f32) -> f64 {
        let count = self.magnitudes.iter().filter(|&&gamma| gamma < bound).count();
        count as f64 / self.magnitudes.len().max(1) as f64
    }

    /// The scale at the share `share` of the ascending order; 0 if there are none.
    pub fn quantile(&self, share: f64) -> f32 {
        let last = self.magnitudes.len().saturating_sub(1);
        self.magnitudes.get((share * last as f64).round() as usize).copied().unwrap_or(0.0)
    }
}

/// A table of at most 80 columns, unless a layer's name is long.
impl fmt::Display for Gammas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all();
        let bound = SMALL * all.quantile(1.0);
        let name = self.layers.iter().map(|l| l.layer.chars().count()).max().unwrap_or(0).max(5);
        let header = ["10 %", "median", "90 %", "max"].map(|heading| format!("{heading:>8}")).concat();
        writeln!(f, "{:name$}  channels{header}  below {bound:.3}", "|γ|")?;
        for layer in self.layers.iter().chain([&all]) {
            let quantiles =
                [0.1, 0.5, 0.9, 1.0].map(|share| format!("{:8.4}", layer.quantile(share))).concat();
            let (count, below) = (layer.magnitudes.len(), 100.0 * layer.below(bound));
            writeln!(f, "{:name$}  {count:8}{quantiles}  {below:9.2} %", layer.layer)?;
        }
        Ok(())
    }
}
