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
