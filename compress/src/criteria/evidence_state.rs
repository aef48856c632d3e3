//! Evidence in a checkpoint, and along a network that loses channels.
//!
//! Lists of numbers go to the arrays of the state under `PART/NAME`; their shapes and counts stand in its JSON value.

use super::Evidence;
use super::evidence::Observed;
use lopper_engine::channels::Slices;
use lopper_engine::{Result, Tensor};
use std::collections::BTreeMap;

/// The part with the sums of a criterion's observations, by layer.
const OBSERVED: &str = "observed";
/// The part with the weights at the beginning of the training, by layer.
const INITIAL: &str = "initial";

/// Lists of numbers in a state, by part and name.
pub(crate) struct Arrays(BTreeMap<String, Vec<f64>>);

/// The steps that were observed, by layer.
pub(crate) type Steps = BTreeMap<String, usize>;

/// Shapes of tensors, by name.
pub(crate) type Shapes = BTreeMap<String, Vec<usize>>;

impl From<BTreeMap<String, Vec<f64>>> for Arrays {
    fn from(arrays: BTreeMap<String, Vec<f64>>) -> Self {
        Self(arrays)
    }
}

impl Arrays {
    pub fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The arrays, for a state.
    pub fn into_inner(self) -> BTreeMap<String, Vec<f64>> {
        self.0
    }

    fn put(&mut self, part: &str, name: &str, values: Vec<f64>) {
        self.0.insert(format!("{part}/{name}"), values);
    }

    fn take(&mut self, part: &str, name: &str) -> Result<Vec<f64>, String> {
        let array = self.0.remove(&format!("{part}/{name}"));
        array.ok_or_else(|| format!("the numbers of `{part}/{name}` are missing"))
    }

    /// Adds `tensors` to `part` and returns their shapes.
    pub fn put_tensors(&mut self, part: &str, tensors: &BTreeMap<String, Tensor>) -> Shapes {
        let shape = |(name, tensor): (&String, &Tensor)| {
            self.put(part, name, tensor.data().iter().copied().map(f64::from).collect());
            (name.clone(), tensor.shape().to_vec())
        };
        tensors.iter().map(shape).collect()
    }

    /// Takes the tensors of `part` with these `shapes`. `Err` says what is damaged.
    pub fn take_tensors(&mut self, part: &str, shapes: Shapes) -> Result<BTreeMap<String, Tensor>, String> {
        let tensor = |(name, shape): (String, Vec<usize>)| {
            let values = self.take(part, &name)?.into_iter().map(|v| v as f32).collect();
            let tensor = Tensor::from_vec(&shape, values).map_err(|e| e.to_string())?;
            Ok((name, tensor))
        };
        shapes.into_iter().map(tensor).collect()
    }

    /// `Err` names an array that is left.
    pub fn expect_empty(&self) -> Result<(), String> {
        match self.0.keys().next() {
            Some(name) => Err(format!("`{name}` belongs to nothing")),
            None => Ok(()),
        }
    }
}

impl Evidence {
    /// Adds the evidence to `arrays`. Returns its steps and the shapes of its initial weights.
    pub(crate) fn save(&self, arrays: &mut Arrays) -> (Steps, Shapes) {
        let steps = |(layer, (steps, sums)): (&String, &(usize, Vec<f64>))| {
            arrays.put(OBSERVED, layer, sums.clone());
            (layer.clone(), *steps)
        };
        let steps = self.observed.iter().map(steps).collect();
        (steps, arrays.put_tensors(INITIAL, &self.initial))
    }

    /// Takes the evidence that [`Evidence::save`] added to `arrays`. `Err` says what is damaged.
    pub(crate) fn load(steps: Steps, initial: Shapes, arrays: &mut Arrays) -> Result<Self, String> {
        let mut observed = Observed::new();
        for (layer, steps) in steps {
            let sums = arrays.take(OBSERVED, &layer)?;
            if steps == 0 {
                return Err(format!("layer `{layer}` has sums of no steps"));
            }
            observed.insert(layer, (steps, sums));
        }
        Ok(Self { observed, initial: arrays.take_tensors(INITIAL, initial)? })
    }

    /// Keeps the evidence about the channels that stay. `filters` is whether each group is an output channel; otherwise,
    /// the observation of a layer that loses channels starts over.
    pub(crate) fn shrink(&mut self, slices: &Slices, filters: bool) {
        let path = |layer: &String| format!("{layer}.weight");
        self.observed.retain(|layer, _| filters || !slices.cut(&path(layer)));
        for (layer, (_, sums)) in &mut self.observed {
            *sums = slices.of_rows(&path(layer), sums);
        }
        for (layer, weight) in &mut self.initial {
            *weight = slices.of_tensor(&path(layer), weight);
        }
    }
}
