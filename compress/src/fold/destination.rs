//! The layers that can absorb a batch norm, or the reason why there are none.

use super::folding::Folding;
use super::weights::{Affine, Side, Target, affine, of_inputs};
use lopper_engine::channels::Filters;
use lopper_engine::layer::{BatchNorm, PoolKind};
use lopper_engine::{Layer, NodeId};

impl Folding {
    /// The layers that absorb the batch norm `id` together, or the reason why none do.
    pub(super) fn destination(&self, id: NodeId, bn: &BatchNorm) -> Result<Vec<Target>, String> {
        let input = self.input(id);
        let no_backward = match self.back(input, id, affine(bn)) {
            // The last node of a graph is its output. Without the batch norm, that must be its input.
            Ok(targets) if id != self.output || self.is_last_before(input, id) => return Ok(targets),
            Ok(_) => format!("`{}`, which feeds it, has another reader", self.graph.nodes()[input].name),
            Err(why) => why,
        };
        self.ahead(id, affine(bn)).map_err(|no_forward| format!("{no_backward}; {no_forward}"))
    }

    /// Whether all nodes between `first` and `id` have been folded.
    fn is_last_before(&self, first: NodeId, id: NodeId) -> bool {
        (first + 1..id).all(|between| self.is_folded(between))
    }

    /// The layers that absorb `affine` of the output of `node`, whose only reader must be `reader`.
    fn back(&self, node: NodeId, reader: NodeId, affine: Affine) -> Result<Vec<Target>, String> {
        let source = &self.graph.nodes()[node];
        let layer = &source.layer;
        let passes = Filters::of(layer).is_some()
            || matches!(layer, Layer::Concat | Layer::Add)
            || (commutes(layer, &affine) && !matches!(layer, Layer::Flatten));
        match self.readers[node].as_slice() {
            _ if !passes => return Err(format!("`{}`, which feeds it, is {}", source.name, layer.kind())),
            &[only] if only == reader => {}
            _ => return Err(format!("`{}`, which feeds it, has another reader", source.name)),
        }
        let mut targets = Vec::new();
        match layer {
            Layer::Concat => {
                let mut start = 0;
                for (index, width) in self.widths_into(node)?.into_iter().enumerate() {
                    let part = affine[start..start + width].to_vec();
                    targets.extend(self.back(self.input_at(node, index), node, part)?);
                    start += width;
                }
            }
            Layer::Add => {
                let unshifted: Affine = affine.iter().map(|(s, _)| (*s, 0.0)).collect();
                for index in 0..source.inputs.len() {
                    let part = if index == 0 { &affine } else { &unshifted };
                    targets.extend(self.back(self.input_at(node, index), node, part.clone())?);
                }
            }
            _ if Filters::of(layer).is_some() => targets.push(Target { node, affine, side: Side::Outputs }),
            _ => targets.extend(self.back(self.input(node), node, affine)?),
        }
        Ok(targets)
    }

    /// The layers that absorb `affine` of the output of `node`, one on each way to the network's output.
    fn ahead(&self, node: NodeId, affine: Affine) -> Result<Vec<Target>, String> {
        let mut readers = self.readers[node].clone();
        readers.sort_unstable();
        readers.dedup();
        if readers.is_empty() {
            return Err(format!("`{}` has 0 readers", self.graph.nodes()[node].name));
        }
        let mut targets = Vec::new();
        for reader in readers {
            let found = &self.graph.nodes()[reader];
            match (Filters::of(&found.layer), &found.layer) {
                (Some(filters), _) if filters.padded && weighs_shift(&filters, &affine) => {
                    return Err(format!(
                        "`{}`, which reads it, pads its input with 0, not with β − sμ",
                        found.name
                    ));
                }
                (Some(_), _) => {
                    targets.push(Target { node: reader, affine: affine.clone(), side: Side::Inputs });
                }
                (None, Layer::Concat) => {
                    targets.extend(self.ahead(reader, self.beside(reader, node, &affine)?)?)
                }
                (None, layer) if commutes(layer, &affine) => {
                    targets.extend(self.ahead(reader, affine.clone())?)
                }
                (None, layer) => {
                    return Err(format!("`{}`, which reads it, is {}", found.name, layer.kind()));
                }
            }
        }
        Ok(targets)
    }

    /// `affine` of `node` among the other inputs of the concatenation `concat`, which stay.
    fn beside(&self, concat: NodeId, node: NodeId, affine: &[(f64, f64)]) -> Result<Affine, String> {
        let part = |(index, width): (usize, usize)| match self.input_at(concat, index) == node {
            true => affine.to_vec(),
            false => vec![(1.0, 0.0); width],
        };
        Ok(self.widths_into(concat)?.into_iter().enumerate().flat_map(part).collect())
    }

    /// The channels of each input of the concatenation `concat`.
    fn widths_into(&self, concat: NodeId) -> Result<Vec<usize>, String> {
        let name = &self.graph.nodes()[concat].name;
        let width = |index: usize| {
            let width = self.widths[self.input_at(concat, index)];
            width.ok_or_else(|| format!("`{name}` joins vectors whose length depends on the image"))
        };
        (0..self.graph.nodes()[concat].inputs.len()).map(width).collect()
    }
}

/// Whether `layer(s·x + t) = s·layer(x) + t`, so that the batch norm can move past it.
fn commutes(layer: &Layer, affine: &[(f64, f64)]) -> bool {
    match layer {
        // The weights of an output pixel of a resizing add up to one.
        Layer::Flatten | Layer::Dropout { .. } | Layer::Resize(_) => true,
        Layer::Pool(pool) => match pool.kind {
            // Only if means do not include the zeros of the padding.
            PoolKind::Average => !pool.reads_padding(),
            // A negative scale would turn the maximum into the minimum.
            PoolKind::Max => affine.iter().all(|&(s, _)| s >= 0.0),
        },
        _ => false,
    }
}

/// Whether a nonzero weight reads a channel that is shifted.
fn weighs_shift(filters: &Filters, affine: &[(f64, f64)]) -> bool {
    let affine = of_inputs(affine, filters);
    (0..filters.outputs()).any(|o| {
        let shifts = &affine[filters.first_input(o)..][..filters.depth()];
        filters.filter(o).iter().zip(shifts.iter().cycle()).any(|(&w, &(_, shift))| w != 0.0 && shift != 0.0)
    })
}
