//! Detection of damaged JPEGs that decoders accept silently.
//!
//! A decoder fills in the missing data of a damaged file and reports success, and the network would train on the fill.
//! So the entropy-coded data is walked once without computing any pixels. Each scan must have all blocks of its frame,
//! use only codes from its tables, have its restart markers in place, end after its last block, and give no block mean
//! that samples cannot have. Changes that preserve the number of codes remain undetected: changed values, changed
//! tables, or changed codes after which a decoder resynchronizes.
//!
//! Source: ITU-T T.81, Annexes B (markers), F (sequential) and G (progressive). Frames that decoders reject anyway
//! (arithmetic coding, lossless, hierarchical) are not checked.
//!
//! - `check`: the segments of a file.
//! - `tables`: its tables.
//! - `frame`: components and their grids of blocks.
//! - `huffman`: code tables and the code reader.
//! - `scan`: the walk over the blocks of a scan.
//! - `blocks`: the codes of a block.
//! - `glance`: the frame and the end of a file only.

mod blocks;
mod check;
mod frame;
mod glance;
mod huffman;
mod scan;
mod tables;

pub(super) use check::check;
pub(super) use glance::looks_whole;

#[cfg(test)]
mod tests;
