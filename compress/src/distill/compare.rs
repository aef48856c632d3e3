//! The losses of a configuration on a tape.

use super::losses::{
    Gram, Map, Measured, Rows, angles, attention, boundaries, channelwise, cosine, decoupled, dist,
    distances, normalized, normkd, partial, probabilities, similarity,
};
use super::pairs::Pair;
use super::{DistillConfig, DistillLoss, FeatureLoss};
use lopper_engine::data::Batch;
use lopper_engine::layer::{Pool, Window};
use lopper_engine::tape::Backward;
use lopper_engine::{Device, Error, Result, Tape, Tensor, Var};

/// The distance of the logits `student` `[N, K]` from the constants `teacher`.
pub(super) fn compare_logits(
    config: &DistillConfig,
    tape: &mut Tape,
    student: &Var,
    teacher: &Tensor,
    batch: &Batch,
) -> Result<Var> {
    let t = f64::from(config.temperature);
    let factors = config.loss.factors([config.alpha, config.beta])?;
    let both = || Ok::<_, Error>((Rows::of(student.value())?, Rows::of(teacher)?));
    // Of a mixture of two images, the losses that know the label are weighted as the task's is.
    let labeled = |loss: &dyn Fn(&[u32]) -> Measured| match &batch.mixed {
        None => loss(&batch.labels),
        Some(mixed) => {
            let share = f64::from(mixed.share);
            loss(&batch.labels).times(1.0 - share).plus(share, loss(&mixed.labels))
        }
    };
    let measured = match config.loss {
        DistillLoss::SoftTargets => return tape.kl_divergence(student, teacher, config.temperature),
        DistillLoss::Logits | DistillLoss::None => {
            let teacher = tape.constant(teacher.clone());
            return tape.mse(student, &teacher);
        }
        DistillLoss::Cosine => {
            let (s, p) = both()?;
            cosine(&s, &p)
        }
        DistillLoss::Dkd => {
            let (s, p) = both()?;
            labeled(&|labels| decoupled(&s, &p, labels, t, factors))
        }
        DistillLoss::Nkd => {
            let (s, p) = both()?;
            labeled(&|labels| normalized(&s, &p, labels, t, factors[1]))
        }
        DistillLoss::Normkd => {
            let (s, p) = both()?;
            normkd(&s, &p, t)
        }
        DistillLoss::Dist => {
            let (s, p) = both()?;
            dist(&s, &p, t, factors)
        }
    };
    measured.on(tape, student)
}

/// The distance of the output `student` of a layer, adapted if `pair` says so, from that of the teacher's, a constant.
pub(super) fn compare_features(
    config: &DistillConfig,
    pair: &Pair,
    tape: &mut Tape,
    student: &Var,
    teacher: &Var,
) -> Result<Var> {
    if pair.loss == FeatureLoss::Mse {
        return tape.mse(student, teacher);
    }
    let (s, t) = (Map::of(student.value())?, Map::of(teacher.value())?);
    let relation: fn(&Gram, &Gram) -> Measured = match pair.loss {
        FeatureLoss::Attention => return attention(s, t, config.power.into()).on(tape, student),
        FeatureLoss::Boundaries | FeatureLoss::Mse => {
            return boundaries(s, t, config.margin.into()).on(tape, student);
        }
        FeatureLoss::Cwd => return channelwise(s, t, config.map_temperature.into()).on(tape, student),
        FeatureLoss::Ofd => return partial(s, t, &pair.margins).on(tape, student),
        FeatureLoss::Crd => {
            return Err(Error::invalid(format!("{}: crd contrasts layers with a memory bank", pair.name)));
        }
        FeatureLoss::Similarity => similarity,
        FeatureLoss::Distances => distances,
        FeatureLoss::Angles => angles,
        FeatureLoss::Pkt => probabilities,
    };
    let device = tape.device().clone();
    let (ours, theirs) = (Gram::of(s, &device), Gram::of(t, &device));
    Gram::back(s, &relation(&ours, &theirs), &device).on(tape, student)
}

/// The means of the channels of feature maps; features as they are.
pub(super) fn pooled(tape: &mut Tape, x: &Var) -> Result<Var> {
    match x.shape().len() {
        4 => {
            let pooled = tape.pool2d(x, Pool::average(Window::Adaptive([1, 1])))?;
            tape.flatten(&pooled)
        }
        _ => Ok(x.clone()),
    }
}

/// The value of the first input; the gradient flows into both: two losses that are minimized at once, of which the first
/// is reported.
pub(super) struct Attached;

impl Backward for Attached {
    fn backward(self: Box<Self>, _: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(dy.clone()), Some(dy)])
    }
}
