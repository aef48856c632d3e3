//! Temporary memory of kernels, borrowed from the [`Cpu`]'s shelf.

use crate::buffer::Buffer;
use crate::cpu::Cpu;
use crate::cpu::device::shelf::Workspace;
use std::ops::{Deref, DerefMut};

/// `len` floats of unspecified value, returned to the shelf when dropped.
pub(in crate::cpu) struct Scratch<'a> {
    cpu: &'a Cpu,
    buffer: Buffer,
    len: usize,
}

impl Cpu {
    /// Borrows `len` floats of unspecified value.
    pub(in crate::cpu) fn scratch(&self, len: usize) -> Scratch<'_> {
        Scratch { cpu: self, buffer: self.shelf.take(len), len }
    }

    /// Borrows `len` zeros.
    pub(in crate::cpu) fn zeros(&self, len: usize) -> Scratch<'_> {
        let mut scratch = self.scratch(len);
        scratch.fill(0.0);
        scratch
    }

    /// Lends `f` the workspace of this pool thread. `f` must not wait for other tasks: one of them could run on this
    /// thread, request the workspace again and deadlock.
    pub(in crate::cpu) fn with_workspace<R>(&self, f: impl FnOnce(&mut Workspace) -> R) -> R {
        let thread = rayon::current_thread_index().expect("tasks run on threads of the pool");
        f(&mut self.shelf.workspace(thread))
    }

    /// The number of bytes of temporary memory that kernels have needed so far and that are kept for later calls.
    pub fn scratch_bytes(&self) -> usize {
        self.shelf.bytes()
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
        self.cpu.shelf.give(std::mem::take(&mut self.buffer));
    }
}
