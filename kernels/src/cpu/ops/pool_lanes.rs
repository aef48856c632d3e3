//! 2×2 maximum pooling of images that stay in row lanes.
//!
//! The lanes of a row are the pixels of a row of one image, so that a window is two neighbors in two rows:
//!
//! ```text
//!   for plane                          (a channel of an image)
//!     for two rows of the input        a, b
//!       for pixel i of the output      the largest of a[2i], a[2i + 1], b[2i] and b[2i + 1]
//! ```

use super::pool::larger;
use crate::cpu::Cpu;
use crate::cpu::lanes::LaneImages;
use crate::cpu::simd::{Kernel, Simd};
use crate::shapes::Pool2d;
use rayon::prelude::*;

/// The number of floats of the planes of a task.
const TASK: usize = 1 << 13;

/// Returns the row lanes in which a maximum pooling of `g` writes its output if it reads images in the lanes of `x`, if it
/// can.
pub fn max_pool2d_lanes_after(g: &Pool2d, x: &LaneImages) -> Option<LaneImages> {
    if g.halves() && x.holds([g.n, g.h, g.w]) { x.of_size([g.oh(), g.ow()]) } else { None }
}

/// Computes the maximum of each window of images `x` in the lanes `images`. `y` is in those that [`max_pool2d_lanes_after`]
/// returns.
pub fn max_pool2d_forward_lanes(cpu: &Cpu, g: &Pool2d, images: &LaneImages, x: &[f32], y: &mut [f32]) {
    let written = max_pool2d_lanes_after(g, images).expect("the pool takes images in these lanes");
    let lens = [images.len(g.c), written.len(g.c)];
    assert_eq!([x.len(), y.len()], lens, "input and output have the length of their layout");
    let (planes, rows) = ((TASK / images.plane()).max(1), [images.row(), written.row()]);
    let [from, to] = [images.plane(), written.plane()].map(|plane| planes * plane);
    cpu.run(|| {
        let (x, y) = (x.par_chunks(from), y.par_chunks_mut(to));
        cpu.divide(x.zip(y)).for_each(|(x, y)| {
            let planes = x.chunks_exact(images.plane()).zip(y.chunks_exact_mut(written.plane()));
            planes.for_each(|(x, y)| cpu.dispatch(Plane { rows, x, y }));
        });
    });
}

/// A channel of an image.
struct Plane<'a> {
    /// The floats of a row of the input and of the output.
    rows: [usize; 2],
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Plane<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let [from, to] = self.rows;
        for (x, y) in self.x.chunks_exact(2 * from).zip(self.y.chunks_exact_mut(to)) {
            let (above, below) = x.split_at(from);
            let windows = above.as_chunks::<2>().0.iter().zip(below.as_chunks::<2>().0);
            for (y, (a, b)) in y.iter_mut().zip(windows) {
                *y = larger(larger(larger(a[0], a[1]), b[0]), b[1]);
            }
        }
    }
}
