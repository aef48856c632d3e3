//! Pooling over fixed and adaptive windows.

use crate::selftest::line::Tally;
use crate::selftest::rig::{Rig, random, rounding, stored};
use lopper_engine::Result;
use lopper_kernels::cpu::{self, Cpu};
use lopper_kernels::cuda::{self, Cuda, DeviceBuffer};
use lopper_kernels::params::Dtype;
use lopper_kernels::shapes::{AdaptivePool2d, Pool2d};

type Map<G> = fn(&Cuda, &G, &DeviceBuffer, &mut DeviceBuffer) -> cuda::Result<()>;
type MaxGrad<G> = fn(&Cuda, &G, &DeviceBuffer, &DeviceBuffer, &mut DeviceBuffer) -> cuda::Result<()>;
type MapOnCpu<G> = fn(&Cpu, &G, &[f32], &mut [f32]);
type MaxGradOnCpu<G> = fn(&Cpu, &G, &[f32], &[f32], &mut [f32]);

/// Maximum, its gradient, mean and its gradient, on the device and on the CPU.
struct Operations<G> {
    device: (Map<G>, MaxGrad<G>, Map<G>, Map<G>),
    cpu: (MapOnCpu<G>, MaxGradOnCpu<G>, MapOnCpu<G>, MapOnCpu<G>),
}

impl<G> Operations<G> {
    fn compare(
        &self,
        rig: &Rig,
        tally: &mut Tally,
        dtype: Dtype,
        at: &str,
        g: &G,
        [x_len, y_len]: [usize; 2],
    ) -> Result<()> {
        let (gpu, cpu) = (&rig.gpu, &rig.cpu);
        // Few distinct values, so that many tie.
        let coarse = random(1, x_len).iter().map(|x| (4.0 * x).round()).collect::<Vec<_>>();
        let dy = stored(dtype, random(2, y_len));
        let (on_x, on_dy) = (rig.put(dtype, &coarse)?, rig.put(dtype, &dy)?);
        let (mut y, mut dx) = (vec![0.0; y_len], vec![0.0; x_len]);
        let mut compare = |what: &str, limit: f64, got: &[f32], want: &[f32]| {
            tally.compare(&format!("{what}, {at}"), limit, got, &stored(dtype, want.to_vec()));
        };
        (self.cpu.0)(cpu, g, &coarse, &mut y);
        compare("max", 0.0, &rig.twice(dtype, y_len, |y| (self.device.0)(gpu, g, &on_x, y))?, &y);
        (self.cpu.1)(cpu, g, &coarse, &dy, &mut dx);
        let got = rig.twice(dtype, x_len, |dx| (self.device.1)(gpu, g, &on_x, &on_dy, dx))?;
        compare("max gradient", rounding(dtype), &got, &dx);
        (self.cpu.2)(cpu, g, &coarse, &mut y);
        let got = rig.twice(dtype, y_len, |y| (self.device.2)(gpu, g, &on_x, y))?;
        compare("mean", rounding(dtype), &got, &y);
        (self.cpu.3)(cpu, g, &dy, &mut dx);
        let got = rig.twice(dtype, x_len, |dx| (self.device.3)(gpu, g, &on_dy, dx))?;
        compare("mean gradient", rounding(dtype), &got, &dx);
        Ok(())
    }
}

pub fn fixed(rig: &Rig, tally: &mut Tally, dtype: Dtype) -> Result<()> {
    let operations = Operations {
        device: (
            cuda::max_pool2d_forward,
            cuda::max_pool2d_input_grad,
            cuda::avg_pool2d_forward,
            cuda::avg_pool2d_input_grad,
        ),
        cpu: (
            cpu::max_pool2d_forward,
            cpu::max_pool2d_input_grad,
            cpu::avg_pool2d_forward,
            cpu::avg_pool2d_input_grad,
        ),
    };
    let padded =
        |x, kernel, stride, padding| Pool2d { padding: [padding; 2], ..Pool2d::square(x, kernel, stride) };
    let mut geometries = vec![
        padded([2, 9, 7, 5], 2, 2, 0),
        padded([1, 8, 9, 24], 3, 2, 1),
        Pool2d { ceil_mode: true, count_include_pad: false, ..padded([2, 7, 8, 8], 3, 2, 1) },
    ];
    if rig.large {
        geometries.extend([padded([4, 224, 224, 64], 2, 2, 0), padded([4, 112, 112, 64], 3, 2, 1)]);
    }
    for g in geometries {
        let at = format!("{}×{}×{}, {}/{}", g.h, g.w, g.c, g.kernel[0], g.stride[0]);
        operations.compare(rig, tally, dtype, &at, &g, [g.x_len(), g.y_len()])?;
    }
    Ok(())
}

pub fn adaptive(rig: &Rig, tally: &mut Tally, dtype: Dtype) -> Result<()> {
    let operations = Operations {
        device: (
            cuda::adaptive_max_pool2d_forward,
            cuda::adaptive_max_pool2d_input_grad,
            cuda::adaptive_avg_pool2d_forward,
            cuda::adaptive_avg_pool2d_input_grad,
        ),
        cpu: (
            cpu::adaptive_max_pool2d_forward,
            cpu::adaptive_max_pool2d_input_grad,
            cpu::adaptive_avg_pool2d_forward,
            cpu::adaptive_avg_pool2d_input_grad,
        ),
    };
    let of = |[n, h, w, c]: [usize; 4], oh, ow| AdaptivePool2d { n, h, w, c, oh, ow };
    let mut geometries = vec![of([2, 9, 7, 5], 4, 3), of([2, 3, 4, 24], 7, 7)];
    if rig.large {
        geometries.extend([of([64, 7, 7, 2048], 1, 1), of([8, 14, 14, 512], 7, 7)]);
    }
    for g in geometries {
        let at = format!("{}×{}×{} to {}×{}", g.h, g.w, g.c, g.oh, g.ow);
        operations.compare(rig, tally, dtype, &at, &g, [g.x_len(), g.y_len()])?;
    }
    Ok(())
}
