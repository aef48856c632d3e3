//! Memory that kernels borrow, kept between calls so that a steady state allocates nothing.

use crate::buffer::Buffer;
use crate::guard::Guard;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Unused buffers kept for reuse, and a workspace for each thread of the pool.
pub(in crate::cpu) struct Shelf {
    buffers: Mutex<Vec<Buffer>>,
    workspaces: Vec<Mutex<Workspace>>,
}

impl Shelf {
    pub fn new(threads: usize) -> Self {
        Self {
            buffers: Mutex::default(),
            workspaces: std::iter::repeat_with(Mutex::default).take(threads).collect(),
        }
    }

    /// Takes a buffer of at least `len` floats of unspecified value off the shelf: the smallest one that is large
    /// enough, or a new one that replaces the largest.
    ///
    /// While buffers are guarded, the buffer is always new, so that it ends exactly after `len` floats.
    pub fn take(&self, len: usize) -> Buffer {
        if Guard::is_on() {
            return Buffer::unspecified(len);
        }
        let mut buffers = self.lock();
        let fitting =
            (0..buffers.len()).filter(|&i| buffers[i].len() >= len).min_by_key(|&i| buffers[i].len());
        let chosen = fitting.or_else(|| (0..buffers.len()).max_by_key(|&i| buffers[i].len()));
        let buffer = chosen.map(|i| buffers.swap_remove(i)).unwrap_or_default();
        drop(buffers);
        if buffer.len() < len { Buffer::zeros(len) } else { buffer }
    }

    /// Puts a buffer on the shelf.
    pub fn give(&self, buffer: Buffer) {
        if !Guard::is_on() {
            self.lock().push(buffer);
        }
    }

    /// The workspace of a thread of the pool.
    pub fn workspace(&self, thread: usize) -> MutexGuard<'_, Workspace> {
        // [`Shelf::bytes`] holds the lock only briefly. A task that panicked leaves valid, unspecified contents.
        self.workspaces[thread].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The size of all buffers and workspaces.
    pub fn bytes(&self) -> usize {
        let buffers: usize = self.lock().iter().map(|buffer| buffer.len()).sum();
        let workspaces = (0..self.workspaces.len()).map(|thread| {
            let workspace = self.workspace(thread);
            2 * (workspace.rows.capacity() + workspace.out.capacity()) + workspace.floats.len()
        });
        size_of::<f32>() * (buffers + workspaces.sum::<usize>())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Buffer>> {
        // A panic elsewhere cannot leave a list of plain buffers in an invalid state.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The temporary memory of a tiled kernel's task: pointers to A's rows, offsets of C's rows, and packed floats.
#[derive(Default)]
pub(in crate::cpu) struct Workspace {
    pub rows: Vec<*const f32>,
    pub out: Vec<usize>,
    pub floats: Buffer,
}

impl Workspace {
    /// Returns at least `len` floats of unspecified value, growing the buffer if necessary.
    pub(in crate::cpu) fn floats(floats: &mut Buffer, len: usize) -> &mut [f32] {
        if floats.len() < len || Guard::is_on() {
            *floats = Buffer::unspecified(len);
        }
        &mut floats[..len]
    }
}

// SAFETY: each task writes the pointers that it reads, and never reads those of an earlier task.
unsafe impl Send for Workspace {}
