//! Time on the device, between two points of its stream.

use super::Cuda;
use super::error::{Result, check};
use cudarc::driver::sys::{self, CUevent};
use std::time::Duration;

/// Two events on a device's stream.
pub struct Timer {
    cuda: Cuda,
    start: CUevent,
    stop: CUevent,
}

impl Timer {
    /// A timer for `cuda`.
    pub fn new(cuda: &Cuda) -> Result<Self> {
        cuda.bind()?;
        let mut timer = Self { cuda: cuda.clone(), start: std::ptr::null_mut(), stop: std::ptr::null_mut() };
        for event in [&mut timer.start, &mut timer.stop] {
            // SAFETY: writes one handle, which `drop` destroys.
            check("cuEventCreate", unsafe { sys::cuEventCreate(event, 0) })?;
        }
        Ok(timer)
    }

    /// Measures the time that the work submitted by `work` takes on the device. Waits for it.
    pub fn time(&mut self, work: impl FnOnce() -> Result<()>) -> Result<Duration> {
        self.cuda.bind()?;
        // SAFETY: the event and the stream exist.
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.start, self.cuda.stream()) })?;
        work()?;
        let mut milliseconds = 0.0;
        // SAFETY: as above; both events are recorded before the elapsed time is queried.
        unsafe {
            check("cuEventRecord", sys::cuEventRecord(self.stop, self.cuda.stream()))?;
            check("cuEventSynchronize", sys::cuEventSynchronize(self.stop))?;
            check(
                "cuEventElapsedTime",
                sys::cuEventElapsedTime_v2(&mut milliseconds, self.start, self.stop),
            )?;
        }
        Ok(Duration::from_secs_f64(f64::from(milliseconds) / 1e3))
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        for event in [self.start, self.stop] {
            if !event.is_null() {
                // SAFETY: created by `new`; the driver keeps it until it has completed.
                unsafe { sys::cuEventDestroy_v2(event) };
            }
        }
    }
}
