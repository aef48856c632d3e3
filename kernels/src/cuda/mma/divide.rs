//! Division by a number known before launch, as a multiplication.

use bytemuck::{Pod, Zeroable};

/// Division by a number known before launch, exact for all dividends below 2³¹ (Granlund & Montgomery, "Division by
/// invariant integers using multiplication", 1994): `x / by = x · multiplier >> shift`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Divide {
    by: u32,
    multiplier: u32,
    shift: u32,
}

impl Divide {
    pub fn by(by: usize) -> Self {
        let bits = by.next_power_of_two().ilog2();
        let multiplier = (1u64 << (31 + bits)) / by as u64 + 1;
        Self { by: by as u32, multiplier: multiplier as u32, shift: 31 + bits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_is_exact() {
        for by in (1..2000).chain([12_544, 65_537, (1 << 30) + 1, (1 << 31) - 1]) {
            let d = Divide::by(by);
            let near = (0..64).flat_map(|i| [i * by, i * by + by - 1]).filter(|&x| x < 1 << 31);
            for x in near.chain([0, 1, (1 << 31) - 1, (1 << 31) - 2]) {
                assert_eq!((x as u64 * u64::from(d.multiplier)) >> d.shift, (x / by) as u64, "{x} / {by}");
            }
        }
    }
}
