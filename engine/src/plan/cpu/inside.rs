//! The values inside a span: which of them are computed in bands, and their places in the arena of a part.

use super::bands::{Bands, Rows};
use super::call::ALIGNMENT;
use super::kernel::Packer;
use crate::plan::layouts::Layouts;
use crate::plan::lower::Op;
use crate::plan::places::Places;
use crate::plan::spans::Span;
use crate::plan::work::Work;
use lopper_kernels::cpu::ImageLayouts;

/// The values inside a span.
pub(in crate::plan) struct Inside {
    /// For each operation, the bands in which it is computed together with the next ones.
    pub bands: Vec<Option<Bands>>,
    pub places: Places,
}

impl Inside {
    /// Chooses the bands of `span`, and places its values. `works` is the work of `ops`.
    pub fn new(packer: &Packer, span: &Span, ops: &[Op], works: &[Work], layouts: &Layouts) -> Self {
        let rows = |i: usize| {
            let plain = layouts.around(&ops[i]) == ImageLayouts::default() && ops[i].residual.is_none();
            let packer = Packer { conv2d: layouts.packings()[i], ..*packer };
            plain.then(|| Rows::of(&packer, &works[i], span.images)).flatten()
        };
        // Each kernel is chosen once: that takes a pass over its zeros.
        let rows: Vec<Option<Rows>> = span.ops.clone().map(rows).collect();
        let bands = bands(&ops[span.ops.clone()], &rows);
        // All values of a band are alive together, those between two calls with some rows.
        let mut time: Vec<usize> = (0..bands.len()).collect();
        let mut lens: Vec<usize> =
            ops[span.ops.clone()].iter().map(|op| span.len_of_part(op, layouts)).collect();
        for (i, bands) in bands.iter().enumerate().filter_map(|(i, bands)| Some((i, bands.as_ref()?))) {
            time[i..i + bands.calls()].fill(i);
            lens[i..].iter_mut().zip(bands.lens()).for_each(|(len, present)| *len = present);
        }
        let places = Places::inside(span, ops, lens, |i| time[i], ALIGNMENT);
        Self { bands, places }
    }
}

/// The bands of each of `ops` with the next ones. The last operation writes outside the arena of a part, and is therefore
/// computed whole.
fn bands(ops: &[Op], rows: &[Option<Rows>]) -> Vec<Option<Bands>> {
    let read = |op: &Op| op.inputs.iter().chain(&op.residual).copied().collect::<Vec<_>>();
    let values: Vec<usize> = ops.iter().flat_map(read).collect();
    let readers = |value: usize| values.iter().filter(|&&read| read == value).count();
    let mut bands = vec![None; ops.len()];
    let follows = |pair: &&[Op]| pair[1].inputs == [pair[0].output] && readers(pair[0].output) == 1;
    let last = ops.len().saturating_sub(1);
    let mut i = 0;
    while i < last {
        let chain = 1 + ops[i..last].windows(2).take_while(follows).count();
        bands[i] = Bands::of(rows[i..i + chain].iter().map_while(Option::as_ref));
        i += bands[i].as_ref().map_or(1, Bands::calls);
    }
    bands
}
