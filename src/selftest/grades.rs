//! The three grades of matrix kernels and the dispatch that chooses among them, with one set of signatures.

use lopper_kernels::cuda::{self, Cuda, DeviceBuffer, Epilogue, mma, simt, wgmma};
use lopper_kernels::params::{Dtype, Trans};
use lopper_kernels::shapes::{Conv2d, Matmul};

/// A family of kernels for matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// General-purpose arithmetic units of the multiprocessors.
    Simt,
    /// Tensor cores via `mma.sync`.
    Mma,
    /// Hopper's tensor cores via `wgmma`, fed by its copy engine.
    Wgmma,
    /// Whichever grade suits the device, its precision and the shape.
    Chosen,
}

/// Product of a convolution to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    Forward,
    InputGrad,
    WeightGrad,
}

impl Pass {
    pub const ALL: [Self; 3] = [Self::Forward, Self::InputGrad, Self::WeightGrad];

    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::InputGrad => "input gradient",
            Self::WeightGrad => "weight gradient",
        }
    }
}

impl Grade {
    pub fn name(self) -> &'static str {
        match self {
            Self::Simt => "simt",
            Self::Mma => "mma",
            Self::Wgmma => "wgmma",
            Self::Chosen => "chosen",
        }
    }

    /// Returns the precisions that this grade supports.
    pub fn precisions(self) -> &'static [Dtype] {
        match self {
            Self::Simt => &[Dtype::F32],
            Self::Mma | Self::Wgmma => &[Dtype::Tf32, Dtype::Bf16, Dtype::F16],
            Self::Chosen => &Dtype::PRECISIONS,
        }
    }

    /// Checks whether this grade computes `pass` of `g` on `cuda`; the error says why not.
    pub fn applies(self, cuda: &Cuda, pass: Pass, g: &Conv2d, precision: Dtype) -> Result<(), String> {
        let dtype = precision.storage();
        match self {
            Self::Simt | Self::Chosen => Ok(()),
            Self::Mma if g.groups == 1 => Ok(()),
            Self::Mma => Err("mma supports only one group".into()),
            Self::Wgmma if cuda.arch() != "sm_90a" => {
                Err(format!("wgmma needs sm_90a, this device is {}", cuda.arch()))
            }
            Self::Wgmma => {
                let applies = match pass {
                    Pass::Forward => wgmma::applies(cuda, g, dtype),
                    Pass::InputGrad => wgmma::applies_to_input_grad(cuda, g, dtype),
                    Pass::WeightGrad => wgmma::applies_to_weight_grad(cuda, g, dtype),
                };
                let refusal = || format!("no wgmma kernel for the {} of such layers", pass.name());
                applies.then_some(()).ok_or_else(refusal)
            }
        }
    }

    /// Computes `y = activation(x ∗ w + bias + residual)`. Here and below, `cuda` has the precision of the operands.
    pub fn forward(
        self,
        cuda: &Cuda,
        g: &Conv2d,
        x: &DeviceBuffer,
        w: &DeviceBuffer,
        end: &Epilogue,
        y: &mut DeviceBuffer,
    ) -> cuda::Result<()> {
        let forward = match self {
            Self::Simt => simt::conv2d_forward,
            Self::Mma => mma::conv2d_forward,
            Self::Wgmma => wgmma::conv2d_forward,
            Self::Chosen => cuda::conv2d_forward,
        };
        forward(cuda, g, x, w, end, y)
    }

    /// Computes the product `pass` of `g` without a fused epilogue: of `x` and `w`, of `dy` and `w`, or of `x` and
    /// `dy`.
    pub fn product(
        self,
        cuda: &Cuda,
        pass: Pass,
        g: &Conv2d,
        a: &DeviceBuffer,
        b: &DeviceBuffer,
        out: &mut DeviceBuffer,
    ) -> cuda::Result<()> {
        let product = match (pass, self) {
            (Pass::Forward, _) => return self.forward(cuda, g, a, b, &Epilogue::default(), out),
            (Pass::InputGrad, Self::Simt) => simt::conv2d_input_grad,
            (Pass::InputGrad, Self::Mma) => mma::conv2d_input_grad,
            (Pass::InputGrad, Self::Wgmma) => wgmma::conv2d_input_grad,
            (Pass::InputGrad, Self::Chosen) => cuda::conv2d_input_grad,
            (Pass::WeightGrad, Self::Simt) => simt::conv2d_weight_grad,
            (Pass::WeightGrad, Self::Mma) => mma::conv2d_weight_grad,
            (Pass::WeightGrad, Self::Wgmma) => wgmma::conv2d_weight_grad,
            (Pass::WeightGrad, Self::Chosen) => cuda::conv2d_weight_grad,
        };
        product(cuda, g, a, b, out)
    }

    /// Computes `C = op(A)·op(B)`, or `C += op(A)·op(B)`. Hopper's grade supports only `C = A·Bᵀ`, as a convolution of
    /// one-pixel images.
    pub fn gemm(
        self,
        cuda: &Cuda,
        g: &Matmul,
        a: &DeviceBuffer,
        b: &DeviceBuffer,
        accumulate: bool,
        c: &mut DeviceBuffer,
    ) -> cuda::Result<()> {
        let gemm = match self {
            Self::Simt => simt::gemm,
            Self::Mma => mma::gemm,
            Self::Chosen => cuda::gemm,
            Self::Wgmma => {
                assert!([g.ta, g.tb] == [Trans::No, Trans::Yes] && !accumulate, "wgmma computes only A·Bᵀ");
                let g = Conv2d::square([g.m, 1, 1, g.k], g.n, 1, 1, 0);
                return wgmma::conv2d_forward(cuda, &g, a, b, &Epilogue::default(), c);
            }
        };
        gemm(cuda, g, a, b, accumulate, c)
    }
}
