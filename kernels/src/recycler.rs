//! The memory of buffers that were dropped, kept for the next buffer of the same length.
//!
//! A step of training makes tensors of a hundred lengths and drops them again, the same ones in every step. Fresh from
//! the system each page of them costs a fault and is cleared before it is written, which takes as long as a batch norm
//! over it. Recycled, a steady state allocates nothing, and nothing is cleared.

use crate::buffer::Buffer;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Shorter buffers, in floats, are left to the allocator, which has them at hand.
const LEAST: usize = 1024;

/// Keeps the buffers that it lent out once they are dropped. What is lent and what is kept together
/// stay within 3/2 of the most that was ever lent at one time: beyond it the longest unused is freed.
#[derive(Default)]
pub(crate) struct Recycler(Mutex<Memory>);

/// Lengths are in floats.
#[derive(Default)]
struct Memory {
    /// In the order in which they were dropped; none of them knows its recycler, which would be a cycle.
    kept: VecDeque<Buffer>,
    kept_len: usize,
    lent_len: usize,
    most_lent: usize,
}

impl Recycler {
    /// A buffer of `len` floats of unspecified value.
    pub(crate) fn buffer(self: &Arc<Self>, len: usize) -> Buffer {
        if len < LEAST {
            return Buffer::unspecified(len);
        }
        let kept = self.with(|memory| memory.lend(len));
        let mut buffer = kept.unwrap_or_else(|| Buffer::zeros(len));
        buffer.forget();
        buffer.recycled_by(self.clone())
    }

    /// Takes back a buffer that it lent.
    pub(crate) fn take_back(&self, buffer: Buffer) {
        self.with(|memory| {
            memory.lent_len -= buffer.len();
            memory.kept_len += buffer.len();
            memory.kept.push_back(buffer);
        });
    }

    fn with<R>(&self, f: impl FnOnce(&mut Memory) -> R) -> R {
        // A panic elsewhere cannot leave a list of plain memory broken.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Memory {
    /// The buffer of `len` that was dropped last, unless there is none.
    fn lend(&mut self, len: usize) -> Option<Buffer> {
        self.lent_len += len;
        self.most_lent = self.most_lent.max(self.lent_len);
        if let Some(lines) = self.kept.iter().rposition(|l| l.len() == len).and_then(|i| self.kept.remove(i))
        {
            self.kept_len -= len;
            return Some(lines);
        }
        while self.kept_len > 0 && self.lent_len + self.kept_len > self.most_lent + self.most_lent / 2 {
            self.kept_len -= self.kept.pop_front().map_or(0, |buffer| buffer.len());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_recycled_by_the_next_of_its_length() {
        let recycler = Arc::new(Recycler::default());
        let mut first = recycler.buffer(5000);
        first.fill(7.0);
        let address = first.as_ptr();
        let copy = first.clone();
        drop(first);
        let other = recycler.buffer(6000);
        assert_ne!(other.as_ptr(), address);
        let second = recycler.buffer(5000);
        assert_eq!((second.as_ptr(), second.len()), (address, 5000));
        assert_eq!(&copy[..], [7.0; 5000]);
    }

    #[test]
    fn memory_that_nothing_needs_any_more_is_freed() {
        let recycler = Arc::new(Recycler::default());
        for len in (1..50).map(|i| LEAST * i) {
            drop([recycler.buffer(len), recycler.buffer(len)]);
            recycler.with(|m| {
                assert_eq!(m.lent_len, 0);
                assert_eq!(m.kept_len, m.kept.iter().map(|buffer| buffer.len()).sum::<usize>());
                assert!(m.kept_len <= m.most_lent * 3 / 2, "{} of {}", m.kept_len, m.most_lent);
            });
        }
    }
}
