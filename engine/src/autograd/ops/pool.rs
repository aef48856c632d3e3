//! Max and average pooling. On the CPU, a max pooling that will go backward remembers which pixel of each window won; on a
//! GPU, its backward pass finds the maxima again from its input.

use crate::autograd::tape::{Backward, Tape, Var};
use crate::graph::pool::{Pool, PoolGeometry, PoolKind};
use crate::{Device, Result, Tensor};
use lopper_kernels::cpu::{self, Cpu};
use lopper_kernels::cuda::{self, Cuda, DeviceBuffer};
use lopper_kernels::shapes::{AdaptivePool2d, Pool2d};

impl Tape {
    /// Pools the pixels of `x` `[N, H, W, C]`.
    pub fn pool2d(&mut self, x: &Var, pool: Pool) -> Result<Var> {
        let pooling = Pooling::new(&pool, x.shape())?;
        if let (PoolKind::Max, Device::Cpu(cpu), true) = (pooling.kind, self.device(), self.wants_gradient(x))
        {
            let (y, winners) = max_with_winners(cpu, self.device(), &pooling.geometry, x.value())?;
            return Ok(self.record(&[x], y, MaxPoolWinners { g: pooling.geometry, winners }));
        }
        let mut y = Tensor::like(self.device(), x.value(), &pooling.geometry.y_shape())?;
        match self.device() {
            Device::Cpu(cpu) => pooling.run(cpu, x.value().data(), y.data_mut()),
            Device::Cuda(gpu) => pooling.run_on(gpu, x.value().on(gpu)?, y.on_mut(gpu)?)?,
        }
        Ok(match pooling.kind {
            PoolKind::Max => self.record(&[x], y, MaxPool { g: pooling.geometry, x: x.value().clone() }),
            PoolKind::Average => self.record(&[x], y, AveragePool { g: pooling.geometry }),
        })
    }
}

/// A pooling of an image of known size, for the kernels of either device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pooling {
    pub kind: PoolKind,
    pub geometry: PoolGeometry,
}

impl Pooling {
    /// The pooling of an input `[N, H, W, C]`.
    pub fn new(pool: &Pool, x: &[usize]) -> Result<Self> {
        Ok(Self { kind: pool.kind, geometry: pool.geometry(x)? })
    }

    /// The same pooling of `images` images.
    pub fn of_images(self, images: usize) -> Self {
        let geometry = match self.geometry {
            PoolGeometry::Fixed(g) => PoolGeometry::Fixed(Pool2d { n: images, ..g }),
            PoolGeometry::Adaptive(g) => PoolGeometry::Adaptive(AdaptivePool2d { n: images, ..g }),
        };
        Self { geometry, ..self }
    }

    /// The geometry, if this is the maximum of fixed windows.
    pub fn max_of_fixed(&self) -> Option<&Pool2d> {
        match (self.kind, &self.geometry) {
            (PoolKind::Max, PoolGeometry::Fixed(g)) => Some(g),
            _ => None,
        }
    }

    /// The name of the kernel.
    pub fn name(&self) -> &'static str {
        match (self.kind, self.geometry) {
            (PoolKind::Max, PoolGeometry::Fixed(_)) => "max_pool2d",
            (PoolKind::Max, PoolGeometry::Adaptive(_)) => "adaptive_max_pool2d",
            (PoolKind::Average, PoolGeometry::Fixed(_)) => "avg_pool2d",
            (PoolKind::Average, PoolGeometry::Adaptive(_)) => "adaptive_avg_pool2d",
        }
    }

    /// Computes the value of each window.
    pub fn run(&self, cpu: &Cpu, x: &[f32], y: &mut [f32]) {
        match (self.kind, &self.geometry) {
            (PoolKind::Max, PoolGeometry::Fixed(g)) => cpu::max_pool2d_forward(cpu, g, x, y),
            (PoolKind::Max, PoolGeometry::Adaptive(g)) => cpu::adaptive_max_pool2d_forward(cpu, g, x, y),
            (PoolKind::Average, PoolGeometry::Fixed(g)) => cpu::avg_pool2d_forward(cpu, g, x, y),
            (PoolKind::Average, PoolGeometry::Adaptive(g)) => cpu::adaptive_avg_pool2d_forward(cpu, g, x, y),
        }
    }

    /// [`Pooling::run`] on a GPU.
    pub fn run_on(&self, gpu: &Cuda, x: &DeviceBuffer, y: &mut DeviceBuffer) -> cuda::Result<()> {
        match (self.kind, &self.geometry) {
            (PoolKind::Max, PoolGeometry::Fixed(g)) => cuda::max_pool2d_forward(gpu, g, x, y),
            (PoolKind::Max, PoolGeometry::Adaptive(g)) => cuda::adaptive_max_pool2d_forward(gpu, g, x, y),
            (PoolKind::Average, PoolGeometry::Fixed(g)) => cuda::avg_pool2d_forward(gpu, g, x, y),
            (PoolKind::Average, PoolGeometry::Adaptive(g)) => cuda::adaptive_avg_pool2d_forward(gpu, g, x, y),
        }
    }
}

