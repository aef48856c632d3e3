//! N:M sparsity: how many of a few neighbors stay.

use lopper_engine::{Error, Result};
use std::fmt;

/// The longest run that N:M sparsity divides input channels into, and kernels recognize.
const LONGEST_RUN: usize = 32;

/// Of every `m` consecutive groups along the input channels, exactly `n` stay (Zhou et al. 2021, "Learning N:M
/// fine-grained structured sparse neural networks from scratch"). The sparsity follows, and no layer competes with
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The groups of a run that stay.
    pub n: usize,
    /// The groups of a run.
    pub m: usize,
}

impl Quota {
    /// An error unless `1 ≤ n < m ≤ 32`.
    pub fn check(self) -> Result<()> {
        match self {
            Self { n, m } if 1 <= n && n < m && m <= LONGEST_RUN => Ok(()),
            other => Err(Self::expected(&other.to_string())),
        }
    }

    /// The fraction of groups that is dropped, `1 − n/m`.
    pub fn sparsity(self) -> f64 {
        (self.m as f64 - self.n as f64) / self.m as f64
    }

    /// Reads `N:M`. `None` if `text` does not begin like a quota, which makes it another granularity.
    pub(super) fn read(text: &str) -> Option<Result<Self>> {
        let (n, m) = text.split_once(':').filter(|(n, _)| n.starts_with(|c: char| c.is_ascii_digit()))?;
        Some(match (n.parse(), m.parse()) {
            (Ok(n), Ok(m)) => Ok(Self { n, m }),
            _ => Err(Self::expected(text)),
        })
    }

    fn expected(found: &str) -> Error {
        Error::invalid(format!("granularity: expected N:M with 1 ≤ N < M ≤ {LONGEST_RUN}, found {found}"))
    }
}

/// `2:4`.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.n, self.m)
    }
}
