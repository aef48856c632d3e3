//! Blocks of device memory that no buffer uses.

use std::collections::BTreeMap;

/// Unused blocks, by size.
#[derive(Default)]
pub(super) struct FreeBlocks {
    pub free: BTreeMap<usize, Vec<u64>>,
    /// During recording, blocks that were borrowed and given back: replays write to them, so they belong to the
    /// graph.
    pub recorded: Option<BTreeMap<usize, Vec<u64>>>,
}

impl FreeBlocks {
    /// The addresses of all free blocks.
    pub fn addresses(self) -> impl Iterator<Item = u64> {
        self.free.into_values().flatten()
    }

    /// Takes a block of `bytes`, if there is one.
    pub fn take(&mut self, bytes: usize) -> Option<u64> {
        let recorded = self.recorded.as_mut().and_then(|blocks| blocks.get_mut(&bytes)?.pop());
        recorded.or_else(|| self.free.get_mut(&bytes)?.pop())
    }
}
