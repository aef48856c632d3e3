//! The cuts whose price is measured: of every group of channels and every layer, by every technique.

use lopper_compress::criteria::{Criterion, Evidence, Site};
use lopper_compress::prune::{Constants, PruneConfig, PrunePlan, prune};
use lopper_compress::sparsify::{SparsifyConfig, sparsify};
use lopper_compress::{Context, ConvSplit, FactorizeConfig, Granularity, factorize};
use lopper_engine::{Error, Graph, Layer, NodeId, Result};
use std::fmt;
use std::str::FromStr;

/// A technique that cuts. Fewer bits would be one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Removes channels of a group; the fraction is that of the channels.
    Prune,
    /// Sets groups of weights of a layer to zero; the fraction is that of the groups.
    Sparsify(Granularity),
    /// Splits a layer in two of lower rank, a convolution by its spatial or its channel matrix; the fraction is that of the
    /// full rank that goes.
    Factorize,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prune => f.pad("prune"),
            Self::Sparsify(granularity) => f.pad(&format!("sparsify {granularity}")),
            Self::Factorize => f.pad("factorize"),
        }
    }
}

impl FromStr for Way {
    type Err = Error;

    /// Reads `prune`, `factorize`, or the granularity of a sparsification.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "prune" => Ok(Self::Prune),
            "factorize" => Ok(Self::Factorize),
            granularity => granularity.parse().map(Self::Sparsify).map_err(|_| {
                let names = Granularity::names();
                Error::invalid(format!(
                    "expected prune, factorize or a granularity ({names}), found `{granularity}`"
                ))
            }),
        }
    }
}

/// A place to cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// The technique.
    pub way: Way,
    /// The layer, or the layers whose channels are cut together, in graph order.
    pub layers: Vec<String>,
    /// The fractions that are cut, ascending.
    pub fractions: Vec<f64>,
    /// The first of the layers: nothing before it changes.
    pub node: NodeId,
}

/// The evidence for a criterion at some sites; `None` if it needs none.
pub type Evidences<'e> = &'e mut dyn FnMut(&Criterion, &[Site]) -> Result<Option<Evidence>>;

/// All cuts of a network, and what the criterion needs to choose what goes.
pub struct Cuts<'a> {
    graph: &'a Graph,
    criterion: Criterion,
    seed: u64,
    /// The plan by fraction.
    plans: Vec<(f64, PrunePlan)>,
    /// The evidence by granularity.
    evidence: Vec<(Granularity, Option<Evidence>)>,
    list: Vec<Cut>,
}

impl<'a> Cuts<'a> {
    /// The cuts of `graph` by `ways` to `fractions`, which ascend, in the order of the layers. What goes first has the
    /// lowest score by `criterion`.
    ///
    /// # Errors
    /// Those of the criterion.
    pub fn new(
        graph: &'a Graph,
        (ways, fractions): (&[Way], &[f64]),
        criterion: &Criterion,
        seed: u64,
        evidences: Evidences,
    ) -> Result<Self> {
        let (plans, evidence) = (Vec::new(), Vec::new());
        let mut cuts = Self { graph, criterion: criterion.clone(), seed, plans, evidence, list: Vec::new() };
        for way in ways {
            match way {
                Way::Prune => cuts.add_groups(fractions, evidences)?,
                Way::Sparsify(granularity) => cuts.add_layers(*granularity, fractions, evidences)?,
                Way::Factorize => cuts.add_splits(fractions)?,
            }
        }
        // Stable: the ways of a layer stay in order.
        cuts.list.sort_by_key(|cut| cut.node);
        Ok(cuts)
    }

    /// The cuts, in the order of the layers.
    pub fn list(&self) -> &[Cut] {
        &self.list
    }

    /// The channels that stay in each group if a fraction of the channels of each is cut.
    pub fn plan(&self, fraction: f64) -> Option<&PrunePlan> {
        self.plans.iter().find(|(known, _)| *known == fraction).map(|(_, plan)| plan)
    }

    /// The network with one cut to `fraction`.
    ///
    /// # Errors
    /// Those of the technique.
    pub fn apply(&self, cut: &Cut, fraction: f64) -> Result<Graph> {
        let rewrite = match cut.way {
            Way::Prune => {
                let plan = self.plan(fraction).ok_or_else(|| {
                    Error::invalid(format!("sensitivity: no plan was made for the fraction {fraction}"))
                })?;
                let groups = plan.groups.iter().filter(|group| group.layers == cut.layers).cloned().collect();
                prune(self.graph, &PrunePlan { groups }, Constants::Exact)?
            }
            Way::Sparsify(granularity) => {
                let evidence = self.evidence.iter().find(|(of, _)| *of == granularity);
                let config =
                    SparsifyConfig { include: cut.layers.clone(), ..self.sparsify(granularity, fraction) };
                sparsify(self.graph, &config, evidence.and_then(|(_, evidence)| evidence.as_ref()))?
            }
            Way::Factorize => factorize(self.graph, &self.factorize(&cut.layers, fraction))?,
        };
        Ok(rewrite.graph)
    }

