//! What can be known before training is checked before training: hours of work are not lost to a slip of the keyboard
//! in the last stage.
//!
//! The stages are gone through with *sketches*: networks with the layers that each stage will have, but untrained weights.
//! Where the outcome of a rewrite depends on weights, widths and names behind it are unknown, and nothing is asked of them.

use crate::pipeline::{Pipeline, in_stage};
use crate::recipe::{Stage, TrainConfig};
use lopper_compress::prune::{self, PruneConfig};
use lopper_compress::sparsify::{Sparsifier, Sparsity};
use lopper_compress::{CompactConfig, FactorizeConfig};
use lopper_engine::data::Batches;
use lopper_engine::train::Callback;
use lopper_engine::{Error, Graph, Result, Tensor, atomic, file};
use std::collections::HashMap;
use std::path::Path;

/// What is known of the network that a stage will make.
#[derive(Clone)]
struct Sketch {
    graph: Graph,
    /// Whether it has these widths.
    widths: bool,
    /// Whether it has these layers and no others.
    layers: bool,
}

/// Room for what is small: reports, plans, the state of a run.
const SMALL_FILE: u64 = 1 << 16;

impl Pipeline<'_> {
    /// Checks `stages`, which will write their networks to `outputs`, and the trainings' checkpoint to `checkpoint`:
    /// architectures, model files, names of layers, plans, images, and that everything can be written. Model files are
    /// read here, and not again.
    pub fn preflight(&mut self, stages: &[Stage], outputs: &[&Path], checkpoint: &Path) -> Result<()> {
        let mut sketches: HashMap<String, Sketch> = HashMap::new();
        let mut last: Option<Sketch> = None;
        let (mut held, mut largest) = (Vec::new(), 0);
        let trains = stages.iter().any(|stage| stage.train.is_some());
        for (stage, output) in stages.iter().zip(outputs) {
            let checked = (|| {
                let sketch = self.sketch(stage, &sketches, last.as_ref(), trains)?;
                // A bound where the size is unknown could refuse what fits.
                let known = sketch.widths && sketch.layers;
                let bytes = if known { file::size(&sketch.graph)? } else { SMALL_FILE };
                held.push(atomic::reserve(output, bytes)?);
                if let Some(plan) = &stage.save_plan {
                    held.push(atomic::reserve(plan, SMALL_FILE)?);
                }
                if let Some(train) = &stage.train {
                    largest = largest.max(bytes * (1 + train.optimizer.moments() as u64));
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

    /// The sketch of the network that `stage` makes, and an error where the stage cannot work. Where nothing `trains`
    /// there are no hours to lose, and the rewrite is not tried twice.
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
                Sketch { graph: alive(graph), widths: true, layers: true }
            }
            (None, Some(from)) => self.named(from, earlier)?,
            (None, None) => last.cloned().ok_or_else(|| Error::invalid("expected `arch` or `from`"))?,
        };
        let [h, w, c] = self.data.as_ref().map_or(start.graph.info.input, |data| data.val.image_shape());
        start.graph.shapes([1, h, w, c])?;
        if !trains {
            return Ok(Sketch { widths: false, ..start });
        }
        let sketch = rewritten(stage, start)?;
        if let Some(config) = stage.sparsify.as_ref().filter(|_| sketch.layers) {
            match &stage.train {
                Some(_) => Sparsifier::new(config.clone())?.on_begin(&mut sketch.graph.clone())?,
                None => drop(Sparsity::measure(&sketch.graph, config)?),
            }
        }
        if let Some(train) = &stage.train {
            self.can_train(stage, train, &sketch, earlier)?;
        }
        Ok(sketch)
    }

    /// The sketch of an earlier stage, or the network of a model file.
    fn named(&mut self, name: &str, earlier: &HashMap<String, Sketch>) -> Result<Sketch> {
        if let Some(sketch) = earlier.get(name) {
            return Ok(sketch.clone());
        }
        if !self.files.contains_key(name) {
            let graph = self.load(name)?;
            self.files.insert(name.to_string(), graph);
        }
        Ok(Sketch { graph: self.files[name].clone(), widths: true, layers: true })
    }

    /// Whether there are images for a training, and its objective fits.
    fn can_train(
        &mut self,
        stage: &Stage,
        train: &TrainConfig,
        sketch: &Sketch,
        earlier: &HashMap<String, Sketch>,
    ) -> Result<()> {
        train.check()?;
        let data = self.data.as_ref().ok_or_else(|| Error::invalid("training needs images: give --data"))?;
        if data.train.is_empty() {
            let message = "batch: the training images do not fill one; give a smaller batch or more images";
            return Err(Error::invalid(message));
        }
        let (Some(config), Some(teacher)) = (&stage.distill, &stage.teacher) else { return Ok(()) };
        let teacher = self.named(teacher, earlier)?;
        if !(sketch.layers && teacher.layers) {
            return Ok(());
        }
        for hint in &config.hints {
            sketch.graph.id(&hint.student)?;
            teacher.graph.id(&hint.teacher)?;
        }
        if sketch.widths && teacher.widths {
            let task = lopper_engine::train::CrossEntropy { smoothing: train.label_smoothing as f32 };
            let image = sketch.graph.info.input;
            lopper_compress::distill::Distillation::new(
                config.clone(),
                task,
                &sketch.graph,
                teacher.graph,
                image,
            )?;
        }
        Ok(())
    }
}

/// The sketch behind the rewrite of `stage`.
fn rewritten(stage: &Stage, sketch: Sketch) -> Result<Sketch> {
    if !sketch.layers {
        return Ok(sketch);
    }
    let graph = &sketch.graph;
    if let Some(config) = &stage.prune {
        return pruned(stage, config, sketch);
    }
    if stage.fold.is_some() {
        return Ok(Sketch { graph: lopper_compress::fold(graph)?.graph, ..sketch });
    }
    if let Some(config) = &stage.compact {
        // Which layers are computed otherwise depends on the weights, but not what they are called.
        lopper_compress::compact(graph, &CompactConfig { min_saving: 1.0, ..config.clone() })?;
        return Ok(Sketch { widths: false, ..sketch });
    }
    if let Some(config) = &stage.factorize {
        // At full rank no layer gets smaller, so that nothing is decomposed: this resolves the names only.
        let whole = FactorizeConfig { fraction: Some(0.0), energy: None, force: false, ..config.clone() };
        lopper_compress::factorize(graph, &whole)?;
        return Ok(Sketch { layers: false, widths: false, ..sketch });
    }
    Ok(sketch)
}

/// The sketch behind a pruning: it keeps its layers' names; its widths, unless a plan gives them, are unknown.
fn pruned(stage: &Stage, config: &PruneConfig, sketch: Sketch) -> Result<Sketch> {
    // By no criterion nothing is scored: this resolves the names only.
    PruneConfig { criterion: None, fraction: None, ..config.clone() }.plan(&sketch.graph, None)?;
    match &stage.plan {
        Some(plan) if sketch.widths => {
            Ok(Sketch { graph: prune::prune(&sketch.graph, plan, config.constants)?.graph, ..sketch })
        }
        _ => Ok(Sketch { widths: false, ..sketch }),
    }
}

/// `graph`, which was built without drawing its weights, with no weight that is zero: nothing of it is dead.
fn alive(mut graph: Graph) -> Graph {
    for (_, param) in graph.params_mut() {
        if param.value().data().iter().all(|&w| w == 0.0) {
            let ones = Tensor::full(param.value().shape(), 1.0);
            param.set_value(ones).expect("the same shape");
        }
    }
    graph
}
