//! Regularization as a technique: a callback of training.

use super::{RegularizeConfig, Regularizer};
use crate::techniques::{Kind, Listed, Role, Sketch, Technique};
use lopper_engine::train::Callback;
use lopper_engine::{About, Result};

impl Listed for RegularizeConfig {
    const KIND: Kind = Kind {
        name: "regularize",
        role: Role::Callback,
        about: About::new(
            "L = L_task + λ·s(t)·R(w)",
            "Wen et al. 2016, Learning structured sparsity in deep neural networks",
        ),
    };
}

impl Technique for RegularizeConfig {
    fn kind(&self) -> Kind {
        Self::KIND
    }

    fn check(&self) -> Result<()> {
        self.check()
    }

    fn rehearse(&self, sketch: Sketch, _trains: bool, _teacher: Option<&Sketch>) -> Result<Sketch> {
        Regularizer::new(self.clone())?.on_begin(&mut sketch.graph.clone())?;
        Ok(sketch)
    }

    fn needs_training(&self) -> bool {
        true
    }

    fn callback(&self) -> Result<Option<Box<dyn Callback>>> {
        Ok(Some(Box::new(Regularizer::new(self.clone())?)))
    }
}
