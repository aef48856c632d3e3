//! Tiles on their way through the steps.

use super::product::Winograd;
use crate::cpu::device::shared::Shared;

/// The tiles `first .. first + count` on their way through V and M.
///
/// V is `[points, tiles, channels]` and M is `[points, tiles, columns]`, in rows of whole cache lines. Each point is followed by
/// [`SKEW`](super::tiling::SKEW) floats of padding, and `tiles` is `count` rounded up to whole register tiles.
pub struct Pass<'a> {
    pub product: &'a Winograd<'a>,
    pub first: usize,
    pub count: usize,
    pub v: Shared<'a>,
    /// The length of one point of V, in floats.
    pub v_point: usize,
    pub m: Shared<'a>,
    pub m_point: usize,
}

impl<'a> Pass<'a> {
    /// The lengths of a point of V and of M, in floats.
    pub fn point_lens(product: &Winograd, count: usize) -> (usize, usize) {
        product.filters.point_lens(product.channels, count)
    }

    /// The number of floats that a pass over `count` tiles needs.
    pub fn len(product: &Winograd, count: usize) -> usize {
        let (v, m) = Self::point_lens(product, count);
        product.filters.tiling.points() * (v + m)
    }

    pub fn new(product: &'a Winograd, first: usize, count: usize, floats: &'a mut [f32]) -> Self {
        let (v_point, m_point) = Self::point_lens(product, count);
        let (v, m) = floats.split_at_mut(product.filters.tiling.points() * v_point);
        Self { product, first, count, v: Shared::new(v), v_point, m: Shared::new(m), m_point }
    }
}
