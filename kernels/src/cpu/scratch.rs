//! Memory that kernels need for the length of a call, kept by the [`Cpu`] so that a steady state allocates
//! nothing; and the promise under which threads write disjoint parts of one slice.

use super::Cpu;
use crate::buffer::Buffer;
use crate::guard::Guard;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Buffers that wait for their next use, and a workspace for each thread of the pool.
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
        // A panic elsewhere cannot leave a list of plain buffers broken.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `len` floats of unspecified value, given back when dropped.
pub(super) struct Scratch<'a> {
    cpu: &'a Cpu,
    buffer: Buffer,
    len: usize,
}

impl Cpu {
    /// Takes a buffer of at least `len` floats of unspecified value off the shelf: the smallest that is large
    /// enough, or a new one in the place of the largest.
    ///
    /// While buffers are guarded it is a new one, so that its end is that of what was asked for.
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

/// What a task of a tiled kernel needs while it runs: pointers to A's rows, offsets of C's rows, packed floats.
#[derive(Default)]
pub(super) struct Workspace {
    pub rows: Vec<*const f32>,
    pub out: Vec<usize>,
    pub floats: Buffer,
}

impl Workspace {
    /// At least `len` floats of unspecified value.
    pub(super) fn floats(floats: &mut Buffer, len: usize) -> &mut [f32] {
        if floats.len() < len || Guard::is_on() {
            *floats = Buffer::unspecified(len);
        }
        &mut floats[..len]
    }
}

// SAFETY: the pointers are written by the task that reads them, and mean nothing to the next one.
unsafe impl Send for Workspace {}

impl Cpu {
    /// Lends `f` the workspace of this thread of the pool. `f` must not wait for other tasks, which would ask for it
    /// again and wait for ever.
    pub(super) fn with_workspace<R>(&self, f: impl FnOnce(&mut Workspace) -> R) -> R {
        let thread = rayon::current_thread_index().expect("tasks run on threads of the pool");
        // Whoever counts bytes holds it for a moment. What a task that panicked left there is as good as anything.
        f(&mut self.shelf.workspaces[thread].lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Bytes that kernels have needed so far for the length of a call, and that are kept for their next.
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
pub(super) struct Shared<'a> {
    data: *mut f32,
    len: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `Shared` only hands out a pointer; whoever writes through it promises disjoint parts.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(super) fn new(slice: &'a mut [f32]) -> Self {
        Self { data: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// The start of the slice. Writes of different threads must not overlap.
    pub(super) fn as_mut_ptr(self) -> *mut f32 {
        self.data
    }

    /// The whole slice.
    ///
    /// # Safety
    /// While it lives nobody else accesses the slice.
    pub(super) unsafe fn all(self) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { self.range(0, self.len) }
    }

    /// A part of the slice.
    ///
    /// # Safety
    /// While it lives nobody else accesses this range.
    pub(super) unsafe fn range(self, start: usize, len: usize) -> &'a mut [f32] {
        assert!(start + len <= self.len);
        // SAFETY: the range lies inside the slice, and the caller promises that it is not shared.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), len) }
    }
}
