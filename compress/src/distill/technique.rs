//! Distillation as a technique: an objective of training.

use super::{DistillConfig, Distillation, Teachers};
use crate::techniques::{Kind, Listed, Role, Sketch, Technique, stage_keys};
use lopper_engine::train::{CrossEntropy, Objective};
use lopper_engine::{About, Error, Graph, Result};
use std::sync::Arc;

/// The keys of a recipe's stage that configure distillation. They require each other, unless branches learn from the
/// network itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DistillStage {
    /// The options.
    pub distill: Option<DistillConfig>,
    /// The teachers: earlier stages or model files. `previous` is the stage before, or, in a stage that repeats, the round
    /// before.
    pub teacher: Option<Teachers>,
}

stage_keys!(DistillStage { distill, teacher });

impl DistillStage {
    fn options(&self) -> Result<&DistillConfig> {
        match (&self.distill, &self.teacher) {
            (Some(options), Some(_)) => Ok(options),
            (Some(options), None) if !options.branches.is_empty() => Ok(options),
            (Some(_), None) => Err(Error::invalid(
                "`distill` and `teacher` require each other: add teacher, the name of an earlier stage or a model file",
            )),
            (None, _) => Err(Error::invalid(
                "`distill` and `teacher` require each other: add distill, its options or {}",
            )),
        }
    }

    /// The objective of `student` with these `teachers`.
    fn distillation(
        &self,
        task: CrossEntropy,
        student: &Graph,
        teachers: Vec<Graph>,
    ) -> Result<Distillation> {
        let (options, shares) = (self.options()?, self.teacher.as_ref().map_or(Vec::new(), Teachers::shares));
        if shares.len() != teachers.len() {
            let (expected, found) = (shares.len(), teachers.len());
            return Err(Error::invalid(format!("distillation: expected {expected} teachers, found {found}")));
        }
        let teachers = teachers.into_iter().zip(shares).collect();
        Distillation::of_teachers(options.clone(), task, student, teachers, student.info.input)
    }
}

impl Listed for DistillStage {
    const KIND: Kind = Kind {
        name: "distill",
        role: Role::Objective,
        about: About::new(
            "L = (1 − weight)·L_task + weight·(L_logits + Σ L_features)",
            "Hinton et al. 2015, Distilling the knowledge in a neural network",
        ),
    };
}

impl Technique for DistillStage {
    fn kind(&self) -> Kind {
        Self::KIND
    }

    fn check(&self) -> Result<()> {
        self.options()?.check()?;
        self.teacher.as_ref().map_or(Ok(()), Teachers::check)
    }

    fn rehearse(&self, sketch: Sketch, trains: bool, teacher: Option<&Sketch>) -> Result<Sketch> {
        self.rehearse_taught(sketch, trains, teacher.map_or(&[], std::slice::from_ref))
    }

    fn rehearse_taught(&self, sketch: Sketch, _trains: bool, teachers: &[Sketch]) -> Result<Sketch> {
        let options = self.options()?;
        if let Some(teacher) = teachers.first().filter(|teacher| teacher.layers) {
            for hint in &options.hints {
                sketch.graph.id(&hint.student)?;
                teacher.graph.id(&hint.teacher)?;
            }
        }
        options.branches.iter().try_for_each(|layer| sketch.graph.id(layer).map(drop))?;
        if sketch.widths && teachers.iter().all(|teacher| teacher.layers && teacher.widths) {
            let teachers = teachers.iter().map(|teacher| teacher.graph.clone()).collect();
            self.distillation(CrossEntropy::default(), &sketch.graph, teachers)?;
        }
        Ok(sketch)
    }

    fn teachers(&self) -> Vec<&str> {
        self.teacher.as_ref().map_or(Vec::new(), Teachers::names)
    }

    fn behind(&self, previous: &str) -> Option<Arc<dyn Technique>> {
        let teacher = Some(self.teacher.as_ref()?.resolved(previous)?);
        Some(Arc::new(Self { teacher, ..self.clone() }))
    }

    fn compares(&self) -> Vec<&str> {
        let options = || self.distill.iter();
        let hints = options().flat_map(|options| &options.hints).map(|hint| hint.student.as_str());
        hints.chain(options().flat_map(|options| &options.branches).map(String::as_str)).collect()
    }

    fn objective(
        &self,
        task: CrossEntropy,
        student: &Graph,
        teachers: Vec<Graph>,
    ) -> Result<Option<Box<dyn Objective>>> {
        Ok(Some(Box::new(self.distillation(task, student, teachers)?)))
    }
}
