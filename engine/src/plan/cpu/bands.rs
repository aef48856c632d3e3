//! Calls that are computed band by band: convolutions, and the pool that may end them, each the only reader of the one before.
//!
//! ```text
//!   x  [H, W, C]        expand, 1×1            mid  [band + 2, W, 6·C]     depthwise, 3×3        y  [band, W, 6·C]
//!   rows 7 … 14   ───────────────────►  rows 5, 6 │ 7 … 14     ───────────────────►   rows 6 … 13
//!                                        of the    new
//!                                        last band
//! ```
//!
//! The expansion of an inverted residual block is the largest value of its network, as are the outputs of the first layers of
//! a ResNet or a VGG. In bands, such values stay in the cache of the core although those of an image do not. The rows that
//! two bands share are moved, so that nothing is computed twice; the bits are those of whole images.

use super::call::{Call, Values};
use super::kernel::{Kernel, Packer};
use crate::Tensor;
use crate::autograd::ops::Pooling;
use crate::plan::work::{Plain, Work};
use lopper_kernels::cpu::{Cpu, Epilogue, PackedConv2d, conv2d_forward_rows, max_pool2d_forward};
use lopper_kernels::shapes::{Conv2d, Pool2d};
use std::ops::Range;

/// The calls that are computed together, and the rows of a band.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::plan) struct Bands {
    /// The rows of the last output.
    rows: usize,
    /// The floats of each of the other outputs that are present at a time.
    lens: Vec<usize>,
}

/// A value between two calls of more floats is computed in bands: half of a core's cache.
const LARGE: usize = 1 << 17;
/// The floats of a band of the last value between two calls.
const BAND: usize = 1 << 16;

/// Measures a part of the work of a call, by its place among those that are computed together.
pub(super) type Time<'a> = dyn FnMut(usize, &mut dyn FnMut()) + 'a;

/// A call that computes some rows of its output at a time.
pub(super) struct Rows {
    window: Window,
    /// The number of rows of its output whose multiples take the least time.
    at_a_time: usize,
    /// Whether a band may begin with it.
    begins: bool,
}

impl Rows {
    /// The rows of `work` for `images` channels-last images without a residual, if its kernel computes some at a time.
    pub fn of(packer: &Packer, work: &Work, images: usize) -> Option<Self> {
        match work {
            Work::Conv2d(conv) => {
                let window = Window::Conv2d(Conv2d { n: images, ..conv.g });
                Some(Self { window, at_a_time: packer.rows_at_a_time(conv)?, begins: true })
            }
            Work::Plain(Plain::Pool(pooling)) => {
                let window = Window::MaxPool(Pool2d { n: images, ..*pool_of(pooling)? });
                Some(Self { window, at_a_time: 1, begins: false })
            }
            _ => None,
        }
    }
}

impl Bands {
    /// The bands of the first of `calls`, each the only reader of the one before, and of the others that read a large value.
    pub(super) fn of(calls: impl Iterator<Item = Rows>) -> Option<Self> {
        let mut calls = calls.peekable();
        let first = calls.next_if(|first| first.begins)?;
        let (mut windows, mut at_a_time, mut rows) = (vec![first.window], first.at_a_time, 0);
        for call in calls {
            let ([n, h, w, c], stride) = (call.window.x(), call.window.stride());
            if n * h * w * c <= LARGE {
                break;
            }
            // A whole number of tiles of what is read.
            let tiles = (1..).find(|rows| (rows * stride).is_multiple_of(at_a_time)).unwrap_or(1);
            rows = (BAND / (w * c * stride)).max(1).next_multiple_of(tiles);
            at_a_time = call.at_a_time;
            windows.push(call.window);
        }
        (windows.len() > 1).then(|| {
            let mut lens = vec![0; windows.len() - 1];
            for_each_band(&windows, rows, |band, _| {
                for (i, len) in lens.iter_mut().enumerate() {
                    *len = band.rows[i].len().max(*len);
                }
            });
            lens.iter_mut().zip(&windows).for_each(|(len, window)| *len *= window.row());
            Self { rows, lens }
        })
    }

