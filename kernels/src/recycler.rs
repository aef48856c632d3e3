//! The memory of dropped buffers, kept for the next buffer of the same length.
//!
//! A training step creates and drops tensors of a hundred lengths, the same ones in every step. Each page that comes
//! fresh from the system costs a page fault and is cleared before it is written, which takes as long as a batch norm
//! over it. With recycling, a steady state allocates nothing and clears nothing.

use crate::buffer::{Buffer, Lender};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// The minimum length of recycled buffers, in floats. The allocator serves shorter ones quickly.
const LEAST: usize = 1024;

/// Lends buffers and keeps them when they are dropped. The total of lent and kept memory stays within 3/2 of the
/// maximum that was ever lent at one time. Beyond that, the buffers unused for the longest time are freed.
#[derive(Default)]
pub(crate) struct Recycler(Mutex<Memory>);

/// The state of a [`Recycler`]. Lengths are in floats.
#[derive(Default)]
struct Memory {
    /// The kept buffers, in the order in which they were dropped. They hold no reference to the recycler, which would
    /// be a cycle.
    kept: VecDeque<Buffer>,
    kept_len: usize,
    lent_len: usize,
    most_lent: usize,
}

impl Lender for Recycler {
    fn lend(self: Arc<Self>, len: usize) -> Buffer {
        if len < LEAST {
            return Buffer::unspecified(len);
        }
        let kept = self.with(|memory| memory.lend(len));
        let mut buffer = kept.unwrap_or_else(|| Buffer::zeros(len));
        buffer.forget();
        buffer.lent_by(self)
    }

    fn take_back(&self, buffer: Buffer) {
        self.with(|memory| {
            memory.lent_len -= buffer.len();
            memory.kept_len += buffer.len();
            memory.kept.push_back(buffer);
        });
    }
}

impl Recycler {
    fn with<R>(&self, f: impl FnOnce(&mut Memory) -> R) -> R {
        // A panic elsewhere cannot leave a list of plain memory in an invalid state.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Memory {
    /// Lends the most recently dropped buffer of length `len`, if there is one.
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
    fn the_next_buffer_of_the_same_length_reuses_the_memory() {
        let recycler = Arc::new(Recycler::default());
        let mut first = recycler.clone().lend(5000);
        first.fill(7.0);
        let address = first.as_ptr();
        let copy = first.clone();
        drop(first);
        let other = recycler.clone().lend(6000);
        assert_ne!(other.as_ptr(), address);
        let second = recycler.clone().lend(5000);
        assert_eq!((second.as_ptr(), second.len()), (address, 5000));
        assert_eq!(&copy[..], [7.0; 5000]);
    }

    #[test]
    fn unused_memory_is_freed() {
        let recycler = Arc::new(Recycler::default());
        for len in (1..50).map(|i| LEAST * i) {
            drop([recycler.clone().lend(len), recycler.clone().lend(len)]);
            recycler.with(|m| {
                assert_eq!(m.lent_len, 0);
                assert_eq!(m.kept_len, m.kept.iter().map(|buffer| buffer.len()).sum::<usize>());
                assert!(m.kept_len <= m.most_lent * 3 / 2, "{} of {}", m.kept_len, m.most_lent);
            });
        }
    }
}
