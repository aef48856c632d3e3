//! Gathering of channels: any list, such as a part of the channels (a split), or their order after a shuffle.
//!
//! ```text
//!   for each row (pixel):                                  parallel in blocks of rows
//!     runs         copy channels a..b, then c..d, …        long runs move at full width
//!     interleaved  y[g·i + j] = x[start_j + i]             a shuffle of g groups: g streams, vectorized
//!     scattered    y[i] = x[channels[i]]
//! ```
//!
//! The way is chosen once for a list, by its form only.

use crate::cpu::Cpu;
use crate::cpu::ops::lanewise::CHUNK;
use crate::cpu::simd::{Kernel, Simd};
use rayon::prelude::*;

/// Runs that are shorter than this on average are not worth a call that copies each.
const RUN: usize = 8;

/// A list of channels to gather, and the way to do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedGather {
    width: usize,
    channels: Vec<u32>,
    way: Way,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// The first channel and the length of each run.
    Runs(Vec<[usize; 2]>),
    /// The first channel of each of two, three or four streams of consecutive channels that alternate.
    Two([usize; 2]),
    Three([usize; 3]),
    Four([usize; 4]),
    Scattered,
}

impl PackedGather {
    /// Prepares to gather `channels` of rows of `width` channels.
    ///
    /// # Panics
    /// If the list is empty, or a channel lies outside the width.
    pub fn new(width: usize, channels: &[u32]) -> Self {
        assert!(!channels.is_empty(), "there is a channel to gather");
        assert!(channels.iter().all(|&channel| (channel as usize) < width), "channels lie inside the width");
        let runs = runs(channels);
        let way = if runs.len() * RUN <= channels.len() || runs.len() == 1 {
            Way::Runs(runs)
        } else {
            None.or_else(|| streams(channels).map(Way::Two))
                .or_else(|| streams(channels).map(Way::Three))
                .or_else(|| streams(channels).map(Way::Four))
                .unwrap_or(Way::Scattered)
        };
        Self { width, channels: channels.to_vec(), way }
    }

    /// The number of channels of the input.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The channels, in order.
    pub fn channels(&self) -> &[u32] {
        &self.channels
    }

    /// The number of bytes of the list and of its runs.
    pub fn bytes(&self) -> usize {
        let runs = match &self.way {
            Way::Runs(runs) => size_of_val(&runs[..]),
            _ => 0,
        };
        size_of_val(&self.channels[..]) + runs
    }
}

/// The runs of consecutive channels.
fn runs(channels: &[u32]) -> Vec<[usize; 2]> {
    let runs = channels.chunk_by(|&a, &b| a.checked_add(1) == Some(b));
    runs.map(|run| [run[0] as usize, run.len()]).collect()
}

/// The first channels of `G` streams whose channels alternate, if `channels` are such streams.
fn streams<const G: usize>(channels: &[u32]) -> Option<[usize; G]> {
    let alternates = channels.len().is_multiple_of(G) && channels.len() > G;
    let consecutive = || (G..channels.len()).all(|i| channels[i - G].checked_add(1) == Some(channels[i]));
    (alternates && consecutive()).then(|| std::array::from_fn(|stream| channels[stream] as usize))
}

/// `y[row, i] = x[row, channels[i]]`.
pub fn gather_forward(cpu: &Cpu, gather: &PackedGather, x: &[f32], y: &mut [f32]) {
    let (width, out) = (gather.width, gather.channels.len());
    assert_eq!((x.len() % width, x.len() / width * out), (0, y.len()));
    let rows = CHUNK.div_ceil(width.max(out));
    cpu.run(|| {
        cpu.divide(y.par_chunks_mut(rows * out).zip(x.par_chunks(rows * width)))
            .for_each(|(y, x)| cpu.dispatch(Block { gather, x, y }));
    });
}

/// Some rows.
struct Block<'a> {
    gather: &'a PackedGather,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { gather: PackedGather { width, channels, way }, x, y } = self;
        let rows = x.chunks_exact(*width).zip(y.chunks_exact_mut(channels.len()));
        match way {
            Way::Runs(runs) => rows.for_each(|(x, mut y)| {
                for &[first, len] in runs {
                    let (run, rest) = y.split_at_mut(len);
                    run.copy_from_slice(&x[first..first + len]);
                    y = rest;
                }
            }),
            Way::Two(firsts) => rows.for_each(|(x, y)| interleave(*firsts, x, y)),
            Way::Three(firsts) => rows.for_each(|(x, y)| interleave(*firsts, x, y)),
            Way::Four(firsts) => rows.for_each(|(x, y)| interleave(*firsts, x, y)),
            Way::Scattered => rows.for_each(|(x, y)| {
                for (y, &channel) in y.iter_mut().zip(channels) {
                    *y = x[channel as usize];
                }
            }),
        }
    }
}

/// `y[G·i + j] = x[firsts[j] + i]`.
#[inline(always)]
fn interleave<const G: usize>(firsts: [usize; G], x: &[f32], y: &mut [f32]) {
    let (groups, _) = y.as_chunks_mut::<G>();
    // Streams of equal length let the compiler drop the bounds checks in the loop.
    let len = groups.len();
    let streams = firsts.map(|first| &x[first..][..len]);
    for i in 0..len {
        for j in 0..G {
            groups[i][j] = streams[j][i];
        }
    }
}

/// The gradient of [`gather_forward`]: adds up what was read of each channel, in the order of the list.
pub fn gather_input_grad(cpu: &Cpu, gather: &PackedGather, dy: &[f32], dx: &mut [f32]) {
    let (width, out) = (gather.width, gather.channels.len());
    assert_eq!((dx.len() % width, dx.len() / width * out), (0, dy.len()));
    let rows = CHUNK.div_ceil(width.max(out));
    cpu.run(|| {
        dx.par_chunks_mut(rows * width).zip(dy.par_chunks(rows * out)).for_each(|(dx, dy)| {
            for (dx, dy) in dx.chunks_exact_mut(width).zip(dy.chunks_exact(out)) {
                dx.fill(0.0);
                for (&dy, &channel) in dy.iter().zip(&gather.channels) {
                    dx[channel as usize] += dy;
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_the_list_decides() {
        let way = |channels: &[u32]| PackedGather::new(64, channels).way;
        let list = |of: &dyn Fn(u32) -> u32, len: u32| (0..len).map(of).collect::<Vec<u32>>();
        assert_eq!(way(&list(&|i| i + 3, 20)), Way::Runs(vec![[3, 20]]));
        assert_eq!(way(&[5]), Way::Runs(vec![[5, 1]]));
        assert_eq!(way(&list(&|i| (i + 8) % 16, 16)), Way::Runs(vec![[8, 8], [0, 8]]));
        assert_eq!(way(&list(&|i| i % 2 * 10 + i / 2, 20)), Way::Two([0, 10]));
        assert_eq!(way(&list(&|i| i % 3 * 7 + i / 3, 21)), Way::Three([0, 7, 14]));
        assert_eq!(way(&list(&|i| i % 4 * 5 + i / 4, 20)), Way::Four([0, 5, 10, 15]));
        assert_eq!(way(&list(&|i| 63 - i, 20)), Way::Scattered);
    }
}
