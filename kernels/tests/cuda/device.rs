//! Opening devices.

use lopper_kernels::cuda::Cuda;

#[test]
fn a_device_that_is_not_there_is_named() {
    // The emulator takes the place of the driver, and has one device.
    let Some(gpu) = super::support::device() else { return };
    assert!(gpu.is_emulated());
    for index in [1, 7, usize::MAX] {
        let error = Cuda::open(index).unwrap_err().to_string();
        assert!(error.contains(&format!("no CUDA device {index}: the driver finds 1")), "{error}");
    }
}
