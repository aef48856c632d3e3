//! Network slimming as a technique: a callback of training.

use super::{Gammas, SlimConfig, Slimmer};
use crate::techniques::{Kind, Listed, Role, Sketch, Technique};
use lopper_engine::train::Callback;
use lopper_engine::{About, Graph, Result};

impl Listed for SlimConfig {
    const KIND: Kind = Kind {
        name: "slim",
        role: Role::Callback,
        about: About::new(
            "L = L_task + λ Σ |γ|",
            "Liu et al. 2017, Learning efficient convolutional networks through network slimming",
        ),
    };
}

impl Technique for SlimConfig {
    fn kind(&self) -> Kind {
        Self::KIND
    }

    fn check(&self) -> Result<()> {
        self.check()
    }

    fn rehearse(&self, sketch: Sketch, _trains: bool, _teacher: Option<&Sketch>) -> Result<Sketch> {
        self.batch_norms(&sketch.graph)?;
        Ok(sketch)
    }

    fn needs_training(&self) -> bool {
        true
    }

    fn callback(&self) -> Result<Option<Box<dyn Callback>>> {
        Ok(Some(Box::new(Slimmer::new(self.clone())?)))
    }

    fn achieved(&self, trained: &Graph) -> Result<Option<String>> {
        Ok(Some(Gammas::measure(trained, self)?.to_string()))
    }
}
