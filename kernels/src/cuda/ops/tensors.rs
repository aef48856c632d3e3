//! Many tensors in one launch: the launchers' side of `tensors.cuh`.

use crate::cuda::driver::Result;
use crate::cuda::driver::launch::{Arg, Grid};
use crate::cuda::driver::source::Source;
use crate::cuda::{Cuda, DeviceBuffer};
use bytemuck::NoUninit;

/// Elements that a block works on.
const CHUNK: usize = 8192;

/// Runs `kernel`, which takes a table of at most `most` entries and then `more`, over all `entries`; each comes with
/// the number of its tensor's elements.
///
/// # Safety
/// An entry is laid out as the kernel reads it, and its addresses are those of tensors of its length.
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
        // SAFETY: the caller's; a block works on a chunk of one tensor, which ends where the tensor does.
        unsafe { cuda.launch(module, kernel, Grid::of(blocks, 256), &args) }?;
    }
    Ok(())
}

/// The address of a buffer, or null.
pub(in crate::cuda) fn address(buffer: Option<&DeviceBuffer>) -> u64 {
    buffer.map_or(0, DeviceBuffer::address)
}