/// The maximum of each window of `x`, and the number of its pixel in the window.
fn max_with_winners(cpu: &Cpu, device: &Device, g: &PoolGeometry, x: &Tensor) -> Result<(Tensor, Tensor)> {
    let mut y = Tensor::like(device, x, &g.y_shape())?;
    let mut winners = Tensor::like(device, x, &g.y_shape())?;
    let (x, out, won) = (x.data(), y.data_mut(), winners.data_mut());
    match g {
        PoolGeometry::Fixed(g) => cpu::max_pool2d_with_winners(cpu, g, x, out, won),
        PoolGeometry::Adaptive(g) => cpu::adaptive_max_pool2d_with_winners(cpu, g, x, out, won),
    }
    Ok((y, winners))
}

/// Max pooling on the CPU.
struct MaxPoolWinners {
    g: PoolGeometry,
    /// `[N, OH, OW, C]`.
    winners: Tensor,
}

impl Backward for MaxPoolWinners {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Device::Cpu(cpu) = device else { unreachable!("winners are recorded on the CPU only") };
        let mut dx = Tensor::like(device, &dy, &self.g.x_shape())?;
        let (winners, dy, out) = (self.winners.data(), dy.data(), dx.data_mut());
        match &self.g {
            PoolGeometry::Fixed(g) => cpu::max_pool2d_winners_grad(cpu, g, winners, dy, out),
            PoolGeometry::Adaptive(g) => cpu::adaptive_max_pool2d_winners_grad(cpu, g, winners, dy, out),
        }
        Ok(vec![Some(dx)])
    }
}

/// Max pooling on a GPU.
struct MaxPool {
    g: PoolGeometry,
    x: Tensor,
}

impl Backward for MaxPool {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Self { g, x } = *self;
        let dy = dy.as_stored(device, &x)?;
        let mut dx = Tensor::like(device, &dy, x.shape())?;
        let Device::Cuda(gpu) = device else { unreachable!("the CPU records winners") };
        let (x, dy, out) = (x.on(gpu)?, dy.on(gpu)?, dx.on_mut(gpu)?);
        match &g {
            PoolGeometry::Fixed(g) => cuda::max_pool2d_input_grad(gpu, g, x, dy, out)?,
            PoolGeometry::Adaptive(g) => cuda::adaptive_max_pool2d_input_grad(gpu, g, x, dy, out)?,
        }
        Ok(vec![Some(dx)])
    }
}

struct AveragePool {
    g: PoolGeometry,
}

impl Backward for AveragePool {
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut dx = Tensor::like(device, &dy, &self.g.x_shape())?;
        match device {
            Device::Cpu(cpu) => {
                let (dy, dx) = (dy.data(), dx.data_mut());
                match &self.g {
                    PoolGeometry::Fixed(g) => cpu::avg_pool2d_input_grad(cpu, g, dy, dx),
                    PoolGeometry::Adaptive(g) => cpu::adaptive_avg_pool2d_input_grad(cpu, g, dy, dx),
                }
            }
            Device::Cuda(gpu) => {
                let (dy, dx) = (dy.on(gpu)?, dx.on_mut(gpu)?);
                match &self.g {
                    PoolGeometry::Fixed(g) => cuda::avg_pool2d_input_grad(gpu, g, dy, dx)?,
                    PoolGeometry::Adaptive(g) => cuda::adaptive_avg_pool2d_input_grad(gpu, g, dy, dx)?,
                }
            }
        }
        Ok(vec![Some(dx)])
    }
}
