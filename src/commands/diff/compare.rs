//! Where two networks part: layer by layer, over the channels that both have.
//!
//! ```text
//!   first    conv1 [32] ─ bn1 ─ relu ─ conv2 [64] ─ bn2 ─ … ─ logits
//!   second   conv1 [20] ─ bn1 ─ relu ─ conv2 [41] ─ bn2 ─ … ─ logits        pruned
//! ```
//!
//! Layers correspond by name. Pruning keeps the order of channels, so two layers of different widths agree if the
//! channels of the narrower one are among those of the wider one, in this order. A difference starts at the first layer
//! that differs and from which it reaches the logits: layers behind which the networks agree again do not count, such as
//! a convolution that has absorbed its batch norm.

use lopper_engine::tape::{Mode, Tape};
use lopper_engine::{Device, Graph, NodeId, Result, Tensor, memory};
use serde::Serialize;

/// How two networks differ on some images.
#[derive(Serialize)]
pub struct Difference {
    pub largest_logit_difference: f32,
    pub same_class: f64,
    pub images: usize,
    pub first_layer_that_differs: Option<String>,
    /// The first layer that is wider in one of the networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub widths: Option<Widths>,
}

/// The channels of a layer in two networks.
#[derive(Serialize)]
pub struct Widths {
    pub layer: String,
    pub first: usize,
    pub second: usize,
}

/// Compares `a` and `b` on `images`. Values that differ by at most `tolerance` are equal.
pub fn compare(a: &Graph, b: &Graph, images: &Tensor, tolerance: f32, device: &Device) -> Result<Difference> {
    let partner = |id: NodeId| match id == a.output() {
        true => Some(b.output()),
        false => b.id(&a.nodes()[id].name).ok(),
    };
    let pairs: Vec<(NodeId, NodeId)> =
        (0..a.nodes().len()).filter_map(|id| Some((id, partner(id)?))).collect();
    let taps = |side: fn(&(NodeId, NodeId)) -> NodeId| pairs.iter().map(side).collect::<Vec<_>>();
    let pass = |graph: &Graph, taps: &[NodeId]| {
        require_values(graph, images)?;
        graph.forward(&mut Tape::no_grad(device), Mode::Eval, images.clone(), taps)
    };
    let (first, second) = (pass(a, &taps(|p| p.0))?, pass(b, &taps(|p| p.1))?);
    let (mut agrees, mut widths) = (vec![None; a.nodes().len()], None);
    for ((&(id, _), x), y) in pairs.iter().zip(&first.taps).zip(&second.taps) {
        let (x, y) = (x.value(), y.value());
        agrees[id] = agree(x, y, tolerance)?;
        if let (None, [.., first], [.., second]) = (&widths, x.shape(), y.shape())
            && first != second
        {
            widths = Some(Widths { layer: a.nodes()[id].name.clone(), first: *first, second: *second });
        }
    }
    let (x, y) = (first.output.value(), second.output.value());
    let largest = x.max_difference(y)?;
    let start = if largest <= tolerance { None } else { start(a, &agrees) };
    let rows = x.dim(0);
    let same = (0..rows).filter(|&r| class(x, r) == class(y, r)).count();
    Ok(Difference {
        largest_logit_difference: largest,
        same_class: same as f64 / rows as f64,
        images: rows,
        first_layer_that_differs: start.map(|id| a.nodes()[id].name.clone()),
        widths,
    })
}

/// The first layer of `graph` that differs and from which a difference reaches the output, where `agrees` says of each
/// layer whether it agrees with its counterpart, if there is a comparable one.
fn start(graph: &Graph, agrees: &[Option<bool>]) -> Option<NodeId> {
    let mut reaches = vec![false; agrees.len()];
    let mut pending = vec![graph.output()];
    while let Some(id) = pending.pop() {
        // Each node once: sums of sums have more paths than nodes.
        if !std::mem::replace(&mut reaches[id], true) {
            pending.extend(graph.nodes()[id].inputs.iter().filter(|&&input| agrees[input] != Some(true)));
        }
    }
    (0..agrees.len()).find(|&id| reaches[id] && agrees[id] == Some(false))
}

/// Whether two outputs agree on the channels that both have. `None` if they cannot be compared.
fn agree(x: &Tensor, y: &Tensor, tolerance: f32) -> Result<Option<bool>> {
    let (a, b) = (x.shape(), y.shape());
    if a == b {
        return Ok(Some(x.max_difference(y)? <= tolerance));
    }
    let comparable = a.len() == b.len() && a[..a.len() - 1] == b[..b.len() - 1];
    let (narrow, wide) = if x.len() <= y.len() { (x, y) } else { (y, x) };
    Ok(comparable.then(|| contains(wide, narrow, tolerance)))
}

/// Whether the channels of `narrow` are among those of `wide`, in this order.
fn contains(wide: &Tensor, narrow: &Tensor, tolerance: f32) -> bool {
    let width = |t: &Tensor| t.shape().last().copied().unwrap_or(0);
    let (w, n) = (width(wide), width(narrow));
    let equal = |wanted: usize, candidate: usize| {
        let rows = narrow.data().chunks_exact(n).zip(wide.data().chunks_exact(w));
        rows.into_iter().all(|(narrow, wide)| (narrow[wanted] - wide[candidate]).abs() <= tolerance)
    };
    if n == 0 {
        return true;
    }
    // The first match is never worse than a later one: it leaves more candidates to the channels behind.
    let mut candidates = 0..w;
    (0..n).all(|wanted| candidates.any(|candidate| equal(wanted, candidate)))
}

/// Returns the index of the largest logit in row `row`.
fn class(logits: &Tensor, row: usize) -> Option<usize> {
    let k = logits.dim(1);
    let row = &logits.data()[row * k..][..k];
    (0..k).max_by(|&i, &j| row[i].total_cmp(&row[j]))
}

/// Checks that all values of a pass, which are kept for comparison, fit into memory.
fn require_values(graph: &Graph, images: &Tensor) -> Result<()> {
    let &[n, h, w, c] = images.shape() else { return Ok(()) };
    let values = graph.shapes([n, h, w, c])?;
    let bytes = values.into_iter().map(memory::bytes_of::<f32>).fold(0, u64::saturating_add);
    memory::require(format_args!("the values of all layers on images {:?}", images.shape()), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: usize, channels: &[f32]) -> Tensor {
        // Channel c of pixel p is channels[c] · (p + 1).
        Tensor::from_fn(&[1, 1, width, channels.len()], |i| {
            channels[i % channels.len()] * (i / channels.len() + 1) as f32
        })
    }

    #[test]
    fn channels_of_different_widths_are_matched_in_order() {
        let wide = image(3, &[1.0, 0.0, 2.0, 0.0, 3.0]);
        for (narrow, expected) in [
            (&[1.0, 2.0, 3.0][..], true),
            (&[0.0, 0.0], true),
            (&[0.0, 2.0, 0.0, 3.0], true),
            (&[2.0, 1.0], false),
            (&[0.0, 0.0, 0.0], false),
            (&[1.0, 2.5], false),
            (&[f32::NAN], false),
        ] {
            let narrow = image(3, narrow);
            for (x, y) in [(&narrow, &wide), (&wide, &narrow)] {
                assert_eq!(agree(x, y, 1e-3).unwrap(), Some(expected), "{narrow:?}");
            }
        }
        assert_eq!(agree(&wide, &image(2, &[1.0]), 1e-3).unwrap(), None, "of another size");
        assert_eq!(agree(&wide, &wide, 0.0).unwrap(), Some(true));
    }
}
