//! CUDA graphs: a sequence of launches recorded once and replayed by one call, for work so short that submitting it
//! launch by launch takes longer than running it.

use super::error::{Result, check};
use super::{Cuda, DeviceBuffer};
use cudarc::driver::sys::{self, CUgraphExec, CUstreamCaptureMode};

/// Recorded work. It reads and writes the buffers that it was recorded with, which its owner keeps alive.
pub struct CudaGraph {
    cuda: Cuda,
    graph: CUgraphExec,
    /// What kernels borrowed while they were recorded: their replays use it.
    borrowed: Vec<DeviceBuffer>,
}

// SAFETY: a handle of the driver, which any thread may use; `&mut self` makes replays follow each other.
unsafe impl Send for CudaGraph {}

impl Cuda {
    /// Records what `work` submits, without running it. It must have run once before, so that every kernel is compiled
    /// and the pool holds what it borrows; it must not read back or wait.
    ///
    /// # Errors
    /// What `work` returns, or where it did something that cannot be recorded.
    pub fn record(&self, work: impl FnOnce() -> Result<()>) -> Result<CudaGraph> {
        self.bind()?;
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: a stream that exists and is not being captured: this is the only place that does.
        check("cuStreamBeginCapture", unsafe { sys::cuStreamBeginCapture_v2(self.stream(), mode) })?;
        self.start_borrowing();
        let worked = work();
        let borrowed = self.stop_borrowing();
        let mut graph = std::ptr::null_mut();
        // SAFETY: ends the capture begun above, also where `work` failed; writes one handle.
        let ended = unsafe { sys::cuStreamEndCapture(self.stream(), &mut graph) };
        let mut run = std::ptr::null_mut();
        let made = worked.and_then(|()| check("cuStreamEndCapture", ended)).and_then(|()| {
            // SAFETY: a whole graph; writes one handle.
            check("cuGraphInstantiate", unsafe { sys::cuGraphInstantiateWithFlags(&mut run, graph, 0) })
        });
        if !graph.is_null() {
            // SAFETY: what was instantiated is a copy.
            unsafe { sys::cuGraphDestroy(graph) };
        }
        made.map(|()| CudaGraph { cuda: self.clone(), graph: run, borrowed })
    }
}

impl CudaGraph {
    /// Bytes that its kernels borrow, and that it therefore holds.
    pub fn borrowed_bytes(&self) -> usize {
        self.borrowed.iter().map(DeviceBuffer::bytes).sum()
    }

    /// Submits the recorded work.
    pub fn replay(&mut self) -> Result<()> {
        self.cuda.bind()?;
        // SAFETY: an instantiated graph whose buffers its owner keeps alive.
        check("cuGraphLaunch", unsafe { sys::cuGraphLaunch(self.graph, self.cuda.stream()) })
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        if self.cuda.synchronize().is_ok() {
            // SAFETY: no replay is on its way.
            unsafe { sys::cuGraphExecDestroy(self.graph) };
        }
    }
}
