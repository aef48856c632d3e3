//! Losses: one number, of shape `[]`, averaged over the batch.

use super::{matrix, same_shape};
use crate::autograd::tape::{Backward, Tape, Var};
use crate::{Device, Error, Result, Tensor};
use lopper_kernels::cuda::DeviceBuffer;
use lopper_kernels::{cpu, cuda};

impl Tape {
    /// Computes the cross entropy of `logits` `[N, K]` against the class of each row, with label smoothing (Szegedy et
    /// al. 2016) by `smoothing` in `[0, 1]`. Returns an error if a class is not below `K`.
    pub fn cross_entropy(&mut self, logits: &Var, targets: &[u32], smoothing: f32) -> Result<Var> {
        const OP: &str = "cross entropy";
        let [rows, k] = matrix(OP, logits)?;
        if rows == 0 || targets.len() != rows {
            return Err(Error::shape(OP, format!("{} labels for {rows} rows of logits", targets.len())));
        }
        if let Some(class) = targets.iter().find(|&&t| t as usize >= k) {
            return Err(Error::shape(OP, format!("label {class} is out of range for {k} classes")));
        }
        if !(0.0..=1.0).contains(&smoothing) {
            return Err(Error::invalid(format!("{OP}: expected smoothing in [0, 1], found {smoothing}")));
        }
        let device = self.device();
        let x = logits.value().as_single(device)?;
        let (loss, targets) = match device {
            Device::Cpu(cpu) => {
                let loss = cpu::cross_entropy_forward(cpu, [rows, k], x.data(), targets, smoothing);
                (Tensor::scalar(loss), Targets::Cpu(targets.to_vec()))
            }
            Device::Cuda(gpu) => {
                let (mut loss, targets) = (Tensor::empty(device, &[])?, gpu.upload_u32(targets)?);
                let (x, y) = (x.on(gpu)?, loss.on_mut(gpu)?);
                cuda::cross_entropy_forward(gpu, [rows, k], x, &targets, smoothing, y)?;
                (loss, Targets::Cuda(targets))
            }
        };
        Ok(self.record(&[logits], loss, CrossEntropy { logits: x, targets, smoothing }))
    }

    /// Computes `−Σ q · log_softmax(logits)` over all elements, for targets `q` of the shape of `logits` `[N, K]`: cross
    /// entropy with any distribution of each row's target, times any weight of the row.
    pub fn soft_cross_entropy(&mut self, logits: &Var, targets: &Tensor) -> Result<Var> {
        same_shape("soft cross entropy", logits.shape(), targets.shape())?;
        let log_p = self.log_softmax(logits)?;
        let targets = self.constant(targets.clone());
        let products = self.mul(&log_p, &targets)?;
        let sum = self.sum(&products)?;
        self.scale(&sum, -1.0)
    }

