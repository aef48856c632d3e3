//! How eight lanes move when they are expanded or compressed by a mask, on machines without an instruction for it.

/// The lane that each lane of the result comes from, or [`ZERO`].
pub(super) type Moves = [u8; 8];

/// Stands for a lane of zero.
pub(super) const ZERO: u8 = 8;

/// For each mask: lane `i` of the result is the lane of the operand with its rank among the set bits.
pub(super) static EXPAND: [Moves; 256] = moves(true);

/// For each mask: lane `i` of the result is the operand's lane of the set bit with rank `i`.
pub(super) static COMPRESS: [Moves; 256] = moves(false);

/// A table of byte shuffles, one for each mask of eight lanes; a line of the cache holds two.
#[repr(align(32))]
pub(super) struct Shuffles(pub(super) [[u8; 32]; 256]);

/// Makes a byte shuffle write a zero.
const ZERO_BYTE: u8 = 0x80;

/// For each mask: the bytes of [`EXPAND`] when the floats of the lower four lanes lie in the lower half of a vector and
/// those of the upper four in the upper half, since bytes move within a half only.
pub(super) static EXPAND_HALVES: Shuffles = shuffles(false);

/// For each mask: the bytes of [`EXPAND`] when both halves of a vector hold the same eight numbers of bf16, which become
/// the upper halves of floats.
pub(super) static EXPAND_BF16: Shuffles = shuffles(true);

const fn shuffles(bf16: bool) -> Shuffles {
    let mut table = [[ZERO_BYTE; 32]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut lane, mut rank) = (0, 0);
        while lane < 8 {
            if lane == 4 && !bf16 {
                rank = 0;
            }
            if mask >> lane & 1 == 1 {
                let size = if bf16 { 2 } else { 4 };
                let mut byte = 0;
                while byte < size {
                    table[mask][4 * lane + 4 - size + byte] = (rank * size + byte) as u8;
                    byte += 1;
                }
                rank += 1;
            }
            lane += 1;
        }
        mask += 1;
    }
    Shuffles(table)
}

const fn moves(expand: bool) -> [Moves; 256] {
    let mut table = [[ZERO; 8]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut lane, mut rank) = (0, 0);
        while lane < 8 {
            if mask >> lane & 1 == 1 {
                if expand {
                    table[mask][lane] = rank as u8;
                } else {
                    table[mask][rank] = lane as u8;
                }
                rank += 1;
            }
            lane += 1;
        }
        mask += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
    use crate::cpu::{Cpu, Isa};
    use half::bf16;

    /// Expands (from a register, and while reading floats or bf16), compresses and selects lanes of `self.0` by every
    /// mask, or by many of them.
    struct EveryMask<'a>(&'a [f32; MAX_LANES]);

    impl Kernel for EveryMask<'_> {
        type Output = (usize, Vec<(u32, [[f32; MAX_LANES]; 5])>);

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let v = s.get(self.0);
            let masks = (0..1u32 << S::LANES).step_by(if S::LANES > 8 { 7 } else { 1 });
            let halves = self.0.map(bf16::from_f32);
            let mut moved = Vec::new();
            for mask in masks {
                // SAFETY: both hold as many elements as the widest vector.
                let [loaded, loaded_bf16] = unsafe {
                    [s.load_expanded(self.0.as_ptr(), mask), s.load_expanded_bf16(halves.as_ptr(), mask)]
                };
                let (expanded, compressed) = (s.expand(v, mask), s.compress(v, mask));
                let results = [expanded, loaded, loaded_bf16, compressed, s.select(mask, v, s.splat(-1.0))];
                moved.push((mask, results.map(|result| s.to_array(result))));
            }
            (S::LANES, moved)
        }
    }

    #[test]
    fn masks_move_and_select_lanes() {
        let v = std::array::from_fn(|i| i as f32 + 1.0);
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            let (lanes, moved) = cpu.dispatch(EveryMask(&v));
            for (mask, [expanded, loaded, loaded_bf16, compressed, selected]) in moved {
                let set: Vec<usize> = (0..lanes).filter(|lane| mask >> lane & 1 == 1).collect();
                let (mut want_expanded, mut want_compressed) = ([0.0; MAX_LANES], [0.0; MAX_LANES]);
                for (i, &lane) in set.iter().enumerate() {
                    want_expanded[lane] = v[i];
                    want_compressed[i] = v[lane];
                }
                for got in [expanded, loaded, loaded_bf16] {
                    assert_eq!(got, want_expanded, "{} expand by {mask:b}", cpu.isa());
                }
                assert_eq!(
                    compressed[..set.len()],
                    want_compressed[..set.len()],
                    "{} compress by {mask:b}",
                    cpu.isa()
                );
                let want = std::array::from_fn(|lane| match set.contains(&lane) {
                    true => v[lane],
                    false if lane < lanes => -1.0,
                    false => 0.0,
                });
                assert_eq!(selected, want, "{} select by {mask:b}", cpu.isa());
            }
        }
    }

    /// Reads the floats of `0` at these places.
    struct Gather<'a>(&'a [f32], &'a [u16; MAX_LANES]);

    impl Kernel for Gather<'_> {
        type Output = (usize, [f32; MAX_LANES]);

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            assert!(self.1.iter().all(|&place| usize::from(place) < self.0.len()));
            // SAFETY: each place lies inside.
            (S::LANES, s.to_array(unsafe { s.gather(self.0.as_ptr(), self.1) }))
        }
    }

    #[test]
    fn floats_are_gathered_from_any_place() {
        let numbers: Vec<f32> = (0..65_536).map(|i| i as f32).collect();
        let places = std::array::from_fn(|i| (i * 40_503 % 65_536) as u16);
        for places in [places, [0; MAX_LANES], [u16::MAX; MAX_LANES]] {
            for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
                let (lanes, got) = cpu.dispatch(Gather(&numbers, &places));
                for (lane, got) in got.into_iter().enumerate() {
                    let want = if lane < lanes { f32::from(places[lane]) } else { 0.0 };
                    assert_eq!(got, want, "{} lane {lane}", cpu.isa());
                }
            }
        }
    }
}
