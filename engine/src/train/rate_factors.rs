//! Learning rates by parameter, and those of groups of layers that a history shows.

use super::ParamGroup;
use crate::{Graph, Layer};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// The rate of a group of layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRate {
    /// The group: `body`, or `body_first` and `body_last` if its rates grow. If its layers are frozen except for batch norms,
    /// its rate is 0, and that of the batch norms follows as `body_batch_norms`.
    pub group: String,
    /// The rate of the last step.
    pub learning_rate: f64,
}

/// Learning rates by parameter, relative to the largest one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RateFactors {
    parameters: HashMap<String, f64>,
    groups: Vec<Group>,
}

/// Parameters of one rate.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    name: String,
    factor: f64,
    paths: HashSet<String>,
}

impl RateFactors {
    /// The factor of the parameter at `path`; 1 if it has no rate of its own.
    pub fn of(&self, path: &str) -> f64 {
        self.parameters.get(path).copied().unwrap_or(1.0)
    }

    /// The groups with their factors: the first and the last one if they differ.
    pub fn groups(&self) -> impl Iterator<Item = (&str, f64)> {
        self.groups.iter().map(|group| (group.name.as_str(), group.factor))
    }

    /// Gives the parameters at `paths` a factor.
    pub(super) fn set(&mut self, paths: Vec<String>, factor: f64) {
        self.parameters.extend(paths.into_iter().map(|path| (path, factor)));
    }

    /// Adds a group of the parameters at `paths`, which share a factor.
    pub(super) fn group(&mut self, name: String, factor: f64, paths: Vec<String>) {
        self.groups.push(Group { name, factor, paths: paths.into_iter().collect() });
    }

    /// The rates of these groups and of those of `patterns` that have their own, at the scheduled rate `learning_rate`, in
    /// `graph`, whose frozen layers are not trainable.
    pub(super) fn group_rates(
        &self,
        patterns: &[ParamGroup],
        learning_rate: f64,
        graph: &Graph,
    ) -> Vec<GroupRate> {
        let trained = Trained::of(graph);
        let own = self.groups.iter().flat_map(|group| {
            let rate = learning_rate * group.factor;
            trained.rates(&group.name, rate, &|path| group.paths.contains(path))
        });
        let scaled = patterns.iter().filter(|group| group.lr_factor != 1.0).flat_map(|group| {
            let rate = learning_rate * group.lr_factor;
            trained.rates(&group.params, rate, &|path| group.matches(path))
        });
        own.chain(scaled).collect()
    }
}

/// The parameters of a network: path, whether it is trained, and whether it belongs to a batch norm.
struct Trained(Vec<(String, bool, bool)>);

impl Trained {
    fn of(graph: &Graph) -> Self {
        let of_node = |node: &crate::Node| {
            let norm = matches!(node.layer, Layer::BatchNorm(_));
            let path = |slot| format!("{}.{slot}", node.name);
            let params = node.layer.params().into_iter();
            params.map(|(slot, param)| (path(slot), param.trainable, norm)).collect::<Vec<_>>()
        };
        Self(graph.nodes().iter().flat_map(of_node).collect())
    }

    /// What a history shows of the group `name` of the parameters `member`, whose rate is `rate`.
    fn rates(&self, name: &str, rate: f64, member: &dyn Fn(&str) -> bool) -> Vec<GroupRate> {
        let members = || self.0.iter().filter(|(path, ..)| member(path));
        let any = |norms: bool, trained: bool| members().any(|&(_, t, n)| n == norms && t == trained);
        let shown = |name: String, learning_rate| GroupRate { group: name, learning_rate };
        let frozen = any(false, false) && !any(false, true);
        match (frozen, any(true, true)) {
            (false, _) => vec![shown(name.into(), rate)],
            (true, false) => vec![shown(name.into(), 0.0)],
            (true, true) => {
                vec![shown(name.into(), 0.0), shown(format!("{name}_batch_norms"), rate)]
            }
        }
    }
}