    /// Computes the distillation loss for soft targets (Hinton et al. 2015):
    /// `T² · mean_row KL(softmax(teacher / T) ‖ softmax(student / T))`, both `[N, K]`. The factor T² keeps its gradient
    /// on the scale of the task loss's gradient at any temperature.
    pub fn kl_divergence(&mut self, student: &Var, teacher: &Tensor, temperature: f32) -> Result<Var> {
        const OP: &str = "KL divergence";
        let [rows, k] = matrix(OP, student)?;
        same_shape(OP, student.shape(), teacher.shape())?;
        if student.value().is_empty() {
            return Err(Error::shape(
                OP,
                format!("expected at least one logit, found {:?}", student.shape()),
            ));
        }
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(Error::invalid(format!("{OP}: expected a temperature above 0, found {temperature}")));
        }
        let device = self.device();
        let (s, t) = (student.value().as_single(device)?, teacher.as_single(device)?);
        let mut loss = Tensor::empty(device, &[])?;
        match device {
            Device::Cpu(cpu) => {
                let value = cpu::kl_divergence_forward(cpu, [rows, k], s.data(), t.data(), temperature);
                loss = Tensor::scalar(value);
            }
            Device::Cuda(gpu) => {
                let (s, t) = (s.on(gpu)?, t.on(gpu)?);
                cuda::kl_divergence_forward(gpu, [rows, k], s, t, temperature, loss.on_mut(gpu)?)?;
            }
        }
        Ok(self.record(&[student], loss, KlDivergence { student: s, teacher: t, temperature }))
    }

    /// Computes the mean of `(a − b)²` over all elements, for equal shapes.
    pub fn mse(&mut self, a: &Var, b: &Var) -> Result<Var> {
        same_shape("mse", a.shape(), b.shape())?;
        if a.value().is_empty() {
            return Err(Error::shape("mse", "expected at least one element, found none"));
        }
        let device = self.device();
        let op = Mse { a: a.value().as_single(device)?, b: b.value().as_single(device)? };
        let mut loss = Tensor::empty(device, &[])?;
        match device {
            Device::Cpu(cpu) => loss = Tensor::scalar(cpu::mse_forward(cpu, op.a.data(), op.b.data())),
            Device::Cuda(gpu) => cuda::mse_forward(gpu, op.a.on(gpu)?, op.b.on(gpu)?, loss.on_mut(gpu)?)?,
        }
        Ok(self.record(&[a, b], loss, op))
    }
}

/// Class of each row.
enum Targets {
    Cpu(Vec<u32>),
    Cuda(DeviceBuffer),
}

struct CrossEntropy {
    logits: Tensor,
    targets: Targets,
    smoothing: f32,
}

impl Backward for CrossEntropy {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Self { logits, targets, smoothing } = *self;
        let (rows, k) = (logits.dim(0), logits.dim(1));
        let mut dx = Tensor::empty(device, logits.shape())?;
        match (device, targets) {
            (Device::Cpu(cpu), Targets::Cpu(targets)) => {
                let (x, scale) = (logits.data(), dy.item()?);
                cpu::cross_entropy_input_grad(cpu, [rows, k], x, &targets, smoothing, scale, dx.data_mut());
            }
            (Device::Cuda(gpu), Targets::Cuda(targets)) => {
                let (x, scale, dx) = (logits.on(gpu)?, dy.on(gpu)?, dx.on_mut(gpu)?);
                cuda::cross_entropy_input_grad(gpu, [rows, k], x, &targets, smoothing, scale, dx)?;
            }
            _ => unreachable!("a tape has one device"),
        }
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
        let mut dx = Tensor::empty(device, student.shape())?;
        let t = temperature;
        match device {
            Device::Cpu(cpu) => {
                let (student, teacher, scale) = (student.data(), teacher.data(), dy.item()?);
                cpu::kl_divergence_input_grad(cpu, [rows, k], student, teacher, t, scale, dx.data_mut());
            }
            Device::Cuda(gpu) => {
                let (student, teacher, scale) = (student.on(gpu)?, teacher.on(gpu)?, dy.on(gpu)?);
                cuda::kl_divergence_input_grad(gpu, [rows, k], student, teacher, t, scale, dx.on_mut(gpu)?)?;
            }
        }
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
        let towards = |a: &Tensor, b: &Tensor| -> Result<Tensor> {
            let mut da = Tensor::empty(device, a.shape())?;
            match device {
                Device::Cpu(cpu) => cpu::mse_input_grad(cpu, a.data(), b.data(), dy.item()?, da.data_mut()),
                Device::Cuda(gpu) => {
                    cuda::mse_input_grad(gpu, a.on(gpu)?, b.on(gpu)?, dy.on(gpu)?, da.on_mut(gpu)?)?;
                }
            }
            Ok(da)
        };
        let (a, b) = (&self.a, &self.b);
        let (da, db) = (wanted[0].then(|| towards(a, b)), wanted[1].then(|| towards(b, a)));
        Ok(vec![da.transpose()?, db.transpose()?])
    }
}
