//! Losses: one number, of shape `[]`, averaged over the batch.

use super::{matrix, same_shape};
use crate::tape::{Backward, Tape, Var};
use crate::{Device, Error, Result, Tensor};
use kernels::cpu;

impl Tape {
    /// Cross entropy of `logits` `[N, K]` against the class of each row, with label smoothing (Szegedy et al.
    /// 2016) by `smoothing` in `[0, 1]`. An error where a class is not below `K`.
    pub fn cross_entropy(&mut self, logits: &Var, targets: &[u32], smoothing: f32) -> Result<Var> {
        const OP: &str = "cross entropy";
        let [rows, k] = matrix(OP, logits)?;
        if rows == 0 || targets.len() != rows {
            return Err(Error::shape(OP, format!("{} labels for {rows} rows of logits", targets.len())));
        }
        if let Some(class) = targets.iter().find(|&&t| t as usize >= k) {
            return Err(Error::shape(OP, format!("a label of class {class}, but logits of {k} classes")));
        }
        if !(0.0..=1.0).contains(&smoothing) {
            return Err(Error::invalid(format!("{OP}: expected a smoothing in [0, 1], found {smoothing}")));
        }
        let Device::Cpu(cpu) = self.device();
        let loss = cpu::cross_entropy_forward(cpu, rows, k, logits.value().data(), targets, smoothing);
        let op = CrossEntropy { logits: logits.value().clone(), targets: targets.to_vec(), smoothing };
        Ok(self.record(&[logits], Tensor::scalar(loss), op))
    }

    /// Distillation with soft targets (Hinton et al. 2015):
    /// `T² · mean_row KL(softmax(teacher / T) ‖ softmax(student / T))`, both `[N, K]`. T² keeps the size of its
    /// gradient that of the task loss, whatever the temperature.
    pub fn kl_divergence(&mut self, student: &Var, teacher: &Tensor, temperature: f32) -> Result<Var> {
        const OP: &str = "KL divergence";
        let [rows, k] = matrix(OP, student)?;
        same_shape(OP, student.shape(), teacher.shape())?;
        if student.value().is_empty() {
            return Err(Error::shape(OP, format!("of no logits: {:?}", student.shape())));
        }
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(Error::invalid(format!("{OP}: expected a temperature above 0, found {temperature}")));
        }
        let Device::Cpu(cpu) = self.device();
        let (s, t) = (student.value().data(), teacher.data());
        let loss = cpu::kl_divergence_forward(cpu, rows, k, s, t, temperature);
        let op = KlDivergence { student: student.value().clone(), teacher: teacher.clone(), temperature };
        Ok(self.record(&[student], Tensor::scalar(loss), op))
    }

    /// The mean over all elements of `(a − b)²`, of one shape.
    pub fn mse(&mut self, a: &Var, b: &Var) -> Result<Var> {
        same_shape("mse", a.shape(), b.shape())?;
        if a.value().is_empty() {
            return Err(Error::shape("mse", "of no elements"));
        }
        let Device::Cpu(cpu) = self.device();
        let loss = cpu::mse_forward(cpu, a.value().data(), b.value().data());
        let op = Mse { a: a.value().clone(), b: b.value().clone() };
        Ok(self.record(&[a, b], Tensor::scalar(loss), op))
    }
}

struct CrossEntropy {
    logits: Tensor,
    targets: Vec<u32>,
    smoothing: f32,
}

impl Backward for CrossEntropy {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Self { logits, targets, smoothing } = *self;
        let (rows, k) = (logits.dim(0), logits.dim(1));
        let mut dx = Tensor::empty(device, logits.shape());
        let Device::Cpu(cpu) = device;
        let x = logits.data();
        cpu::cross_entropy_input_grad(cpu, rows, k, x, &targets, smoothing, dy.item()?, dx.data_mut());
        Ok(vec![Some(dx)])
    }
}

struct KlDivergence {
    student: Tensor,
    teacher: Tensor,
    temperature: f32,
}

impl Backward for KlDivergence {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Self { student, teacher, temperature } = *self;
        let (rows, k) = (student.dim(0), student.dim(1));
        let mut dx = Tensor::empty(device, student.shape());
        let Device::Cpu(cpu) = device;
        let (s, t) = (student.data(), teacher.data());
        cpu::kl_divergence_input_grad(cpu, rows, k, s, t, temperature, dy.item()?, dx.data_mut());
        Ok(vec![Some(dx)])
    }
}

struct Mse {
    a: Tensor,
    b: Tensor,
}

impl Backward for Mse {
    fn backward(
        self: Box<Self>,
        device: &Device,
        dy: Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let scale = dy.item()?;
        let towards = |a: &Tensor, b: &Tensor| {
            let mut da = Tensor::empty(device, a.shape());
            let Device::Cpu(cpu) = device;
            cpu::mse_input_grad(cpu, a.data(), b.data(), scale, da.data_mut());
            da
        };
        let (a, b) = (&self.a, &self.b);
        Ok(vec![wanted[0].then(|| towards(a, b)), wanted[1].then(|| towards(b, a))])
    }
}
