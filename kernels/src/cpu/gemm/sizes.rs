//! The largest register tile.

/// The maximum number of rows of a tile on any instruction set.
pub(in crate::cpu) const MAX_MR: usize = 8;
/// The maximum number of columns of a tile on any instruction set.
pub(in crate::cpu) const MAX_NR: usize = 48;
