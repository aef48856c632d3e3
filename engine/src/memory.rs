//! The byte budget: how much memory this process may hold, asked before anything large is allocated.
//!
//! Rust aborts where an allocation fails, and Linux promises memory that it does not have and kills whoever touches it.
//! So an input that asks for too much has to be refused by arithmetic: whoever allocates by sizes from a file or an option
//! first calls [`require`] with an estimate that is never too small.

mod size;
mod system;

pub use size::{Bytes, parse};

use crate::{Error, Result};
use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// What [`set_limit`] was given; zero until then.
static LIMIT: AtomicU64 = AtomicU64::new(0);

/// Lets this process hold at most `bytes`, counted with what it holds already, in place of what the machine has available.
/// Limits that the system enforces (a control group's, `ulimit -v`) apply all the same.
pub fn set_limit(bytes: u64) {
    LIMIT.store(bytes.max(1), Ordering::Relaxed);
}

/// The most bytes that this process may hold: see [`set_limit`]. Without it, the memory that the machine and the process's
/// control group have available now, and what the process holds; `u64::MAX` where the system does not say.
pub fn limit() -> u64 {
    let memory = system::memory(Path::new("/"));
    memory.available(configured()).saturating_add(memory.held)
}

/// The bytes that this process may still allocate: [`limit`] less what it holds already.
pub fn available() -> u64 {
    system::memory(Path::new("/")).available(configured())
}

/// Checks that `bytes` may still be allocated. `what` is the plural noun of the error, such as "layer `conv1`: its weights",
/// which then reads "layer `conv1`: its weights take 16.0 GiB, 3.2 GiB are available (--max-memory)".
pub fn require(what: impl Display, bytes: u64) -> Result<()> {
    Budget::now().take(what, bytes)
}

/// What is left of the memory while several things are about to be allocated one after the other: it is asked for once, and
/// every part is taken off.
#[derive(Debug)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// What is [`available`] now.
    pub fn now() -> Self {
        Self { left: available() }
    }

    /// Takes `bytes` off; `what` is as for [`require`].
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

/// The bytes of an array of `T` with axes of the lengths `shape`; `u64::MAX`, which no limit allows, where the product does
/// not fit.
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
    fn what_cannot_fit_is_refused_and_what_fits_is_not() {
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
    fn products_that_overflow_are_more_than_any_limit() {
        assert_eq!(bytes_of::<f32>([3, 5]), 60);
        assert_eq!(bytes_of::<f32>([usize::MAX, 2]), u64::MAX);
        assert_eq!(bytes_of::<f32>([usize::MAX, 2, 0]), 0, "an empty tensor takes nothing");
    }
}
