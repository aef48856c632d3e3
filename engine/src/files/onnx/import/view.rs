//! A value of ONNX as a view of a node's output here.
//!
//! Images are `[N, H, W, C]` here. ONNX sees the same numbers as `[N, C, H, W]`, as `[N, C·H·W]` once they are
//! flattened, as `[N, H, W, C]` behind a transposition, or with axes of one element added or removed. None of these
//! moves a number: a view says which of our axes each of ONNX's axes consists of, and layers act on the node behind it.
//!
//! | ONNX's value | its axes behind the batch |
//! | --- | --- |
//! | `[N, C, H, W]` | `[C] [H] [W]` |
//! | flattened | `[C H W]` |
//! | transposed by `0, 2, 3, 1` | `[H] [W] [C]` |
//! | a pooled image `[N, C, 1, 1]` | `[C] [] []`: axes of one element belong nowhere |

use super::int::Int;
use crate::NodeId;

/// One of our axes of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Axis {
    H,
    W,
    C,
}

/// The largest number of ONNX's axes behind the batch.
pub(super) const MOST_AXES: usize = 8;

/// The largest number of values of an image.
const MOST_VALUES: usize = 1 << 32;

const ALL: [Axis; 3] = [Axis::H, Axis::W, Axis::C];

/// A view of a node's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// The node.
    pub node: NodeId,
    /// Whether the node's output is a vector, `[N, H·W·C]`.
    pub flat: bool,
    /// `[H, W, C]` of the node's output.
    pub size: [usize; 3],
    /// Our axes in each of ONNX's axes behind the batch, outermost first. Axes of one element are left out.
    pub axes: Vec<Vec<Axis>>,
    /// Zeros around the image that are not in the node's output, `[top, left, bottom, right]`: the next layer's
    /// padding.
    pub padding: [usize; 4],
}

impl View {
    /// An image `[N, C, H, W]`.
    pub fn image(node: NodeId, size: [usize; 3]) -> Self {
        let view = Self { node, flat: false, size, axes: Vec::new(), padding: [0; 4] };
        view.with_axes(&[&[Axis::C], &[Axis::H], &[Axis::W]])
    }

    /// A vector `[N, features]`.
    pub fn vector(node: NodeId, features: usize) -> Self {
        let view = Self { node, flat: true, size: [1, 1, features], axes: Vec::new(), padding: [0; 4] };
        view.with_axes(&[&[Axis::C]])
    }

    /// The same numbers of another node.
    pub fn at(&self, node: NodeId) -> Self {
        Self { node, ..self.clone() }
    }

    /// The same node with these axes.
    pub fn with_axes(&self, axes: &[&[Axis]]) -> Self {
        let long = |axis: &&Axis| self.size[**axis as usize] > 1;
        let axes = axes.iter().map(|group| group.iter().filter(long).copied().collect()).collect();
        Self { axes, ..self.clone() }
    }

    /// ONNX's shape behind the batch.
    pub fn dims(&self) -> Vec<usize> {
        self.axes.iter().map(|group| group.iter().map(|&axis| self.size[axis as usize]).product()).collect()
    }

    /// Whether this is an image `[N, C, H, W]`.
    pub fn is_channels_first(&self) -> bool {
        !self.flat && self.axes == self.with_axes(&[&[Axis::C], &[Axis::H], &[Axis::W]]).axes
    }

    /// Whether this is an image, in either order of its axes; those of one element may be missing.
    pub fn is_image(&self) -> bool {
        let orders = [[Axis::C, Axis::H, Axis::W], ALL];
        let axes: Vec<Axis> = self.axes.iter().flatten().copied().collect();
        let apart = self.axes.iter().all(|group| group.len() < 2);
        !self.flat && apart && orders.iter().any(|order| self.long(order) == axes)
    }

    /// Whether axis `axis` of ONNX's shape, the batch included, is the channels as a whole.
    pub fn is_channel_axis(&self, axis: usize) -> bool {
        axis > 0 && self.axes.get(axis - 1).is_some_and(|group| *group == self.long(&[Axis::C]))
    }

    /// Those of `axes` that have more than one element.
    pub fn long(&self, axes: &[Axis]) -> Vec<Axis> {
        axes.iter().filter(|&&axis| self.size[axis as usize] > 1).copied().collect()
    }

    /// Whether this is `[N, features]` in our order.
    pub fn is_vector_in_order(&self) -> bool {
        matches!(&self.axes[..], [group] if *group == self.long(&ALL))
    }