    /// The number of calls.
    pub fn calls(&self) -> usize {
        self.lens.len() + 1
    }

    /// The floats of each output but the last that are present at a time.
    pub(super) fn lens(&self) -> &[usize] {
        &self.lens
    }

    /// The rows of the last output of a band.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Computes the output of the last of `calls` in the arena. Those of the others are left unspecified.
    pub(super) fn run(
        &self,
        cpu: &Cpu,
        calls: &[Call],
        images: &[f32],
        arena: &mut [u8],
        time: &mut Time<'_>,
    ) {
        let stages: Vec<Stage> = calls.iter().map(|call| call.stage().expect("calls compute rows")).collect();
        let windows: Vec<Window> = stages.iter().map(Stage::window).collect();
        let ([n, h, w, c], last) = (windows[0].x(), calls.len() - 1);
        for image in 0..n {
            for_each_band(&windows, self.rows, |band, present| {
                for (i, (stage, call)) in stages.iter().zip(calls).enumerate() {
                    time(i, &mut || {
                        let (values, y) = Values::around(images, arena, &call.output);
                        let (x, row) = (call.input(&values), windows[i].row());
                        let (x, first) = match i {
                            0 => (&x[image * h * w * c..][..h * w * c], 0),
                            _ => (x, band.rows[i - 1].start),
                        };
                        let y = match present.get(i) {
                            Some(present) => band.keep(i, present, row, y),
                            None => &mut y[(image * windows[last].height() + band.new[last].start) * row..],
                        };
                        let rows = band.new[i].clone();
                        if !rows.is_empty() {
                            let y = &mut y[..rows.len() * row];
                            stage.run(cpu, rows, (x, first), y);
                        }
                    });
                }
            });
        }
    }
}

/// Calls `visit(band, present)` for each band of `rows` last rows of an image; `present` are the rows of the other outputs that
/// the band before has left.
fn for_each_band(windows: &[Window], rows: usize, mut visit: impl FnMut(&Band, &[Range<usize>])) {
    let last = windows.len() - 1;
    let (height, mut present) = (windows[last].height(), vec![0..0; last]);
    for start in (0..height).step_by(rows) {
        let band = Band::new(windows, &present, start..(start + rows).min(height));
        visit(&band, &present);
        present.clone_from_slice(&band.rows[..last]);
    }
}

/// The rows of the output of each call that a band reads.
struct Band {
    rows: Vec<Range<usize>>,
    /// Those that were not present.
    new: Vec<Range<usize>>,
}

impl Band {
    /// The band of the last rows `rows`, after a band that left the rows `present` of the other outputs.
    fn new(windows: &[Window], present: &[Range<usize>], rows: Range<usize>) -> Self {
        let (mut all, mut new) = (vec![rows.clone()], vec![rows]);
        for (reader, present) in windows.iter().skip(1).zip(present).rev() {
            let written = &new[new.len() - 1];
            let read = if written.is_empty() { present.clone() } else { reader.rows_read(written.clone()) };
            let from = present.end.clamp(read.start, read.end);
            new.push(from..read.end);
            all.push(read);
        }
        all.reverse();
        new.reverse();
        Self { rows: all, new }
    }

    /// Moves the rows of output `i` that are `present` and read again to the start of `y`, and returns what follows them.
    fn keep<'a>(&self, i: usize, present: &Range<usize>, row: usize, y: &'a mut [f32]) -> &'a mut [f32] {
        let kept = self.rows[i].start..self.new[i].start;
        if !kept.is_empty() {
            let at = (kept.start - present.start) * row;
            y.copy_within(at..at + kept.len() * row, 0);
        }
        &mut y[kept.len() * row..]
    }
}

/// The windows in which a call reads its input.
#[derive(Clone, Copy)]
enum Window {
    Conv2d(Conv2d),
    MaxPool(Pool2d),
}

