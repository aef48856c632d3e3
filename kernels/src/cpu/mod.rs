//! CPU kernels. The vector instructions are chosen at run time, and the threads belong to a private pool.
//!
//! The first argument of every kernel is a [`Cpu`], which selects the instruction set and the threads. Each algorithm
//! is written once, over the vector trait in [`simd`], which `avx512`, `avx2` and `portable` implement. The order of
//! every sum depends only on the shape, so the results are bit-identical for any number of threads.

mod activation;
mod adaptive_pool;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod batch_norm;
mod channels;
mod columns;
mod conv2d;
mod depthwise;
mod dropout;
mod elementwise;
mod lanewise;
mod linear;
mod loss;
mod matmul;
mod optim;
mod panels;
mod peak;
mod pool;
mod portable;
mod reduce;
mod scratch;
pub mod simd;
mod softmax;
mod tile;
mod windows;

pub use crate::params::{Activation, Adam, CompactIndex, Sgd, Storage, Trans};
pub use activation::{activation_forward, activation_input_grad};
pub use adaptive_pool::{
    adaptive_avg_pool2d_forward, adaptive_avg_pool2d_input_grad, adaptive_max_pool2d_forward,
    adaptive_max_pool2d_input_grad,
};
pub use batch_norm::{
    PackedBatchNorm, Statistics, batch_norm_backward, batch_norm_forward_eval, batch_norm_forward_packed,
    batch_norm_forward_train,
};
pub use channels::{concat_forward, pad_shortcut_forward, pad_shortcut_input_grad, split_channels};
pub use conv2d::{
    Algorithm, Choice, Epilogue, Footprint, PackedCompact, PackedConv2d, PackedMasked, Packing, Weights,
    conv2d_compact_forward, conv2d_forward, conv2d_forward_packed, conv2d_input_grad, conv2d_masked_forward,
    conv2d_masked_forward_packed, conv2d_weight_grad,
};
pub use dropout::dropout;
pub use elementwise::{add_assign, add_forward, axpy, mul_forward, scale};
pub use linear::{
    PackedLinear, linear_forward, linear_forward_packed, linear_input_grad, linear_weight_grad,
};
pub use loss::{
    cross_entropy_forward, cross_entropy_input_grad, kl_divergence_forward, kl_divergence_input_grad,
    mse_forward, mse_input_grad,
};
pub use matmul::{gemm, gemv};
pub use optim::{adam_step, sgd_step};
pub use pool::{avg_pool2d_forward, avg_pool2d_input_grad, max_pool2d_forward, max_pool2d_input_grad};
pub use reduce::{sum, sum_rows};
pub use softmax::{log_softmax_forward, softmax_forward};

use crate::buffer::Buffer;
use crate::recycler::Recycler;
use simd::{Kernel, Simd};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// An instruction set that the kernels support.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// The vectors that the compilation target has by default, without run-time detection.
    Portable,
    /// AVX2 with FMA, eight lanes.
    Avx2,
    /// AVX-512 F, VL, BW and DQ, sixteen lanes.
    Avx512,
}

impl Isa {
    /// All instruction sets, slowest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// Whether this machine supports it.
    pub fn available(self) -> bool {
        Backend::new(self).is_some()
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}

impl FromStr for Isa {
    type Err = CpuError;

    fn from_str(name: &str) -> Result<Self, CpuError> {
        Self::ALL
            .into_iter()
            .find(|isa| isa.to_string() == name)
            .ok_or_else(|| CpuError::UnknownIsa(name.to_owned()))
    }
}

/// The reason why the requested [`Cpu`] cannot be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuError {
    /// `LOPPER_ISA` is not the name of an instruction set.
    #[error("{ISA_VARIABLE}: unknown instruction set {0:?}; expected portable, avx2 or avx512")]
    UnknownIsa(String),
    /// `LOPPER_ISA` names an instruction set that this machine does not support.
    #[error("{ISA_VARIABLE}: this machine has no {0}")]
    MissingIsa(Isa),
    /// The system cannot start that many threads.
    #[error("threads: the system cannot start {count}: {reason}")]
    Threads {
        /// The requested number of threads.
        count: usize,
        /// The system's error message.
        reason: String,
    },
}

/// The environment variable that forces an instruction set.
const ISA_VARIABLE: &str = "LOPPER_ISA";

/// The maximum number of threads in a pool.
pub const MAX_THREADS: usize = 256;

/// A proof that the machine supports one of the instruction sets.
#[derive(Clone, Copy)]
enum Backend {
    Portable(portable::Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
}

impl Backend {
    fn new(isa: Isa) -> Option<Self> {
        match isa {
            Isa::Portable => Some(Self::Portable(portable::Portable)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::Avx2::new().map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::Avx512::new().map(Self::Avx512),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => None,
        }
    }

    fn isa(self) -> Isa {
        match self {
            Self::Portable(_) => Isa::Portable,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => Isa::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => Isa::Avx512,
        }
    }
}

/// The instruction set and the thread pool that every CPU kernel runs on. Clones share the pool.
#[derive(Clone)]
pub struct Cpu {
    backend: Backend,
    pool: Arc<rayon::ThreadPool>,
    shelf: Arc<scratch::Shelf>,
    recycler: Arc<Recycler>,
    strict: bool,
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cpu").field("isa", &self.isa()).field("threads", &self.thread_count()).finish()
    }
}

impl Cpu {
    /// Uses the best instruction set of the machine, or the one that `LOPPER_ISA` names if it is available, with one
    /// thread per core.
    ///
    /// # Panics
    /// Panics if the system cannot start the threads.
    pub fn detect() -> Self {
        Self::try_detect().unwrap_or_else(|_| Self::new(best_backend(), core_count()))
    }

