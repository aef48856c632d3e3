//! The sizes of tiles, and which convolutions have them.

use crate::shapes::Conv2d;

/// The tile size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tiling {
    /// F(2×2, 3×3): 16 products for 4 pixels.
    F2,
    /// F(4×4, 3×3): 36 products for 16 pixels.
    F4,
}

impl Tiling {
    /// The number of output pixels along a tile's side.
    pub const fn side(self) -> usize {
        match self {
            Self::F2 => 2,
            Self::F4 => 4,
        }
    }

    /// The number of input pixels along the side of a tile's patch.
    pub const fn patch(self) -> usize {
        self.side() + 2
    }

    /// The number of products per tile.
    pub const fn points(self) -> usize {
        self.patch() * self.patch()
    }

    /// The number of output tiles in the batch.
    pub fn tiles(self, g: &Conv2d) -> usize {
        g.n * g.oh().div_ceil(self.side()) * g.ow().div_ceil(self.side())
    }
}

/// The sizes of F(4×4, 3×3), which the weight gradient uses.
pub(super) const POINTS: usize = Tiling::F4.points();
pub(super) const SIDE: usize = Tiling::F4.side();
pub(super) const PATCH: usize = Tiling::F4.patch();
/// The padding, in floats, after each point's part of a buffer. Without it, all points of a vector would map to the
/// same cache set, because the numbers of channels and tiles are usually powers of two.
pub(super) const SKEW: usize = 16;

/// The width of a row of V or M with `width` channels: whole cache lines, so that no vector crosses one.
pub(super) const fn padded(width: usize) -> usize {
    width.next_multiple_of(16)
}

/// At most this many floats of filters count as small: V and M of a block then fit in the L2 cache beside them.
pub(super) const SMALL: usize = 1 << 20;
/// The maximum number of tiles per task if filters are small.
pub(super) const BLOCK: usize = 32;
/// At most this many tiles count as few. A pass over few tiles soon needs the next panel, so it prefetches one panel
/// ahead.
pub(super) const FEW: usize = 32;
/// The maximum number of tiles that all threads take through the three steps together if filters are large.
pub(super) const TOGETHER: usize = 256;

/// The reason why Winograd's algorithm cannot compute `g`, if there is one.
pub fn refuses(g: &Conv2d) -> Option<&'static str> {
    let needs = [
        ([g.kh, g.kw] == [3; 2], "the kernel is not 3×3"),
        (g.stride == [1; 2], "the stride is not 1"),
        (g.dilation == [1; 2], "the kernel is dilated"),
        (g.groups == 1, "channels are grouped"),
        (g.padding.iter().all(|&p| p <= 2), "the padding is larger than 2"),
        (g.extra_padding == [0; 2], "the padding is larger behind than before"),
    ];
    needs.into_iter().find(|(holds, _)| !holds).map(|(_, why)| why)
}

/// Whether all threads take the same tiles through each step. They do if filters are large. With few tiles, they do so
/// for smaller filters as well, because each thread would otherwise read all filters for very few products.
pub fn together(filters_len: usize, few_tiles: bool) -> bool {
    filters_len > if few_tiles { SMALL / 8 } else { SMALL }
}