impl Window {
    /// The shape of the input.
    fn x(&self) -> [usize; 4] {
        match self {
            Self::Conv2d(g) => g.x_shape(),
            Self::MaxPool(g) => [g.n, g.h, g.w, g.c],
        }
    }

    /// The rows of the input between two windows.
    fn stride(&self) -> usize {
        match self {
            Self::Conv2d(g) => g.stride[0],
            Self::MaxPool(g) => g.stride[0],
        }
    }

    /// The height of the output.
    fn height(&self) -> usize {
        match self {
            Self::Conv2d(g) => g.oh(),
            Self::MaxPool(g) => g.oh(),
        }
    }

    /// The length of a row of the output.
    fn row(&self) -> usize {
        match self {
            Self::Conv2d(g) => g.ow() * g.o,
            Self::MaxPool(g) => g.ow() * g.c,
        }
    }

    /// The rows of the input that the output rows `rows` read.
    fn rows_read(&self, rows: Range<usize>) -> Range<usize> {
        match self {
            Self::Conv2d(g) => g.rows_read(rows),
            Self::MaxPool(g) => {
                let first = (rows.start * g.stride[0]).saturating_sub(g.padding[0]);
                first..(rows.end - 1) * g.stride[0] + g.kernel[0] - g.padding[0]
            }
        }
    }
}

/// A call that computes some rows of an image's output from those of its input.
enum Stage<'a> {
    Conv2d { g: &'a Conv2d, w: &'a PackedConv2d, epilogue: Epilogue<'a> },
    MaxPool(&'a Pool2d),
}

impl Stage<'_> {
    fn window(&self) -> Window {
        match self {
            Self::Conv2d { g, .. } => Window::Conv2d(**g),
            Self::MaxPool(g) => Window::MaxPool(**g),
        }
    }

    /// Computes the output rows `rows` of an image from `x`, which begins with row `first` of its input.
    fn run(&self, cpu: &Cpu, rows: Range<usize>, (x, first): (&[f32], usize), y: &mut [f32]) {
        match self {
            Self::Conv2d { g, w, epilogue } => {
                conv2d_forward_rows(cpu, &Conv2d { n: 1, ..**g }, rows, (x, first), w, epilogue, y);
            }
            Self::MaxPool(g) => {
                let read = self.window().rows_read(rows.clone());
                // Only the first window reaches into the padding, as `pool_of` requires.
                let top = if rows.start == 0 { g.padding[0] } else { 0 };
                let band = Pool2d { n: 1, h: read.len(), padding: [top, g.padding[1]], ..**g };
                let x = &x[(read.start - first) * g.w * g.c..][..read.len() * g.w * g.c];
                max_pool2d_forward(cpu, &band, x, y);
            }
        }
    }
}

/// The geometry of a max pool whose bands are pools of smaller images: windows reach into the padding above the image, but
/// neither into that below nor beyond, and all of them begin above the padding's end.
fn pool_of(pooling: &Pooling) -> Option<&Pool2d> {
    let g = pooling.max_of_fixed()?;
    let last = (g.oh() - 1) * g.stride[0] + g.kernel[0];
    (!g.ceil_mode && g.padding[0] < g.stride[0] && last <= g.h + g.padding[0]).then_some(g)
}

impl Call {
    /// The call, if it computes some rows at a time. A convolution's images are channels-last, and it adds no residual.
    fn stage(&self) -> Option<Stage<'_>> {
        match &self.kernel {
            Kernel::Plain(Plain::Pool(pooling)) => pool_of(pooling).map(Stage::MaxPool),
            Kernel::Conv2d(g, w, bias, _) => {
                let bias = bias.as_ref().map(Tensor::data);
                let epilogue = Epilogue { bias, residual: None, activation: self.activation() };
                Some(Stage::Conv2d { g, w: w.as_ref(), epilogue })
            }
            _ => None,
        }
    }
}
