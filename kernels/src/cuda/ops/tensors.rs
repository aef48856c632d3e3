//! Many tensors in one launch: the host side of `tensors.cuh`.

use crate::cuda::driver::Result;
use crate::cuda::driver::launch::{Arg, Grid};
use crate::cuda::driver::source::Source;
use crate::cuda::{Cuda, DeviceBuffer};
use bytemuck::NoUninit;

/// Elements per block.
const CHUNK: usize = 8192;

/// Runs `kernel` over all `entries`, each paired with its tensor's length. The kernel takes a table of at most `most`
/// entries, followed by `more`.
///
/// # Safety
/// Each entry must have the layout that the kernel reads, and its addresses must be those of tensors of its length.
pub(in crate::cuda) unsafe fn over_tensors<E: NoUninit>(
    cuda: &Cuda,
    module: &Source,
    kernel: &'static str,
    most: usize,
    entries: &[(usize, E)],
    more: &[Arg],
) -> Result<()> {
    for group in entries.chunks(most) {
        let mut first_block = vec![u32::MAX; most];
        let mut blocks = 0;
        for (first, (len, _)) in first_block.iter_mut().zip(group) {
            *first = u32::try_from(blocks).expect("fewer than 2³² chunks");
            blocks += len.div_ceil(CHUNK);
        }
        let mut table: Vec<u8> = bytemuck::cast_slice(&first_block).to_vec();
        group.iter().for_each(|(_, entry)| table.extend_from_slice(bytemuck::bytes_of(entry)));
        table.resize(most * (size_of::<u32>() + size_of::<E>()), 0);
        let args = [&[Arg::Struct(&table)], more].concat();
        // SAFETY: the caller's guarantee; a block works on a chunk of one tensor, which ends where the tensor does.
        unsafe { cuda.launch(module, kernel, Grid::of(blocks, 256), &args) }?;
    }
    Ok(())
}

/// The address of a buffer, or null.
pub(in crate::cuda) fn address(buffer: Option<&DeviceBuffer>) -> u64 {
    buffer.map_or(0, DeviceBuffer::address)
}
