//! Checks before training everything that can be checked then, so that a typo in the last stage does not cost hours of
//! work.
//!
//! The stages are traversed with *sketches*: networks that have the layers of each stage, but untrained weights. If the
//! result of a rewrite depends on the weights, the widths and names after it are unknown and are not checked.

use crate::images::Fit;
use crate::pipeline::Pipeline;
use crate::recipe::{Stage, TrainConfig};
use crate::stage_error::in_stage;
use lopper_compress::techniques::Sketch;
use lopper_engine::data::Batches;
use lopper_engine::train::ParamGroup;
use lopper_engine::{Error, Graph, Result, Tensor, atomic, file};
use std::collections::HashMap;
use std::path::Path;

/// Bytes reserved for a small file: a report, a plan, the state of a run.
const SMALL_FILE: u64 = 1 << 16;

impl Pipeline<'_> {
    /// Checks `stages`, which will write their networks to `outputs` and their training checkpoints to `checkpoint`:
    /// architectures, model files, layer names, plans, images, and that everything can be written. Model files are read
    /// here and not again.
    pub fn preflight(&mut self, stages: &[Stage], outputs: &[&Path], checkpoint: &Path) -> Result<()> {
        let mut sketches: HashMap<String, Sketch> = HashMap::new();
        let mut last: Option<Sketch> = None;
        let (mut held, mut largest) = (Vec::new(), 0);
        let trains = stages.iter().any(|stage| stage.train.is_some());
        for (stage, output) in stages.iter().zip(outputs) {
            let checked = (|| {
                let sketch = self.sketch(stage, &sketches, last.as_ref(), trains)?;
                // If the size is unknown, an upper bound could refuse a network that fits.
                let known = sketch.widths && sketch.layers;
                let bytes = if known { file::size_once_trained(&sketch.graph)? } else { SMALL_FILE };
                held.push(atomic::reserve(output, bytes)?);
                for (_, path) in stage.outputs() {
                    held.push(atomic::reserve(path, SMALL_FILE)?);
                }
                if let Some(train) = &stage.train {
                    let copies = 1 + train.optimizer.moments() as u64 + 2 * train.copies();
                    largest = largest.max(bytes * copies);
                }
                Ok(sketch)
            })();
            let sketch = checked.map_err(|e| in_stage(stage, e))?;
            sketches.insert(stage.name.clone(), sketch.clone());
            last = Some(sketch);
        }
        held.push(atomic::reserve(checkpoint, largest + SMALL_FILE)?);
        Ok(())
    }

    /// Returns the sketch of the network that `stage` produces, or an error if the stage cannot work. If no stage
    /// `trains`, there are no hours to lose, and the rewrite is not tried in advance.
    fn sketch(
        &mut self,
        stage: &Stage,
        earlier: &HashMap<String, Sketch>,
        last: Option<&Sketch>,
        trains: bool,
    ) -> Result<Sketch> {
        let start = match (&stage.arch, &stage.from) {
            (Some(arch), _) => {
                let graph = self.build(stage, arch, None)?;
                Sketch::known(alive(graph))
            }
            (None, Some(from)) => self.sketch_of(from, earlier, Fit::of_start(stage.new_head))?,
            (None, None) => last.cloned().ok_or_else(|| Error::invalid("expected `arch` or `from`"))?,
        };
        let start = match stage.new_head {
            true if start.layers => {
                Sketch { graph: alive(self.with_new_head(stage, &start.graph, None)?), ..start }
            }
            _ => start,
        };
        let [h, w, c] = self.data.as_ref().map_or(start.graph.info.input, |data| data.val.image_shape());
        start.graph.shapes([1, h, w, c])?;
        if !trains {
            return Ok(Sketch { widths: false, ..start });
        }
        let mut sketch = start;
        for technique in &self.resolved(stage, earlier)?.techniques {
            let teachers = technique.teachers().into_iter();
            let teachers: Vec<Sketch> = teachers
                .map(|teacher| self.sketch_of(teacher, earlier, Fit::Classes))
                .collect::<Result<_>>()?;
            if sketch.layers {
                sketch = technique.rehearse_taught(sketch, stage.train.is_some(), &teachers)?;
            }
        }
        stage.train.as_ref().map_or(Ok(()), |train| self.can_train(train, &sketch))?;
        Ok(sketch)
    }

    /// Returns `stage` with what its techniques take from other networks, as far as these are known.
    fn resolved(&mut self, stage: &Stage, earlier: &HashMap<String, Sketch>) -> Result<Stage> {
        for name in stage.techniques.iter().filter_map(|technique| technique.reference()) {
            let sketch = self.sketch_of(name, earlier, Fit::Images)?;
            if !(sketch.widths && sketch.layers) {
                return Ok(stage.clone());
            }
        }
        stage.resolve(|name| Ok(self.sketch_of(name, earlier, Fit::Images)?.graph))
    }

    /// Returns the sketch of an earlier stage, or the network of a model file, which must match the images as far
    /// as `fit` says.
    fn sketch_of(&mut self, name: &str, earlier: &HashMap<String, Sketch>, fit: Fit) -> Result<Sketch> {
        if let Some(sketch) = earlier.get(name) {
            return Ok(sketch.clone());
        }
        match self.files.get(name) {
            // Another use may have needed less.
            Some(graph) => self.check_images(name, graph, fit)?,
            None => drop(self.files.insert(name.to_string(), self.load(name, fit)?)),
        }
        Ok(Sketch::known(self.files[name].clone()))
    }

    /// Checks that there are images to train on, and that the options of `train` fit the network.
    fn can_train(&self, train: &TrainConfig, sketch: &Sketch) -> Result<()> {
        train.check()?;
        if sketch.layers {
            let paths = sketch.graph.params().map(|(path, _)| path);
            // A rewrite that changes widths may add biases.
            let added = sketch.graph.nodes().iter().filter(|_| !sketch.widths);
            let added = added.map(|node| format!("{}.bias", node.name));
            ParamGroup::check_members(&train.groups, paths.chain(added))?;
            train.freezing().check(&sketch.graph)?;
            train.rates.as_ref().map_or(Ok(()), |rates| rates.factors(&sketch.graph).map(drop))?;
        }
        let data = self.data.as_ref().ok_or_else(|| Error::invalid("training needs images: give --data"))?;
        if let Some(weights) = &train.class_weights {
            weights.weights(&data.train.class_counts())?;
        }
        data.train.require_batch()?;
        Ok(())
    }
}

/// Fills the all-zero parameters of `graph`, which was built without drawing weights, with ones, so that nothing in it
/// is dead.
fn alive(mut graph: Graph) -> Graph {
    for (_, param) in graph.params_mut() {
        if param.value().data().iter().all(|&w| w == 0.0) {
            let ones = Tensor::full(param.value().shape(), 1.0);
            param.set_value(ones).expect("the same shape");
        }
    }
    graph
}
