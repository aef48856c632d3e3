//! The choice of pixels and filters per block.

use super::tensor_map::MAX_BOX;
use crate::cuda::Cuda;

/// The maximum number of output pixels per block.
pub(super) const PIXELS: usize = 128;

/// The widest tile that still gives every multiprocessor a block, and that `o` filters do not leave half unused.
pub(super) fn filters_of_a_block(cuda: &Cuda, pixel_tiles: usize, o: usize) -> usize {
    let fits = |&filters: &usize| {
        o.next_multiple_of(64) >= filters && pixel_tiles * o.div_ceil(filters) >= cuda.multiprocessors()
    };
    [256, 128].into_iter().find(fits).unwrap_or(64)
}

/// Images × rows × columns of at most 128 output pixels, each a power of two or a whole dimension, chosen to leave
/// the fewest unused. Ties go to the widest, whose inputs overlap most from tap to tap.
pub(super) fn pixel_tile([n, oh, ow]: [usize; 3], stride: [usize; 2]) -> [usize; 3] {
    let candidates = |size: usize, stride: usize| {
        let most = size.min(PIXELS).min(MAX_BOX / stride);
        (0..8).map(|log| 1 << log).filter(move |&edge| edge <= most).chain([most])
    };
    let mut best = ([1, 1, 1], usize::MAX);
    for bw in candidates(ow, stride[1]) {
        for bh in candidates(oh, stride[0]).filter(|bh| bh * bw <= PIXELS) {
            for bn in candidates(n, 1).chain([n.min(PIXELS / (bh * bw))]).filter(|bn| bn * bh * bw <= PIXELS)
            {
                let tiles = n.div_ceil(bn) * oh.div_ceil(bh) * ow.div_ceil(bw);
                if tiles < best.1 || tiles == best.1 && bh * bw >= best.0[1] * best.0[2] {
                    best = ([bn, bh, bw], tiles);
                }
            }
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::pixel_tile;

    #[test]
    fn tiles_waste_little() {
        // For 7 × 7 pixels, no box is both full and whole.
        for (edge, least) in [(112, 0.97), (56, 0.97), (28, 0.97), (14, 0.97), (7, 0.87)] {
            for n in [64, 128, 256] {
                let [bn, bh, bw] = pixel_tile([n, edge, edge], [1, 1]);
                assert!(bn * bh * bw <= 128);
                let tiles = n.div_ceil(bn) * edge.div_ceil(bh) * edge.div_ceil(bw);
                let used = (n * edge * edge) as f64 / (tiles * 128) as f64;
                assert!(used > least, "{n}×{edge}×{edge}: {bn}×{bh}×{bw} uses {used}");
            }
        }
    }
}
