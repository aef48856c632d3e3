//! The byte budget: how much memory this process may hold, checked before every large allocation.
//!
//! Rust aborts if an allocation fails, and Linux overcommits memory and kills the process that touches it. Inputs that
//! need too much must therefore be rejected by arithmetic: code that allocates by sizes from a file or an option first
//! calls [`require`] with an estimate that is never too small.

mod parse;
mod size;
mod system;

pub use parse::parse;
pub use size::Bytes;

use crate::{Error, Result};
use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// The limit from [`set_limit`]; zero if none is set.
static LIMIT: AtomicU64 = AtomicU64::new(0);

/// Limits this process to `bytes` in total, including what it already holds, in place of the machine's available
/// memory. Limits that the system enforces (control groups, `ulimit -v`) still apply.
pub fn set_limit(bytes: u64) {
    LIMIT.store(bytes.max(1), Ordering::Relaxed);
}

/// The maximum number of bytes that this process may hold; see [`set_limit`]. If no limit is set, the memory that the
/// machine and the process's control group have available now plus what the process holds; `u64::MAX` if unknown.
pub fn limit() -> u64 {
    let memory = system::memory(Path::new("/"));
    memory.available(configured()).saturating_add(memory.held)
}

/// The bytes that this process may still allocate: [`limit`] minus what it already holds.
pub fn available() -> u64 {
    system::memory(Path::new("/")).available(configured())
}

/// The largest number of bytes that this process has held resident so far, if the system reports it.
pub fn peak() -> Option<u64> {
    system::peak(Path::new("/"))
}

/// Checks that `bytes` may still be allocated. `what` is the plural noun of the error, such as "layer `conv1`: its
/// weights", which then reads "layer `conv1`: its weights take 16.0 GiB, 3.2 GiB are available (--max-memory)".
pub fn require(what: impl Display, bytes: u64) -> Result<()> {
    Budget::now().take(what, bytes)
}

/// The remaining memory during a series of allocations: determined once, then reduced by each part.
#[derive(Debug)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// A budget of the memory that is [`available`] now.
    pub fn now() -> Self {
        Self { left: available() }
    }

    /// Subtracts `bytes`; `what` is as for [`require`].
    pub fn take(&mut self, what: impl Display, bytes: u64) -> Result<()> {
        let Some(left) = self.left.checked_sub(bytes) else {
            return Err(Error::Memory {
                what: what.to_string(),
                needed: Bytes(bytes),
                available: Bytes(self.left),
            });
        };
        self.left = left;
        Ok(())
    }
}

/// The bytes of an array of `T` with shape `shape`; if the product overflows, `u64::MAX`, which exceeds every limit.
pub fn bytes_of<T>(shape: impl IntoIterator<Item = usize>) -> u64 {
    shape.into_iter().fold(size_of::<T>() as u64, |bytes, n| bytes.saturating_mul(n as u64))
}

fn configured() -> Option<u64> {
    match LIMIT.load(Ordering::Relaxed) {
        0 => None,
        bytes => Some(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_beyond_the_limit_are_refused() {
        require("a few bytes", 1).unwrap();
        let message = require("layer `conv1`: its weights", u64::MAX - 1).unwrap_err().to_string();
        assert!(message.starts_with("layer `conv1`: its weights take 16.0 EiB, "), "{message}");
        assert!(message.ends_with(" are available (--max-memory)"), "{message}");
        assert!(available() <= limit());
    }

    #[test]
    fn a_budget_is_spent_once() {
        let mut budget = Budget { left: 100 };
        budget.take("the first", 60).unwrap();
        assert!(budget.take("the others", 60).unwrap_err().to_string().contains("40 bytes are available"));
        budget.take("the second", 40).unwrap();
    }

    #[test]
    fn overflowing_products_exceed_every_limit() {
        assert_eq!(bytes_of::<f32>([3, 5]), 60);
        assert_eq!(bytes_of::<f32>([usize::MAX, 2]), u64::MAX);
        assert_eq!(bytes_of::<f32>([usize::MAX, 2, 0]), 0, "an empty tensor takes nothing");
    }
}
