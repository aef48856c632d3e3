//! The loss of a student with a teacher.

use super::renormalize::for_images_of;
use super::{DistillConfig, DistillLoss};
use lopper_engine::data::Batch;
use lopper_engine::train::{CrossEntropy, Objective};
use lopper_engine::{Error, Graph, Mode, NodeId, Pass, Result, Tape, Tensor, Var};

/// `(1 − weight) · task + weight · (logits + Σ hints)`: cross entropy with the labels, and the
/// terms of [`DistillConfig`].
///
/// The teacher sees the same augmented images as the student, of the same size, in eval mode and without a tape; it never
/// changes. If it was made for another normalization, its images are converted exactly. At weight 0 it does not run, and training equals plain training bit for bit. Validation measures only the task.
#[derive(Debug)]
pub struct Distillation {
    config: DistillConfig,
    task: CrossEntropy,
    teacher: Graph,
    student_taps: Vec<NodeId>,
    teacher_taps: Vec<NodeId>,
}

impl Distillation {
    /// The objective of `student`, taught by `teacher`, on images `[H, W, C]`. Fails if an option is invalid, the
    /// networks differ in classes, a hint names a layer that does not exist, or its two outputs differ in shape.
    ///
    /// The student must not be rewritten while the objective is in use: hints refer to its layers by position.
    pub fn new(
        config: DistillConfig,
        task: CrossEntropy,
        student: &Graph,
        teacher: Graph,
        image: [usize; 3],
    ) -> Result<Self> {
        config.check()?;
        let teacher = for_images_of(&student.info, teacher)?;
        let [h, w, c] = image;
        let shapes = |who: &str, graph: &Graph| {
            graph.shapes([1, h, w, c]).map_err(|e| Error::invalid(format!("distillation, {who}: {e}")))
        };
        let (ours, theirs) = (shapes("student", student)?, shapes("teacher", &teacher)?);
        let (student_logits, teacher_logits) = (&ours[student.output()], &theirs[teacher.output()]);
        if student_logits != teacher_logits {
            return Err(Error::invalid(format!(
                "distillation: the student's logits are {student_logits:?}, the teacher's \
                 {teacher_logits:?}; both need the same classes: train the teacher on the student's images, or give it \
                 a head for them"
            )));
        }
        let (mut student_taps, mut teacher_taps) = (Vec::new(), Vec::new());
        for hint in &config.hints {
            let (s, t) = (student.id(&hint.student)?, teacher.id(&hint.teacher)?);
            if ours[s] != theirs[t] {
                return Err(Error::invalid(format!(
                    "hint {} ← {}: the student's output is {:?}, the teacher's {:?}; \
                     without an adapter only equal shapes compare: choose layers of equal outputs",
                    hint.student, hint.teacher, ours[s], theirs[t]
                )));
            }
            student_taps.push(s);
            teacher_taps.push(t);
        }
        Ok(Self { config, task, teacher, student_taps, teacher_taps })
    }

    /// The teacher, for images that are normalized as the student's.
    pub fn teacher(&self) -> &Graph {
        &self.teacher
    }

    /// The teacher's part of the loss.
    fn lesson(&self, tape: &mut Tape, pass: &Pass, images: &Tensor) -> Result<Var> {
        let mut silent = Tape::no_grad(tape.device());
        let taught = self.teacher.forward(&mut silent, Mode::Eval, images.clone(), &self.teacher_taps)?;
        // Variables of another tape are constants on this one, so no gradient flows into the teacher.
        let mut loss = match self.config.loss {
            DistillLoss::SoftTargets => {
                tape.kl_divergence(&pass.output, taught.output.value(), self.config.temperature)?
            }
            DistillLoss::Logits => tape.mse(&pass.output, &taught.output)?,
        };
        for ((hint, ours), theirs) in self.config.hints.iter().zip(&pass.taps).zip(&taught.taps) {
            let difference = tape.mse(ours, theirs)?;
            let weighted = tape.scale(&difference, hint.weight)?;
            loss = tape.add(&loss, &weighted)?;
        }
        Ok(loss)
    }
}

impl Objective for Distillation {
    fn loss(&mut self, tape: &mut Tape, pass: &Pass, batch: &Batch) -> Result<Var> {
        let weight = self.config.weight;
        let task = self.task.loss(tape, pass, batch)?;
        if weight == 0.0 {
            return Ok(task);
        }
        let lesson = self.lesson(tape, pass, &batch.images)?;
        let (task, lesson) = (tape.scale(&task, 1.0 - weight)?, tape.scale(&lesson, weight)?);
        tape.add(&task, &lesson)
    }

    fn taps(&self) -> Vec<NodeId> {
        match self.config.weight {
            0.0 => Vec::new(),
            _ => self.student_taps.clone(),
        }
    }
}
