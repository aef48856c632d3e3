//! The gap between multiply-accumulates and time of one layer, and what it consists of.

use lopper_engine::plan::Step;
use lopper_engine::{Graph, Layer};
use serde::Serialize;

/// What a step of a plan costs, apart from its time.
pub struct LayerCost {
    pub layer: String,
    pub kernel: &'static str,
    kind: &'static str,
    /// Channels of the output.
    width: usize,
    /// Multiply-accumulates of weights that are not zero.
    pub live_macs: u64,
    /// Multiply-accumulates that the kernel performs.
    pub products: u64,
    /// Inputs, packed weights and outputs, each moved once.
    pub bytes: u64,
}

/// A layer of a stage; ratios are to the dense stage.
#[derive(Serialize)]
pub struct Gap {
    layer: String,
    stage: String,
    kernel: &'static str,
    median_ms: f64,
    time_ratio: f64,
    macs_ratio: f64,
    products_ratio: f64,
    bytes_ratio: f64,
    /// What keeps the time above the multiply-accumulates.
    binds: &'static str,
}

impl LayerCost {
    /// The cost of `step` in a plan of `graph`.
    pub fn new(step: &Step, graph: &Graph) -> Self {
        let width = step.shape.last().copied().unwrap_or(0);
        // A weight is multiplied once for every pixel of the output.
        let pixels = (step.shape.iter().product::<usize>() / width.max(1)) as u64;
        let weight = graph.id(&step.name).ok().and_then(|id| match &graph.nodes()[id].layer {
            Layer::Conv2d(conv) => Some(&conv.weight),
            Layer::CompactConv2d(conv) => Some(&conv.conv.weight),
            Layer::Linear(linear) => Some(&linear.weight),
            _ => None,
        });
        let nonzero = |mask: &[f32]| mask.iter().filter(|live| **live != 0.0).count();
        let live = weight.map_or(0, |weight| match weight.mask() {
            Some(mask) => nonzero(mask.data()),
            None => weight.value().data().len(),
        });
        Self {
            layer: step.name.clone(),
            kernel: step.kernel,
            kind: step.kind,
            width,
            live_macs: pixels * live as u64,
            products: step.products,
            bytes: step.bytes,
        }
    }
}

impl Gap {
    /// Compares a layer with the dense one, each with its seconds; `None` for a layer without multiply-accumulates.
    /// `peaks` are the FMA peak in GFLOP/s and the read rate in GB/s.
    pub fn new(
        stage: &str,
        (dense, dense_seconds): (&LayerCost, f64),
        (cost, seconds): (&LayerCost, f64),
        peaks: Option<[f64; 2]>,
    ) -> Option<Self> {
        if dense.live_macs == 0 {
            return None;
        }
        let ratio = |of: fn(&LayerCost) -> u64| of(cost) as f64 / of(dense).max(1) as f64;
        let gap = Self {
            layer: cost.layer.clone(),
            stage: stage.into(),
            kernel: cost.kernel,
            median_ms: 1e3 * seconds,
            time_ratio: seconds / dense_seconds.max(1e-9),
            macs_ratio: ratio(|cost| cost.live_macs),
            products_ratio: ratio(|cost| cost.products),
            bytes_ratio: ratio(|cost| cost.bytes),
            binds: "",
        };
        Some(Self { binds: gap.binds(dense, cost, seconds, peaks), ..gap })
    }

    /// The first reason that applies, from the certain ones to the guesses.
    fn binds(
        &self,
        dense: &LayerCost,
        cost: &LayerCost,
        seconds: f64,
        peaks: Option<[f64; 2]>,
    ) -> &'static str {
        if self.time_ratio <= 1.1 * self.macs_ratio {
            return "nothing: time follows MACs";
        }
        let winograd = |cost: &LayerCost| cost.kernel.contains("winograd");
        if winograd(dense) && !winograd(cost) {
            return "products: Winograd's savings are lost";
        }
        if self.products_ratio > 1.1 * self.macs_ratio {
            return if self.products_ratio > 0.98 {
                "products: zeros are multiplied"
            } else {
                "products: some zeros are multiplied"
            };
        }
        if let Some([fma, read]) = peaks {
            let of_read = 1e-9 * cost.bytes as f64 / seconds / read;
            let of_fma = 2e-9 * cost.products as f64 / seconds / fma;
            if of_read > 0.5 && of_read > of_fma {
                return "memory";
            }
        }
        // Transforms shrink with the channels, not with their product.
        match cost.kind {
            _ if winograd(cost) => "transforms",
            kind if kind.contains("compact") || kind.contains("masked") => "conversion: gather and scatter",
            _ if !cost.width.is_multiple_of(16) => "tile remainder: the width is no multiple of a vector",
            _ => "starting and ending tiles",
        }
    }

    /// Formats layers as a table, each layer's stages together.
    pub fn table(gaps: &[Self]) -> String {
        let width = |of: fn(&Self) -> usize| gaps.iter().map(of).max().unwrap_or(0).max(6);
        let (layer, stage, kernel) =
            (width(|g| g.layer.len()), width(|g| g.stage.len()), width(|g| g.kernel.len()));
        let mut text = format!(
            "{:layer$}  {:stage$}  {:kernel$}  {:>8}  {:>5}  {:>5}  {:>8}  {:>5}  binds\n",
            "layer", "stage", "kernel", "ms", "time", "MACs", "products", "bytes"
        );
        let mut names: Vec<&str> = Vec::new();
        let mut sorted: Vec<&Self> = gaps.iter().collect();
        sorted.iter().for_each(|gap| {
            if !names.contains(&gap.layer.as_str()) {
                names.push(&gap.layer);
            }
        });
        sorted.sort_by_key(|gap| names.iter().position(|name| *name == gap.layer));
        for g in sorted {
            text += &format!(
                "{:layer$}  {:stage$}  {:kernel$}  {:>8.3}  {:>5.2}  {:>5.2}  {:>8.2}  {:>5.2}  {}\n",
                g.layer,
                g.stage,
                g.kernel,
                g.median_ms,
                g.time_ratio,
                g.macs_ratio,
                g.products_ratio,
                g.bytes_ratio,
                g.binds
            );
        }
        text
    }
}
