//! A loss with its gradient.

use lopper_engine::tape::Backward;
use lopper_engine::{Device, Result, Tape, Tensor, Var};

/// The value of a loss and its gradient by the student's values, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The loss.
    pub value: f64,
    /// Its gradient.
    pub gradient: Vec<f64>,
}

impl Measured {
    /// Adds `factor` times another loss of the same values.
    pub fn plus(mut self, factor: f64, other: Self) -> Self {
        self.value += factor * other.value;
        self.gradient.iter_mut().zip(other.gradient).for_each(|(sum, g)| *sum += factor * g);
        self
    }

    /// Scales the loss.
    pub fn times(mut self, factor: f64) -> Self {
        self.value *= factor;
        self.gradient.iter_mut().for_each(|g| *g *= factor);
        self
    }

    /// The loss on `tape`, as a function of `student`, whose values it was measured from.
    ///
    /// # Errors
    /// If the gradient has another number of values than `student`.
    pub fn on(self, tape: &mut Tape, student: &Var) -> Result<Var> {
        let gradient = self.gradient.into_iter().map(|g| g as f32).collect();
        let gradient = Tensor::from_vec(student.shape(), gradient)?;
        Ok(tape.record(&[student], Tensor::scalar(self.value as f32), Known { gradient }))
    }
}

/// A loss whose gradient is known.
struct Known {
    gradient: Tensor,
}

impl Backward for Known {
    fn backward(mut self: Box<Self>, _: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let factor = dy.item()?;
        self.gradient.data_mut().iter_mut().for_each(|g| *g *= factor);
        Ok(vec![Some(self.gradient)])
    }
}