    fn sparsify(&self, granularity: Granularity, fraction: f64) -> SparsifyConfig {
        SparsifyConfig {
            granularity,
            context: Context::Local,
            criterion: self.criterion.clone(),
            seed: self.seed,
            // A quota implies the sparsity.
            sparsity: granularity.quota().is_none().then_some(fraction),
            ..SparsifyConfig::new(fraction)
        }
    }

    fn factorize(&self, layers: &[String], fraction: f64) -> FactorizeConfig {
        FactorizeConfig {
            fraction: Some(fraction),
            conv: Some(ConvSplit::Auto),
            include: layers.to_vec(),
            ..FactorizeConfig::default()
        }
    }

    fn add_groups(&mut self, fractions: &[f64], evidences: Evidences) -> Result<()> {
        let config = |fraction: f64| PruneConfig {
            criterion: Some(self.criterion.clone()),
            fraction: Some(fraction),
            context: Context::Local,
            seed: self.seed,
            ..PruneConfig::default()
        };
        let Some(&first) = fractions.first() else { return Ok(()) };
        let sites = config(first).sites(self.graph)?;
        if sites.is_empty() {
            return Ok(());
        }
        let evidence = evidences(&self.criterion, &sites)?;
        let plan = |&fraction: &f64| Ok((fraction, config(fraction).plan(self.graph, evidence.as_ref())?));
        self.plans = fractions.iter().map(plan).collect::<Result<_>>()?;
        let Some((_, deepest)) = self.plans.last() else { return Ok(()) };
        for group in &deepest.groups {
            // A group without scores is not cut, however deep.
            let ids = group.layers.iter().map(|layer| self.graph.id(layer));
            let node = ids.collect::<Result<Vec<_>>>()?.into_iter().min().unwrap_or(0);
            if group.keep.len() < group.units {
                let (layers, fractions) = (group.layers.clone(), fractions.to_vec());
                self.list.push(Cut { way: Way::Prune, layers, fractions, node });
            }
        }
        Ok(())
    }

    fn add_layers(
        &mut self,
        granularity: Granularity,
        fractions: &[f64],
        evidences: Evidences,
    ) -> Result<()> {
        let sites = self.sparsify(granularity, 0.0).sites(self.graph)?;
        let evidence = if sites.is_empty() { None } else { evidences(&self.criterion, &sites)? };
        self.evidence.push((granularity, evidence));
        let fractions = match granularity.quota() {
            Some(quota) => vec![1.0 - quota.n as f64 / quota.m as f64],
            None => fractions.to_vec(),
        };
        for site in &sites {
            let layers = vec![self.graph.nodes()[site.node()].name.clone()];
            let fractions = fractions.clone();
            self.list.push(Cut { way: Way::Sparsify(granularity), layers, fractions, node: site.node() });
        }
        Ok(())
    }

    /// Splits of the layers that become smaller and, by the plan's estimate, faster by one.
    fn add_splits(&mut self, fractions: &[f64]) -> Result<()> {
        for (node, of) in self.graph.nodes().iter().enumerate() {
            if !matches!(of.layer, Layer::Linear(_) | Layer::Conv2d(_)) {
                continue;
            }
            let layers = vec![of.name.clone()];
            let mut smaller = Vec::new();
            for &fraction in fractions {
                let split = factorize(self.graph, &self.factorize(&layers, fraction))?;
                if split.graph.nodes().len() > self.graph.nodes().len() {
                    smaller.push(fraction);
                }
            }
            if !smaller.is_empty() {
                self.list.push(Cut { way: Way::Factorize, layers, fractions: smaller, node });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_models::{Options, build, numbered_classes};

    #[test]
    fn convolutions_are_split_where_that_pays() {
        let options = Options { seed: Some(1), ..Options::new(numbered_classes(10), [32, 32, 3]) };
        let graph = build("vgg8_bn", &options).unwrap();
        let large_final: Criterion = "large_final".parse().unwrap();
        let fractions = [0.5, 0.9];
        let mut none = |_: &Criterion, _: &[Site]| Ok(None);
        let cuts = Cuts::new(&graph, (&[Way::Factorize], &fractions), &large_final, 0, &mut none).unwrap();
        let is_conv = |cut: &&Cut| matches!(graph.nodes()[cut.node].layer, Layer::Conv2d(_));
        let cut = cuts.list().iter().find(is_conv).expect("a convolution of low rank is faster");
        let split = cuts.apply(cut, cut.fractions[0]).unwrap();
        assert_eq!(split.nodes().len(), graph.nodes().len() + 1);
        assert!(split.id(&format!("{}.1", cut.layers[0])).is_ok(), "{cut:?}");
    }

    #[test]
    fn ways_are_read_as_they_are_named() {
        assert_eq!("prune".parse::<Way>().unwrap(), Way::Prune);
        assert_eq!("block:4".parse::<Way>().unwrap(), Way::Sparsify(Granularity::BLOCK.block(4)));
        assert_eq!(Way::Sparsify(Granularity::WEIGHT).to_string(), "sparsify weight");
        let message = "prun".parse::<Way>().unwrap_err().to_string();
        assert!(message.contains("expected prune, factorize or a granularity"), "{message}");
    }
}
