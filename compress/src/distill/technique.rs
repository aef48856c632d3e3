//! Distillation as a technique: an objective of training.

use super::{DistillConfig, Distillation};
use crate::techniques::{Kind, Listed, Role, Sketch, Technique, stage_keys};
use lopper_engine::train::{CrossEntropy, Objective};
use lopper_engine::{About, Error, Graph, Result};

/// The keys of a recipe's stage that configure distillation. They require each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DistillStage {
    /// The options.
    pub distill: Option<DistillConfig>,
    /// The teacher: an earlier stage or a model file.
    pub teacher: Option<String>,
}

stage_keys!(DistillStage { distill, teacher });

impl DistillStage {
    fn options(&self) -> Result<&DistillConfig> {
        match (&self.distill, &self.teacher) {
            (Some(options), Some(_)) => Ok(options),
            (Some(_), None) => Err(Error::invalid(
                "`distill` and `teacher` require each other: add teacher, the name of an earlier stage or a model file",
            )),
            (None, _) => Err(Error::invalid(
                "`distill` and `teacher` require each other: add distill, its options or {}",
            )),
        }
    }
}

impl Listed for DistillStage {
    const KIND: Kind = Kind {
        name: "distill",
        role: Role::Objective,
        about: About::new(
            "L = (1 − weight)·L_task + weight·(L_logits + Σ hints)",
            "Hinton et al. 2015, Distilling the knowledge in a neural network",
        ),
    };
}

impl Technique for DistillStage {
    fn kind(&self) -> Kind {
        Self::KIND
    }

    fn check(&self) -> Result<()> {
        self.options()?.check()
    }

    fn rehearse(&self, sketch: Sketch, _trains: bool, teacher: Option<&Sketch>) -> Result<Sketch> {
        let Some(teacher) = teacher.filter(|teacher| teacher.layers) else { return Ok(sketch) };
        for hint in &self.options()?.hints {
            sketch.graph.id(&hint.student)?;
            teacher.graph.id(&hint.teacher)?;
        }
        if sketch.widths && teacher.widths {
            self.objective(CrossEntropy::default(), &sketch.graph, Some(teacher.graph.clone()))?;
        }
        Ok(sketch)
    }

    fn teacher(&self) -> Option<&str> {
        self.teacher.as_deref()
    }

    fn compares(&self) -> Vec<&str> {
        let hints = self.distill.iter().flat_map(|options| &options.hints);
        hints.map(|hint| hint.student.as_str()).collect()
    }

    fn objective(
        &self,
        task: CrossEntropy,
        student: &Graph,
        teacher: Option<Graph>,
    ) -> Result<Option<Box<dyn Objective>>> {
        let options = self.options()?.clone();
        let teacher =
            teacher.ok_or_else(|| Error::invalid("distillation: expected a teacher, found none"))?;
        Ok(Some(Box::new(Distillation::new(options, task, student, teacher, student.info.input)?)))
    }
}
