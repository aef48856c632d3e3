//! How eight lanes move when they are expanded or compressed by a mask, on machines without an instruction for it.

/// The lane that each lane of the result comes from, or [`ZERO`].
pub(super) type Moves = [u8; 8];

/// Stands for a lane of zero.
pub(super) const ZERO: u8 = 8;

/// For each mask: lane `i` of the result is the lane of the operand with its rank among the set bits.
pub(super) static EXPAND: [Moves; 256] = moves(true);

/// For each mask: lane `i` of the result is the operand's lane of the set bit with rank `i`.
pub(super) static COMPRESS: [Moves; 256] = moves(false);

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
