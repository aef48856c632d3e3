//! Sparse training as a technique: a callback of training.

use super::{SparseTrainConfig, SparseTrainer};
use crate::sparsify::{Sparsity, some_targets};
use crate::techniques::{Kind, Listed, Role, Sketch, Technique};
use lopper_engine::train::Callback;
use lopper_engine::{About, Graph, Result};

impl Listed for SparseTrainConfig {
    const KIND: Kind = Kind {
        name: "sparse_train",
        role: Role::Callback,
        about: About::new(
            "w ← m ⊙ w from the first step on; in m, the smallest |w| die and others grow",
            "Evci et al. 2020, Rigging the lottery: making all tickets winners",
        ),
    };
}

impl Technique for SparseTrainConfig {
    fn kind(&self) -> Kind {
        Self::KIND
    }

    fn check(&self) -> Result<()> {
        self.check()
    }

    fn rehearse(&self, sketch: Sketch, _trains: bool, _teacher: Option<&Sketch>) -> Result<Sketch> {
        match sketch.widths {
            true => SparseTrainer::new(self.clone())?.on_begin(&mut sketch.graph.clone())?,
            false => drop(some_targets(&sketch.graph, &self.selection())?),
        }
        Ok(sketch)
    }

    fn needs_training(&self) -> bool {
        true
    }

    fn gradual(&self) -> bool {
        true
    }

    fn masks(&self) -> bool {
        true
    }

    fn callback(&self) -> Result<Option<Box<dyn Callback>>> {
        Ok(Some(Box::new(SparseTrainer::new(self.clone())?)))
    }

    fn achieved(&self, trained: &Graph) -> Result<Option<String>> {
        Ok(Some(Sparsity::measure(trained, &self.selection())?.to_string()))
    }
}
