//! The tables of a JPEG.

use super::huffman::Table;

/// The tables defined by the segments before a scan, by number.
#[derive(Default)]
pub struct Tables {
    pub dc: [Option<Table>; 4],
    pub ac: [Option<Table>; 4],
    /// The quantization step of block means, for each quantization table.
    pub mean_steps: [u16; 4],
}

/// A component in a scan, with its tables.
pub(super) struct Part<'a> {
    pub component: usize,
    pub dc: Option<&'a Table>,
    pub ac: Option<&'a Table>,
    /// The maximum magnitude of a block mean that samples can have, in units of this scan.
    pub largest_mean: i32,
}

impl Tables {
    /// Reads a segment of quantization tables: for each, the entry size and table number, then 64 entries.
    pub fn read_steps(&mut self, mut segment: &[u8]) -> Result<(), String> {
        while let Some((&head, rest)) = segment.split_first() {
            let bytes = 1 + usize::from(head >> 4);
            let (entries, rest) =
                rest.split_at_checked(64 * bytes).ok_or("a quantization table is damaged")?;
            let slot = self.mean_steps.get_mut(usize::from(head & 15)).filter(|_| bytes <= 2);
            let step = entries[..bytes].iter().fold(0, |step, &byte| step << 8 | u16::from(byte));
            *slot.ok_or("a quantization table has a number that does not exist")? = step;
            segment = rest;
        }
        Ok(())
    }

    /// Reads a segment of Huffman tables: for each, the class and table number, sixteen counts, and the symbols.
    pub fn read_codes(&mut self, mut segment: &[u8]) -> Result<(), String> {
        while let Some((&head, rest)) = segment.split_first() {
            let tables = if head >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            let slot = tables.get_mut(usize::from(head & 15)).filter(|_| head >> 4 < 2);
            let (table, rest) = Table::read(rest)?;
            *slot.ok_or("a Huffman table has a number that does not exist")? = Some(table);
            segment = rest;
        }
        Ok(())
    }
}
