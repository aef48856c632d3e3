//! The report: a line for each masked layer.

use super::alternatives::Alternatives;
use super::steps::{self, skips};
use lopper_engine::plan::Step;
use lopper_engine::{Device, Graph, Layer, Result};
use std::collections::HashMap;
use std::fmt;

/// Masked layers of a network in the plan for one image, in graph order.
pub struct Zeros(Vec<MaskedLayer>);

/// A masked layer.
struct MaskedLayer {
    name: String,
    pattern: String,
    /// Share of weights that are left, 0..=1.
    density: f64,
    verdict: Verdict,
}

/// What a plan makes of the zeros of a layer.
enum Verdict {
    /// The plan has no step for the layer.
    Removed,
    /// The step skips zeros: so many of 100 products, if its multiply-accumulates say so.
    Skipped(Step, Option<f64>),
    /// The step multiplies the zeros.
    Multiplied(Step, Alternatives),
}

impl Zeros {
    /// Plans `graph` for one image of its own size on `device`.
    pub fn of(graph: &Graph, device: &Device) -> Result<Self> {
        let [h, w, c] = graph.info.input;
        let input = [1, h, w, c];
        let pattern = |layer: &Layer| steps::weight(layer)?.pattern().cloned();
        let nodes = graph.nodes().iter();
        let patterns: Vec<_> = nodes.filter_map(|node| Some((node, pattern(&node.layer)?))).collect();
        if patterns.is_empty() {
            return Ok(Self(Vec::new()));
        }
        // One after the other: two plans need not fit into memory together.
        let planned = steps::masked(graph, input, device)?;
        let dense = steps::dense(graph, input, device)?;
        let shapes = graph.shapes(input)?;
        // Networks repeat their layers.
        let mut known: HashMap<String, Alternatives> = HashMap::new();
        let mut layers = Vec::new();
        for (node, pattern) in patterns {
            let verdict = match (planned.get(&node.name), dense.get(&node.name)) {
                (None, _) => Verdict::Removed,
                (Some(step), Some(dense)) if !skips(step, dense) => {
                    let (x, percent) = (&shapes[node.inputs[0]], 100.0 * pattern.density());
                    let key = format!("{:?} {x:?} {pattern} {percent:.0}", pattern.shape());
                    let alternatives = match known.get(&key) {
                        Some(known) => known.clone(),
                        None => Alternatives::find(&node.layer, x, &pattern, device)?,
                    };
                    known.insert(key, alternatives.clone());
                    Verdict::Multiplied(step.clone(), alternatives)
                }
                (Some(step), dense) => {
                    let fewer = |dense: &&Step| step.macs < dense.macs;
                    let percent = |dense: &Step| 100.0 * (1.0 - step.macs as f64 / dense.macs as f64);
                    Verdict::Skipped(step.clone(), dense.filter(fewer).map(percent))
                }
            };
            let (name, density) = (node.name.clone(), pattern.density());
            layers.push(MaskedLayer { name, pattern: pattern.to_string(), density, verdict });
        }
        Ok(Self(layers))
    }
}

impl MaskedLayer {
    fn kernel(&self) -> &'static str {
        match &self.verdict {
            Verdict::Removed => "none",
            Verdict::Skipped(step, _) | Verdict::Multiplied(step, _) => step.kernel,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self {
            Self::Removed => return f.write_str("not computed at all"),
            Self::Skipped(step, percent) => {
                f.write_str("skips zeros")?;
                percent.map_or(Ok(()), |percent| write!(f, ", {percent:.0} % of the products"))?;
                step
            }
            Self::Multiplied(step, alternatives) => {
                write!(f, "multiplies the zeros; {alternatives}")?;
                step
            }
        };
        step.why.as_ref().map_or(Ok(()), |why| write!(f, " ({why})"))
    }
}

/// A line for each layer, without a newline at the end. Empty if no layer has a mask.
impl fmt::Display for Zeros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&MaskedLayer) -> &str| {
            self.0.iter().map(|layer| of(layer).chars().count()).max().unwrap_or(0)
        };
        let (name, pattern) = (width(|layer| &layer.name), width(|layer| &layer.pattern));
        let kernel = width(MaskedLayer::kernel);
        if !self.0.is_empty() {
            f.write_str("masks in the plan for one image:")?;
        }
        for layer in &self.0 {
            let percent = 100.0 * layer.density;
            write!(
                f,
                "\n  {:name$}  {:pattern$}  {percent:5.1} % left  {:kernel$}  {}",
                layer.name,
                layer.pattern,
                layer.kernel(),
                layer.verdict
            )?;
        }
        Ok(())
    }
}
