//! The CPU as a device: an instruction set and a pool of threads.

use crate::buffer::{Buffer, Lender};
use crate::cpu::device::isa::{Backend, Isa, UnknownIsa};
use crate::cpu::device::shelf::Shelf;
use crate::cpu::simd::Kernel;
use crate::recycler::Recycler;
use rayon::iter::MinLen;
use rayon::prelude::*;
use std::fmt;
use std::sync::Arc;

/// The reason why the requested [`Cpu`] cannot be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuError {
    /// `LOPPER_ISA` is not the name of an instruction set.
    #[error("{ISA_VARIABLE}: {0}")]
    UnknownIsa(#[from] UnknownIsa),
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

/// The instruction set and the thread pool that every CPU kernel runs on. Clones share the pool.
#[derive(Clone)]
pub struct Cpu {
    pub(in crate::cpu) backend: Backend,
    pub(in crate::cpu) workers: Arc<rayon::ThreadPool>,
    pub(in crate::cpu) shelf: Arc<Shelf>,
    recycler: Arc<Recycler>,
    strict: bool,
    alone: bool,
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
        Self::try_detect().unwrap_or_else(|_| Self::new(Backend::best(), core_count()))
    }

    /// Like [`detect`](Self::detect), but returns an error if `LOPPER_ISA` is unusable or the threads cannot be
    /// started.
    pub fn try_detect() -> Result<Self, CpuError> {
        Self::open(core_count())
    }

    /// Like [`try_detect`](Self::try_detect), with `threads` threads, clamped to `1..=`[`MAX_THREADS`].
    pub fn open(threads: usize) -> Result<Self, CpuError> {
        let backend = match std::env::var_os(ISA_VARIABLE) {
            None => Backend::best(),
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

    /// Returns the same CPU for a caller that divides its work among the threads itself: forward kernels then compute
    /// on the thread of the pool that calls them, and neither wait for other threads nor take over their tasks.
    pub fn alone(&self) -> Self {
        Self { alone: true, ..self.clone() }
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
        let workers = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|i| format!("lopper-{i}"))
            .start_handler(|_| flush_subnormals())
            .build()
            .map_err(|e| CpuError::Threads { count, reason: e.to_string() })?;
        Ok(Self {
            backend,
            workers: Arc::new(workers),
            shelf: Arc::new(Shelf::new(count)),
            recycler: Arc::default(),
            strict: false,
            alone: false,
        })
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.backend.isa()
    }

    /// The number of threads that a kernel is divided among: those of the pool, or one if it computes
    /// [`alone`](Self::alone).
    pub fn thread_count(&self) -> usize {
        if self.alone { 1 } else { self.workers.current_num_threads() }
    }

    /// Returns `len` floats of unspecified value for a kernel to write. Reuses the memory of an earlier buffer if
    /// possible.
    pub fn buffer(&self, len: usize) -> Buffer {
        self.recycler.clone().lend(len)
    }

    /// Runs `f` on a thread of the pool, so that rayon's parallel iterators inside it use the pool and subnormals are
    /// flushed to zero. A call from inside the pool runs `f` directly.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.workers.install(f)
    }

    /// Runs `f` for every item, several at a time. `f` may itself use all threads: items of very different sizes share
    /// them in one pass.
    pub fn for_each<T: Send>(&self, items: &mut [T], f: impl Fn(&mut T) + Sync) {
        self.run(|| items.par_iter_mut().with_max_len(1).for_each(&f));
    }

    /// Divides `items` among the threads; leaves them to this thread if it computes [`alone`](Self::alone) or is the only
    /// one. To divide takes longer than a small task does, so each thread gets a limited number of shares.
    pub(in crate::cpu) fn divide<I: IndexedParallelIterator>(&self, items: I) -> MinLen<I> {
        const SHARES: usize = 16;
        let least = match self.thread_count() {
            1 => usize::MAX,
            threads => (items.len() / (SHARES * threads)).max(1),
        };
        items.with_min_len(least)
    }

    /// Runs both functions, at the same time if another thread is free; one after the other if this thread computes
    /// [`alone`](Self::alone) or is the only one.
    pub(in crate::cpu) fn join(&self, first: impl FnOnce() + Send, second: impl FnOnce() + Send) {
        if self.thread_count() == 1 {
            first();
            second();
        } else {
            rayon::join(first, second);
        }
    }

    /// Computes `y` from `x` in `parts` equal parts, several at a time and each on one thread: `f(thread, x, y)` computes
    /// one on this thread of the pool. Kernels that `f` calls must compute [`alone`](Self::alone).
    pub fn for_each_part(
        &self,
        parts: usize,
        x: &[f32],
        y: &mut [f32],
        f: impl Fn(usize, &[f32], &mut [f32]) + Sync,
    ) {
        assert!(x.len().is_multiple_of(parts) && y.len().is_multiple_of(parts), "parts are equal");
        let [x_len, y_len] = [x.len(), y.len()].map(|len| len / parts);
        self.run(|| {
            y.par_chunks_mut(y_len.max(1)).enumerate().with_max_len(1).for_each(|(i, y)| {
                let thread = rayon::current_thread_index().expect("tasks run on threads of the pool");
                f(thread, &x[i * x_len..][..x_len], y);
            });
        });
    }

    /// Runs `kernel` on this thread, compiled for the instruction set in use.
    pub fn dispatch<K: Kernel>(&self, kernel: K) -> K::Output {
        self.backend.dispatch(kernel)
    }
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
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    fn workers_flush_subnormals() {
        use std::hint::black_box;
        let cpu = Cpu::detect().threads(2);
        let halves = cpu.workers.broadcast(|_| black_box(f32::MIN_POSITIVE) * black_box(0.5));
        assert_eq!(halves, [0.0; 2]);
    }

    #[test]
    fn threads_are_counted_and_bounded() {
        let cpu = Cpu::detect().threads(3);
        assert_eq!(cpu.thread_count(), 3);
        assert_eq!(cpu.threads(0).thread_count(), 1);
    }
}
