//! The groups that growing regularization has chosen.

use crate::criteria::Reduction;
use crate::sparsify::{SparsifyConfig, targets, weight};
use lopper_engine::train::State;
use lopper_engine::{Error, Graph, Result};
use std::collections::BTreeMap;

/// For each layer, whether each of its groups was chosen.
#[derive(Clone, Debug, Default)]
pub(super) struct Chosen(BTreeMap<String, Vec<bool>>);

impl Chosen {
    /// The `round(sparsity · groups)` groups of each selected layer with the lowest mean |w|. Of equals, the first.
    pub fn of(graph: &Graph, selection: &SparsifyConfig, sparsity: f64) -> Result<Self> {
        let mut chosen = BTreeMap::new();
        for target in targets(graph, selection)? {
            let value = weight(graph, target.node).value();
            value.fetch()?;
            let means = Reduction::Mean.of(&target.groups, |i| f64::from(value.data()[i].abs()));
            let mut order: Vec<usize> = (0..means.len()).collect();
            order.sort_by(|&a, &b| means[a].total_cmp(&means[b]));
            let mut flags = vec![false; means.len()];
            let count = (sparsity * means.len() as f64).round() as usize;
            order.into_iter().take(count).for_each(|group| flags[group] = true);
            chosen.insert(graph.nodes()[target.node].name.clone(), flags);
        }
        Ok(Self(chosen))
    }

    /// Whether group `group` of `layer` was chosen.
    pub fn contains(&self, layer: &str, group: usize) -> bool {
        self.0.get(layer).and_then(|flags| flags.get(group)).copied().unwrap_or(false)
    }

    pub fn state(&self) -> State {
        let numbers = |flags: &Vec<bool>| flags.iter().map(|&flag| f64::from(u8::from(flag))).collect();
        let arrays = self.0.iter().map(|(layer, flags)| (layer.clone(), numbers(flags))).collect();
        State { arrays, ..State::default() }
    }

    /// Goes on from what [`Chosen::state`] gave.
    ///
    /// # Errors
    /// If its layers or groups are not those of this choice.
    pub fn restore(&mut self, state: State) -> Result<()> {
        let flags = |numbers: Vec<f64>| numbers.into_iter().map(|number| number != 0.0).collect();
        let found: BTreeMap<String, Vec<bool>> =
            state.arrays.into_iter().map(|(layer, numbers)| (layer, flags(numbers))).collect();
        let sizes = |chosen: &BTreeMap<String, Vec<bool>>| -> Vec<(String, usize)> {
            chosen.iter().map(|(layer, flags)| (layer.clone(), flags.len())).collect()
        };
        if sizes(&found) != sizes(&self.0) {
            return Err(Error::invalid(
                "checkpoint: the state of regularization is damaged: the chosen groups are those of other layers",
            ));
        }
        self.0 = found;
        Ok(())
    }
}
