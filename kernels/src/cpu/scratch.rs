//! Temporary memory of kernels, and [`Shared`], a slice of which threads write disjoint parts. The [`Cpu`] keeps the
//! memory between calls, so that a steady state allocates nothing.

use super::Cpu;
use crate::buffer::Buffer;
use crate::guard::Guard;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Unused buffers kept for reuse, and a workspace for each thread of the pool.
pub(super) struct Shelf {
    buffers: Mutex<Vec<Buffer>>,
    workspaces: Vec<Mutex<Workspace>>,
}

impl Shelf {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            buffers: Mutex::default(),
            workspaces: std::iter::repeat_with(Mutex::default).take(threads).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Buffer>> {
        // A panic elsewhere cannot leave a list of plain buffers in an invalid state.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `len` floats of unspecified value, returned to the shelf when dropped.
pub(super) struct Scratch<'a> {
    cpu: &'a Cpu,
    buffer: Buffer,
    len: usize,
}

impl Cpu {
    /// Takes a buffer of at least `len` floats of unspecified value off the shelf: the smallest one that is large
    /// enough, or a new one that replaces the largest.
    ///
    /// While buffers are guarded, the buffer is always new, so that it ends exactly after `len` floats.
    pub(super) fn take_buffer(&self, len: usize) -> Buffer {
        if Guard::is_on() {
            return Buffer::unspecified(len);
        }
        let mut buffers = self.shelf.lock();
        let fitting =
            (0..buffers.len()).filter(|&i| buffers[i].len() >= len).min_by_key(|&i| buffers[i].len());
        let chosen = fitting.or_else(|| (0..buffers.len()).max_by_key(|&i| buffers[i].len()));
        let buffer = chosen.map(|i| buffers.swap_remove(i)).unwrap_or_default();
        drop(buffers);
        if buffer.len() < len { Buffer::zeros(len) } else { buffer }
    }

    /// Puts a buffer on the shelf.
    pub(super) fn give_buffer(&self, buffer: Buffer) {
        if !Guard::is_on() {
            self.shelf.lock().push(buffer);
        }
    }

    /// Borrows `len` floats of unspecified value.
    pub(super) fn scratch(&self, len: usize) -> Scratch<'_> {
        Scratch { cpu: self, buffer: self.take_buffer(len), len }
    }

    /// Borrows `len` zeros.
    pub(super) fn zeros(&self, len: usize) -> Scratch<'_> {
        let mut scratch = self.scratch(len);
        scratch.fill(0.0);
        scratch
    }
}

impl Deref for Scratch<'_> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.buffer[..self.len]
    }
}

impl DerefMut for Scratch<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[..self.len]
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.cpu.give_buffer(std::mem::take(&mut self.buffer));
    }
}

/// The temporary memory of a tiled kernel's task: pointers to A's rows, offsets of C's rows, and packed floats.
#[derive(Default)]
pub(super) struct Workspace {
    pub rows: Vec<*const f32>,
    pub out: Vec<usize>,
    pub floats: Buffer,
}

impl Workspace {
    /// Returns at least `len` floats of unspecified value, growing the buffer if necessary.
    pub(super) fn floats(floats: &mut Buffer, len: usize) -> &mut [f32] {
        if floats.len() < len || Guard::is_on() {
            *floats = Buffer::unspecified(len);
        }
        &mut floats[..len]
    }
}

// SAFETY: each task writes the pointers that it reads, and never reads those of an earlier task.
unsafe impl Send for Workspace {}

impl Cpu {
    /// Lends `f` the workspace of this pool thread. `f` must not wait for other tasks: one of them could run on this
    /// thread, request the workspace again and deadlock.
    pub(super) fn with_workspace<R>(&self, f: impl FnOnce(&mut Workspace) -> R) -> R {
        let thread = rayon::current_thread_index().expect("tasks run on threads of the pool");
        // `scratch_bytes` holds the lock only briefly. A task that panicked leaves valid, unspecified contents.
        f(&mut self.shelf.workspaces[thread].lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The number of bytes of temporary memory that kernels have needed so far and that are kept for later calls.
    pub fn scratch_bytes(&self) -> usize {
        let buffers: usize = self.shelf.lock().iter().map(|buffer| buffer.len()).sum();
        let workspaces = self.shelf.workspaces.iter().map(|workspace| {
            let workspace = workspace.lock().unwrap_or_else(PoisonError::into_inner);
            2 * (workspace.rows.capacity() + workspace.out.capacity()) + workspace.floats.len()
        });
        size_of::<f32>() * (buffers + workspaces.sum::<usize>())
    }
}

/// A slice of which threads write disjoint parts.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a, T = f32> {
    data: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: a `Shared` only hands out a pointer; code that writes through it guarantees disjoint parts.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T: Copy> Shared<'a, T> {
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Self { data: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// The start of the slice. Writes by different threads must not overlap.
    pub(super) fn as_mut_ptr(self) -> *mut T {
        self.data
    }

    /// The whole slice.
    ///
    /// # Safety
    /// Nothing else accesses the slice while the result is alive.
    pub(super) unsafe fn all(self) -> &'a mut [T] {
        // SAFETY: guaranteed by the caller.
        unsafe { self.range(0, self.len) }
    }

    /// A part of the slice.
    ///
    /// # Safety
    /// Nothing else accesses this range while the result is alive.
    pub(super) unsafe fn range(self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start + len <= self.len);
        // SAFETY: the range lies inside the slice, and the caller guarantees exclusive access.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), len) }
    }
}