    /// For a value `[N, features]`: our feature at each of ONNX's positions, or `None` if the order is the same.
    pub fn order(&self) -> Option<Vec<usize>> {
        let [group] = &self.axes[..] else { return None };
        if self.is_vector_in_order() {
            return None;
        }
        let [_, w, c] = self.size;
        let step = |axis: Axis| match axis {
            Axis::H => w * c,
            Axis::W => c,
            Axis::C => 1,
        };
        let mut order = vec![0];
        for &axis in group {
            let size = self.size[axis as usize];
            order = order.iter().flat_map(|&at| (0..size).map(move |i| at + i * step(axis))).collect();
        }
        Some(order)
    }

    /// Permutes ONNX's axes, the batch included.
    pub fn transposed(&self, order: &[i64]) -> Result<Self, String> {
        let rank = self.axes.len() + 1;
        let order: Option<Vec<usize>> = order.iter().map(|&i| usize::try_from(i).ok()).collect();
        let order = order.unwrap_or_default();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank) {
            return Err(format!("permutes {rank} axes by {order:?}"));
        }
        if order[0] != 0 {
            return Err("moves the batch from the first axis".into());
        }
        let axes = order[1..].iter().map(|&i| self.axes[i - 1].clone()).collect();
        Ok(Self { axes, ..self.clone() })
    }

    /// Joins or splits axes such that ONNX's shape behind the batch is `dims`.
    pub fn reshaped(&self, dims: &[usize]) -> Result<Self, String> {
        if dims.len() > MOST_AXES {
            return Err(format!("makes {} axes, expected at most {MOST_AXES}", dims.len() + 1));
        }
        let (mut left, found) = (self.axes.iter().flatten().copied(), self.dims());
        let mut axes = Vec::with_capacity(dims.len());
        for &dim in dims {
            let (mut group, mut product) = (Vec::new(), 1usize);
            while product < dim {
                let axis =
                    left.next().ok_or_else(|| format!("{found:?} has fewer elements than {dims:?}"))?;
                group.push(axis);
                product = product.saturating_mul(self.size[axis as usize]);
            }
            if product != dim {
                return Err(format!("splits an axis of {found:?} for {dims:?}, which no layer does"));
            }
            axes.push(group);
        }
        match left.next() {
            None => Ok(Self { axes, ..self.clone() }),
            Some(_) => Err(format!("{found:?} has more elements than {dims:?}")),
        }
    }

    /// Refuses images of more values than a network may have.
    pub fn bounded(&self) -> Result<(), String> {
        let values = self.size.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim));
        match values.is_some_and(|values| values <= MOST_VALUES) {
            true => Ok(()),
            false => Err(format!("images of {:?}, more than {MOST_VALUES} values", self.size)),
        }
    }

    /// ONNX's shape, for `batch` images.
    pub fn shape(&self, batch: Int) -> Vec<Int> {
        std::iter::once(batch).chain(self.dims().into_iter().map(|dim| Int::of(dim as i64))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_follow_reshapes_and_transpositions() {
        let image = View::image(3, [2, 5, 4]);
        assert_eq!((image.dims(), image.order()), (vec![4, 2, 5], None));
        let flat = image.reshaped(&[40]).unwrap();
        // Position (c·2 + y)·5 + x of ONNX is feature (y·5 + x)·4 + c here.
        assert_eq!(flat.order().unwrap()[(3 * 2 + 1) * 5 + 2], (5 + 2) * 4 + 3);
        assert_eq!(flat.reshaped(&[4, 10]).unwrap().dims(), [4, 10]);
        assert_eq!(flat.reshaped(&[1, 4, 2, 5, 1]).unwrap().reshaped(&[4, 2, 5]).unwrap(), image);
        assert!(flat.reshaped(&[5, 8]).unwrap_err().contains("splits an axis"));
        assert!(flat.reshaped(&[4, 2]).unwrap_err().contains("more elements"));
        assert!(flat.reshaped(&[40, 2]).unwrap_err().contains("fewer elements"));
        let last = image.transposed(&[0, 2, 3, 1]).unwrap();
        assert!(last.is_channel_axis(3) && !last.is_channels_first());
        assert_eq!(last.reshaped(&[40]).unwrap().order(), None);
        assert!(image.transposed(&[1, 0, 2, 3]).unwrap_err().contains("batch"));
        assert!(image.transposed(&[0, 2, 2, 1]).is_err() && image.transposed(&[0, 1]).is_err());
    }

    #[test]
    fn axes_of_one_element_belong_nowhere() {
        let pooled = View::image(1, [1, 1, 6]);
        let vector = pooled.reshaped(&[6]).unwrap();
        assert_eq!((vector.dims(), vector.order()), (vec![6], None));
        assert!(vector.reshaped(&[6, 1, 1]).unwrap().is_channels_first());
        assert!(vector.is_channel_axis(1) && !vector.is_channel_axis(0));
        assert!(View::image(0, [3, 4, 1]).is_channel_axis(1));
    }
}