    /// Like [`detect`](Self::detect), but returns an error if `LOPPER_ISA` is unusable or the threads cannot be
    /// started.
    pub fn try_detect() -> Result<Self, CpuError> {
        Self::open(core_count())
    }

    /// Like [`try_detect`](Self::try_detect), with `threads` threads, clamped to `1..=`[`MAX_THREADS`].
    pub fn open(threads: usize) -> Result<Self, CpuError> {
        let backend = match std::env::var_os(ISA_VARIABLE) {
            None => best_backend(),
            Some(name) => {
                let isa = name.to_string_lossy().parse()?;
                Backend::new(isa).ok_or(CpuError::MissingIsa(isa))?
            }
        };
        Self::try_new(backend, threads)
    }

    /// Uses this instruction set with one thread per core; `None` if the machine does not support it.
    pub fn with_isa(isa: Isa) -> Option<Self> {
        Backend::new(isa).map(|backend| Self::new(backend, core_count()))
    }

    /// Returns the same instruction set with a pool of `n` threads, clamped to `1..=`[`MAX_THREADS`].
    pub fn threads(self, n: usize) -> Self {
        let strict = self.strict;
        let cpu = if self.thread_count() == n { self } else { Self::new(self.backend, n) };
        Self { strict, ..cpu }
    }

    /// Returns a CPU that computes every convolution and its gradients with the direct algorithm, whatever algorithm is
    /// requested. Each output then depends only on the pixels that it reads, however large they are.
    pub fn strict(self) -> Self {
        Self { strict: true, ..self }
    }

    /// Whether only the direct algorithm is used.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    fn new(backend: Backend, threads: usize) -> Self {
        Self::try_new(backend, threads).expect("the system can start the threads of a small pool")
    }

    fn try_new(backend: Backend, threads: usize) -> Result<Self, CpuError> {
        let count = threads.clamp(1, MAX_THREADS);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|i| format!("lopper-{i}"))
            .start_handler(|_| flush_subnormals())
            .build()
            .map_err(|e| CpuError::Threads { count, reason: e.to_string() })?;
        Ok(Self {
            backend,
            pool: Arc::new(pool),
            shelf: Arc::new(scratch::Shelf::new(count)),
            recycler: Arc::default(),
            strict: false,
        })
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.backend.isa()
    }

    /// The number of threads in the pool.
    pub fn thread_count(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Returns `len` floats of unspecified value for a kernel to write. Reuses the memory of an earlier buffer if
    /// possible.
    pub fn buffer(&self, len: usize) -> Buffer {
        self.recycler.buffer(len)
    }

    /// Runs `f` on a thread of the pool, so that rayon's parallel iterators inside it use the pool and subnormals are
    /// flushed to zero. A call from inside the pool runs `f` directly.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.install(f)
    }

    /// Runs `kernel` on this thread, compiled for the instruction set in use.
    pub fn dispatch<K: Kernel>(&self, kernel: K) -> K::Output {
        match self.backend {
            Backend::Portable(simd) => simd.vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2(simd) => simd.vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512(simd) => simd.vectorize(kernel),
        }
    }
}

fn best_backend() -> Backend {
    let best = Isa::ALL.into_iter().rev().find_map(Backend::new);
    best.unwrap_or(Backend::Portable(portable::Portable))
}

fn core_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Makes this thread treat subnormal inputs and results as zero. Folding a batch norm into a convolution can create
/// hundreds of subnormals, each of which takes a slow path of a hundred cycles or more.
fn flush_subnormals() {
    // Miri does not support inline assembly.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        const FLUSH_TO_ZERO: u32 = 1 << 15;
        const DENORMALS_ARE_ZERO: u32 = 1 << 6;
        let mut control = 0u32;
        // SAFETY: both instructions access only the four bytes of `control`. The rounding mode and the exception masks
        // do not change, so every result that is not subnormal is unaffected. The compiler assumes that the two bits
        // are clear: it may fold a constant to a subnormal that the machine would flush, but no kernel has one.
        unsafe {
            std::arch::asm!("stmxcsr [{}]", in(reg) &mut control, options(nostack));
            control |= FLUSH_TO_ZERO | DENORMALS_ARE_ZERO;
            std::arch::asm!("ldmxcsr [{}]", in(reg) &control, options(nostack));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_instruction_sets_round_trip() {
        for isa in Isa::ALL {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
        let error = "sse9".parse::<Isa>().unwrap_err();
        assert!(error.to_string().contains("LOPPER_ISA") && error.to_string().contains("sse9"));
    }

    #[test]
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    fn workers_flush_subnormals() {
        use std::hint::black_box;
        let cpu = Cpu::detect().threads(2);
        let halves = cpu.pool.broadcast(|_| black_box(f32::MIN_POSITIVE) * black_box(0.5));
        assert_eq!(halves, [0.0; 2]);
    }

    #[test]
    fn threads_are_counted_and_bounded() {
        let cpu = Cpu::detect().threads(3);
        assert_eq!(cpu.thread_count(), 3);
        assert_eq!(cpu.threads(0).thread_count(), 1);
    }
}
