//! A vector of `f32` aligned to a cache line, so that no vector load of a kernel straddles two lines. (A straddling
//! load from L1 runs at half the speed.)
//!
//! Large buffers request huge pages. Otherwise, a kernel that streams through megabytes, or strides through them as
//! Winograd's does, spends its time on address translation.
//!
//! Tests can instead place every buffer directly before or after a page that faults ([`Guard`]).

use crate::guard::{Guard, GuardedPages};
use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// One cache line: sixteen floats, the size of an AVX-512 register.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

const LINE: usize = 16;

/// The size of a huge page in bytes.
const HUGE_PAGE: usize = 2 << 20;

/// `len` floats, 64-byte aligned unless buffers are guarded. Dereferences to `[f32]`.
pub struct Buffer {
    memory: Memory,
    len: usize,
    /// The lender that gets this buffer's memory when it is dropped; without one, the memory is freed.
    lender: Option<Arc<dyn Lender>>,
}

/// The origin of buffers whose memory is reused.
pub(crate) trait Lender: Send + Sync {
    /// Returns a buffer of `len` floats of unspecified value.
    fn lend(self: Arc<Self>, len: usize) -> Buffer;

    /// Takes back a lent buffer.
    fn take_back(&self, buffer: Buffer);
}

/// The memory of the floats.
enum Memory {
    Lines(Vec<Line>),
    /// Mapped pages. The floats begin this many bytes in, at a multiple of the huge page size.
    Pages(MmapMut, usize),
    /// Pages between two pages that fault.
    Guarded(GuardedPages),
}

impl Buffer {
    /// Returns `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let lines = || Memory::Lines(vec![Line::zeroed(); len.div_ceil(LINE)]);
        let memory = GuardedPages::new(len).map(Memory::Guarded).or_else(|| pages(4 * len));
        Self { memory: memory.unwrap_or_else(lines), len, lender: None }
    }

    /// Returns `len` floats of unspecified value, to be written before they are read. They are NaN while buffers are
    /// guarded.
    pub fn unspecified(len: usize) -> Self {
        let mut buffer = Self::zeros(len);
        buffer.forget();
        buffer
    }

    /// Declares the values unspecified: fills them with NaN if buffers are guarded.
    pub(crate) fn forget(&mut self) {
        if Guard::is_on() {
            self.fill(f32::NAN);
        }
    }

    /// Makes the buffer return to `lender` when it is dropped.
    pub(crate) fn lent_by(mut self, lender: Arc<dyn Lender>) -> Self {
        self.lender = Some(lender);
        self
    }

    /// The bytes of the floats.
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }

    /// The bytes of the floats, for writing.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(self)
    }

    /// Copies `values` into a new buffer.
    pub fn from_slice(values: &[f32]) -> Self {
        let mut buffer = Self::unspecified(values.len());
        buffer.copy_from_slice(values);
        buffer
    }
}

/// Maps zeroed pages for `bytes`, huge ones if the system grants them. Returns `None` for less than two huge pages, and
/// if the system cannot map pages, so that the allocator may try.
fn pages(bytes: usize) -> Option<Memory> {
    // Miri does not support `madvise`.
    if bytes < 2 * HUGE_PAGE || cfg!(miri) {
        return None;
    }
    let map = MmapMut::map_anon(bytes.next_multiple_of(HUGE_PAGE) + HUGE_PAGE).ok()?;
    #[cfg(target_os = "linux")]
    // A failure is ignored: without huge pages, the buffer is only slower.
    map.advise(memmap2::Advice::HugePage).ok();
    let start = map.as_ptr().align_offset(HUGE_PAGE);
    Some(Memory::Pages(map, start))
}

impl Default for Buffer {
    fn default() -> Self {
        Self::zeros(0)
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let Some(lender) = &self.lender else { return Self::from_slice(self) };
        let mut copy = lender.clone().lend(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(lender) = self.lender.take() {
            lender.take_back(std::mem::take(self));
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match &self.memory {
            Memory::Lines(lines) => &bytemuck::cast_slice(lines)[..self.len],
            Memory::Pages(map, start) => bytemuck::cast_slice(&map[*start..start + 4 * self.len]),
            Memory::Guarded(pages) => pages.floats(),
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        match &mut self.memory {
            Memory::Lines(lines) => &mut bytemuck::cast_slice_mut(lines)[..self.len],
            Memory::Pages(map, start) => bytemuck::cast_slice_mut(&mut map[*start..*start + 4 * self.len]),
            Memory::Guarded(pages) => pages.floats_mut(),
        }
    }
}

impl FromIterator<f32> for Buffer {
    fn from_iter<I: IntoIterator<Item = f32>>(values: I) -> Self {
        Self::from_slice(&values.into_iter().collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_and_keeps_its_values() {
        for len in [0, 1, 15, 16, 17, 1000, HUGE_PAGE / 2 + 1] {
            let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let buffer = Buffer::from_slice(&values);
            assert_eq!(&buffer[..], &values[..]);
            assert!((buffer.as_ptr() as usize).is_multiple_of(64) || Guard::is_on());
        }
    }
}
