//! CUDA graphs: a sequence of launches recorded once and replayed by one call, for work so short that separate
//! launches take longer than the work itself.

use super::error::{Result, check};
use super::{Cuda, DeviceBuffer};
use cudarc::driver::sys::{self, CUgraphExec, CUstreamCaptureMode};

/// Recorded work. It reads and writes the buffers that it was recorded with; its owner keeps them alive.
pub struct CudaGraph {
    cuda: Cuda,
    graph: CUgraphExec,
    /// The buffers that kernels borrowed while recording; replays use them.
    borrowed: Vec<DeviceBuffer>,
}

// SAFETY: a driver handle, which any thread may use; `&mut self` serializes replays.
unsafe impl Send for CudaGraph {}

impl Cuda {
    /// Records what `work` submits, without running it. `work` must have run once before, so that every kernel is
    /// compiled and the pool holds the buffers that it borrows; it must not read back or wait.
    ///
    /// # Errors
    /// If `work` fails, or does something that cannot be recorded.
    pub fn record(&self, work: impl FnOnce() -> Result<()>) -> Result<CudaGraph> {
        self.bind()?;
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream exists and is not being captured: only this function captures it.
        check("cuStreamBeginCapture", unsafe { sys::cuStreamBeginCapture_v2(self.stream(), mode) })?;
        self.start_borrowing();
        let worked = work();
        let borrowed = self.stop_borrowing();
        let mut graph = std::ptr::null_mut();
        // SAFETY: ends the capture begun above, even if `work` failed; writes one handle.
        let ended = unsafe { sys::cuStreamEndCapture(self.stream(), &mut graph) };
        let mut run = std::ptr::null_mut();
        let made = worked.and_then(|()| check("cuStreamEndCapture", ended)).and_then(|()| {
            // SAFETY: a complete graph; writes one handle.
            check("cuGraphInstantiate", unsafe { sys::cuGraphInstantiateWithFlags(&mut run, graph, 0) })
        });
        if !graph.is_null() {
            // SAFETY: the instantiated graph is a copy.
            unsafe { sys::cuGraphDestroy(graph) };
        }
        made.map(|()| CudaGraph { cuda: self.clone(), graph: run, borrowed })
    }
}

impl CudaGraph {
    /// The bytes that its kernels borrow and the graph therefore holds.
    pub fn borrowed_bytes(&self) -> usize {
        self.borrowed.iter().map(DeviceBuffer::bytes).sum()
    }

    /// Submits the recorded work.
    pub fn replay(&mut self) -> Result<()> {
        self.cuda.bind()?;
        // SAFETY: an instantiated graph, whose owner keeps its buffers alive.
        check("cuGraphLaunch", unsafe { sys::cuGraphLaunch(self.graph, self.cuda.stream()) })
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        if self.cuda.synchronize().is_ok() {
            // SAFETY: no replay is in flight.
            unsafe { sys::cuGraphExecDestroy(self.graph) };
        }
    }
}
