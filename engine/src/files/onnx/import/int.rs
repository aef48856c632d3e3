//! Integers that may depend on the number of images: `fixed + batch · N`.
//!
//! Shapes that a network computes while it runs, such as `[N, −1]` from the shape of its input, are then known exactly
//! without knowing N.

use std::cmp::Ordering;

/// `fixed + batch · N`, with N of at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Int {
    pub fixed: i64,
    pub batch: i64,
}

impl Int {
    /// The number of images.
    pub const N: Self = Self { fixed: 0, batch: 1 };

    /// A plain integer.
    pub const fn of(fixed: i64) -> Self {
        Self { fixed, batch: 0 }
    }

    /// The plain integer, if this is one.
    pub fn plain(self) -> Option<i64> {
        (self.batch == 0).then_some(self.fixed)
    }

    /// Whether this is less or more than `other`, or the same, if that is so for one image as for any other number.
    pub fn compared(self, other: Self) -> Option<Ordering> {
        let Self { fixed, batch } = self.sub(other)?;
        match batch.cmp(&0) {
            Ordering::Equal => Some(fixed.cmp(&0)),
            sign => (fixed.checked_add(batch)?.cmp(&0) == sign).then_some(sign),
        }
    }

    /// The sum, unless it overflows.
    pub fn add(self, other: Self) -> Option<Self> {
        Some(Self {
            fixed: self.fixed.checked_add(other.fixed)?,
            batch: self.batch.checked_add(other.batch)?,
        })
    }

    /// The difference, unless it overflows.
    pub fn sub(self, other: Self) -> Option<Self> {
        Some(Self {
            fixed: self.fixed.checked_sub(other.fixed)?,
            batch: self.batch.checked_sub(other.batch)?,
        })
    }

    /// The product, if at most one factor depends on N.
    pub fn mul(self, other: Self) -> Option<Self> {
        let (number, factor) = match (self.plain(), other.plain()) {
            (_, Some(factor)) => (self, factor),
            (Some(factor), _) => (other, factor),
            _ => return None,
        };
        Some(Self { fixed: number.fixed.checked_mul(factor)?, batch: number.batch.checked_mul(factor)? })
    }

    /// The quotient, if it is exact for every N, or rounded toward zero if nothing depends on N.
    pub fn div(self, other: Self) -> Option<Self> {
        if self == other && self != Self::of(0) {
            return Some(Self::of(1));
        }
        let divisor = other.plain().filter(|&divisor| divisor != 0)?;
        if self.batch == 0 {
            return self.fixed.checked_div(divisor).map(Self::of);
        }
        let exact = self.fixed.checked_rem(divisor)? == 0 && self.batch.checked_rem(divisor)? == 0;
        exact.then(|| Self { fixed: self.fixed / divisor, batch: self.batch / divisor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Each result holds for every number of images.
        #[test]
        fn results_hold_for_every_batch(a in -50..50i64, b in -5..5i64, c in -50..50i64, d in -5..5i64, n in 1..9i64) {
            let (x, y) = (Int { fixed: a, batch: b }, Int { fixed: c, batch: d });
            let at = |int: Int| int.fixed + int.batch * n;
            prop_assert_eq!(at(x.add(y).unwrap()), at(x) + at(y));
            prop_assert_eq!(at(x.sub(y).unwrap()), at(x) - at(y));
            prop_assert_eq!(x.mul(y).is_some(), b == 0 || d == 0);
            if let Some(product) = x.mul(y) {
                prop_assert_eq!(at(product), at(x) * at(y));
            }
            prop_assert!(x.compared(y).is_none_or(|order| at(x).cmp(&at(y)) == order));
            prop_assert_eq!(x.compared(y).is_none(), b != d && (a + b - c - d) * (b - d) <= 0);
            if let Some(quotient) = x.div(y).filter(|_| at(y) != 0) {
                prop_assert_eq!(at(quotient), at(x) / at(y));
            }
        }
    }

    #[test]
    fn overflow_is_no_result() {
        let most = Int::of(i64::MAX);
        assert_eq!(
            (most.add(Int::of(1)), most.mul(Int::of(2)), Int::of(i64::MIN).div(Int::of(-1))),
            (None, None, None)
        );
        assert_eq!((Int::N.div(Int::N), Int::of(3).div(Int::of(0))), (Some(Int::of(1)), None));
    }
}
