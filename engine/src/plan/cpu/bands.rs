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

/// The calls that are computed together, and the bands in which they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::plan) struct Bands {
    /// The number of images, and the floats of each in the first input and in the last output.
    images: usize,
    ends: [usize; 2],
    outputs: Vec<Output>,
    /// The rows of each output, for each band of an image.
    bands: Vec<Vec<Band>>,
}

/// The output of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Output {
    /// The floats of a row.
    row: usize,
    /// The most rows that are present at a time.
    rows: usize,
}

/// The rows of an output that are present at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Band {
    rows: Range<usize>,
    /// Where the first of them was in the band before, if it was there.
    moved: usize,
    /// Those that the band before has not left.
    new: Range<usize>,
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
    pub(super) fn of<'a>(mut calls: impl Iterator<Item = &'a Rows>) -> Option<Self> {
        let first = calls.next().filter(|first| first.begins)?;
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
        (windows.len() > 1).then(|| Self::in_bands_of(rows, &windows))
    }

    /// The bands of `rows` rows of the last of `windows`.
    fn in_bands_of(rows: usize, windows: &[Window]) -> Self {
        let last = windows.len() - 1;
        let height = windows[last].height();
        let mut bands: Vec<Vec<Band>> = Vec::new();
        for start in (0..height).step_by(rows) {
            let before = bands.last().map(Vec::as_slice);
            let band = Band::of(windows, before, start..(start + rows).min(height));
            bands.push(band);
        }
        let most = |i: usize| bands.iter().map(|band| band[i].rows.len()).max().unwrap_or(0);
        let output = |(i, window): (usize, &Window)| Output { row: window.row(), rows: most(i) };
        let outputs = windows.iter().enumerate().map(output).collect();
        let [n, h, w, c] = windows[0].x();
        Self { images: n, ends: [h * w * c, height * windows[last].row()], outputs, bands }
    }

    /// The number of calls.
    pub fn calls(&self) -> usize {
        self.outputs.len()
    }

    /// The floats of each output but the last that are present at a time.
    pub fn lens(&self) -> impl Iterator<Item = usize> {
        self.outputs[..self.outputs.len() - 1].iter().map(|output| output.row * output.rows)
    }

    /// The rows of the last output of a band.
    pub fn rows(&self) -> usize {
        self.outputs.last().map_or(0, |output| output.rows)
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
        for (image, band) in
            (0..self.images).flat_map(|image| self.bands.iter().map(move |band| (image, band)))
        {
            for (i, call) in calls.iter().enumerate() {
                let (Output { row, .. }, Band { rows, moved, new }) = (&self.outputs[i], &band[i]);
                time(i, &mut || {
                    let (values, y) = Values::around(images, arena, &call.output);
                    let (x, first) = match i {
                        0 => (&call.input(&values)[image * self.ends[0]..][..self.ends[0]], 0),
                        _ => (call.input(&values), band[i - 1].rows.start),
                    };
                    let kept = new.start - rows.start;
                    let y = if i + 1 == calls.len() {
                        &mut y[image * self.ends[1] + new.start * row..]
                    } else {
                        y.copy_within(moved * row..(moved + kept) * row, 0);
                        &mut y[kept * row..]
                    };
                    if !new.is_empty() {
                        let stage = call.stage().expect("the call computes rows");
                        stage.run(cpu, new.clone(), (x, first), &mut y[..new.len() * row]);
                    }
                });
            }
        }
    }
}

impl Band {
    /// The rows of each output in the band of the last rows `rows`, after the band `before` of the same image.
    fn of(windows: &[Window], before: Option<&[Self]>, rows: Range<usize>) -> Vec<Self> {
        let mut band = vec![Self { new: rows.clone(), moved: 0, rows }];
        for (i, reader) in windows.iter().enumerate().skip(1).rev() {
            let present = before.map_or(0..0, |before| before[i - 1].rows.clone());
            let written = &band[band.len() - 1].new;
            let rows = if written.is_empty() { present.clone() } else { reader.rows_read(written.clone()) };
            let new = present.end.clamp(rows.start, rows.end)..rows.end;
            let moved = if new.start > rows.start { rows.start - present.start } else { 0 };
            band.push(Self { rows, moved, new });
        }
        band.reverse();
        band
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
    /// Computes the output rows `rows` of an image from `x`, which begins with row `first` of its input.
    fn run(&self, cpu: &Cpu, rows: Range<usize>, (x, first): (&[f32], usize), y: &mut [f32]) {
        match self {
            Self::Conv2d { g, w, epilogue } => {
                conv2d_forward_rows(cpu, &Conv2d { n: 1, ..**g }, rows, (x, first), w, epilogue, y);
            }
            Self::MaxPool(g) => {
                let read = Window::MaxPool(**g).rows_read(rows.clone());
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
