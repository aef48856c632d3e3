//! Work on several items at a time.

use lopper_engine::Device;

/// Calls `f` for each of `items`, by the threads of a CPU; one after the other if `device` is a GPU.
pub(crate) fn for_each<T: Send>(device: &Device, items: &mut [T], f: impl Fn(&mut T) + Sync) {
    match device {
        Device::Cpu(cpu) => cpu.for_each(items, f),
        Device::Cuda(_) => items.iter_mut().for_each(f),
    }
}
