//! A pair of calls that are computed band by band: a convolution, and the depthwise convolution or the pool that reads it.
//!
//! ```text
//!   x  [H, W, C]        expand, 1×1            mid  [band + 2, W, 6·C]     depthwise, 3×3        y  [band, W, 6·C]
//!   rows 7 … 14   ───────────────────►  rows 5, 6 │ 7 … 14     ───────────────────►   rows 6 … 13
//!                                        of the    new
//!                                        last band
//! ```
//!
//! The expansion of an inverted residual block is the largest value of its network, and has one reader, as has the output of
//! a ResNet's first layer. In bands, such a value stays in the cache of the core although that of an image does not. The rows
//! that two bands share are moved, so that nothing is computed twice; the bits are those of whole images.

use super::call::{Call, Values};
use super::kernel::Kernel;
use crate::Tensor;
use crate::autograd::ops::Pooling;
use crate::plan::work::Plain;
use lopper_kernels::cpu::{
    Cpu, Epilogue, ImageLayouts, PackedConv2d, conv2d_depthwise_rows, conv2d_forward_packed,
    conv2d_forward_rows, max_pool2d_forward,
};
use lopper_kernels::shapes::{Conv2d, Pool2d};
use std::ops::Range;

/// The rows of outputs of a band.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bands(usize);

/// A value between the two of more floats is computed in bands: half of a core's cache.
const LARGE: usize = 1 << 17;
/// The floats of a band of this value.
const BAND: usize = 1 << 16;

/// Measures a part of the work of a call: `0` is the first call of the pair, `1` the second.
pub(super) type Time<'a> = dyn FnMut(usize, &mut dyn FnMut()) + 'a;

impl Bands {
    /// The bands of `first` and `second`, the only reader of its output, if that is large and both compute some rows at a
    /// time.
    pub fn of(first: &Call, second: &Call) -> Option<Self> {
        let (_, reader) = (first.rows_of_outputs()?, second.reader()?);
        let ([n, h, w, c], [kernel, stride]) = reader.geometry();
        if n * h * w * c <= LARGE {
            return None;
        }
        let read = (BAND / (w * c)).max(kernel);
        Some(Self((read - kernel) / stride + 1))
    }

    /// The rows of outputs of a band.
    pub fn rows(self) -> usize {
        self.0
    }

    /// Computes the output of `second` in the arena. The output of `first` is left unspecified.
    pub fn run(
        self,
        cpu: &Cpu,
        [first, second]: [&Call; 2],
        images: &[f32],
        arena: &mut [u8],
        time: &mut Time<'_>,
    ) {
        let writer = first.rows_of_outputs().expect("the first call computes rows");
        let reader = second.reader().expect("the second call reads rows");
        let ([n, ..], height) = (reader.geometry().0, reader.height());
        for image in 0..n {
            let mut present = 0..0;
            for start in (0..height).step_by(self.0) {
                let rows = start..(start + self.0).min(height);
                let read = reader.rows_read(rows.clone());
                time(0, &mut || {
                    let (values, mid) = Values::around(images, arena, &first.output);
                    writer.fill(cpu, image, first.input(&values), [&present, &read], mid);
                });
                time(1, &mut || {
                    let (values, y) = Values::around(images, arena, &second.output);
                    reader.run(cpu, (image, rows.clone()), (second.input(&values), &read), y);
                });
                present = read;
            }
        }
    }
}

/// A convolution that computes some rows of its output at a time.
struct Writer<'a> {
    g: &'a Conv2d,
    w: &'a PackedConv2d,
    epilogue: Epilogue<'a>,
}

impl Writer<'_> {
    /// Fills `mid` with the rows `read` of an image: moves those that are `present` from the last band, and computes the
    /// others.
    fn fill(&self, cpu: &Cpu, image: usize, x: &[f32], [present, read]: [&Range<usize>; 2], mid: &mut [f32]) {
        let (g, row) = (self.g, self.g.ow() * self.g.o);
        let from = read.start.clamp(present.start, present.end);
        let kept = present.end.min(read.end).saturating_sub(from);
        let at = (from - present.start) * row;
        mid.copy_within(at..at + kept * row, 0);
        let new = read.start + kept..read.end;
        if new.is_empty() {
            return;
        }
        let y = &mut mid[kept * row..][..new.len() * row];
        let x = &x[image * g.h * g.w * g.c..][..g.h * g.w * g.c];
        if self.w.computes_output_rows() {
            return conv2d_forward_rows(cpu, &Conv2d { n: 1, ..*g }, new, x, self.w, &self.epilogue, y);
        }
        // A kernel of one pixel computes an image of these rows.
        let band = Conv2d { n: 1, h: new.len(), ..*g };
        let x = &x[new.start * g.w * g.c..][..band.x_len()];
        conv2d_forward_packed(cpu, &band, x, self.w, &self.epilogue, y);
    }
}

/// A call that computes some rows from those of its input.
enum Reader<'a> {
    Depthwise(Writer<'a>),
    MaxPool(&'a Pool2d),
}

impl Reader<'_> {
    /// The shape of the input, and the height and the step of windows.
    fn geometry(&self) -> ([usize; 4], [usize; 2]) {
        match self {
            Self::Depthwise(Writer { g, .. }) => (g.x_shape(), [g.kh, g.stride[0]]),
            Self::MaxPool(g) => ([g.n, g.h, g.w, g.c], [g.kernel[0], g.stride[0]]),
        }
    }

    /// The height of the output.
    fn height(&self) -> usize {
        match self {
            Self::Depthwise(Writer { g, .. }) => g.oh(),
            Self::MaxPool(g) => g.oh(),
        }
    }

    /// The rows of the input that the output rows `rows` read.
    fn rows_read(&self, rows: Range<usize>) -> Range<usize> {
        match self {
            Self::Depthwise(Writer { g, .. }) => g.rows_read(rows),
            Self::MaxPool(g) => {
                let first = (rows.start * g.stride[0]).saturating_sub(g.padding[0]);
                first..(rows.end - 1) * g.stride[0] + g.kernel[0] - g.padding[0]
            }
        }
    }

    /// Computes the output rows `rows` of an image from those that they read, which are the start of `x`.
    fn run(
        &self,
        cpu: &Cpu,
        (image, rows): (usize, Range<usize>),
        (x, read): (&[f32], &Range<usize>),
        y: &mut [f32],
    ) {
        match self {
            Self::Depthwise(Writer { g, w, epilogue }) => {
                let row = g.ow() * g.o;
                let y = &mut y[(image * g.oh() + rows.start) * row..][..rows.len() * row];
                let x = (&x[..read.len() * g.w * g.c], read.start);
                conv2d_depthwise_rows(cpu, &Conv2d { n: 1, ..**g }, rows, x, w, epilogue, y);
            }
            Self::MaxPool(g) => {
                // Only the first window reaches into the padding, as `pool_of` requires.
                let top = if rows.start == 0 { g.padding[0] } else { 0 };
                let band = Pool2d { n: 1, h: read.len(), padding: [top, g.padding[1]], ..**g };
                let row = g.ow() * g.c;
                let y = &mut y[(image * g.oh() + rows.start) * row..][..rows.len() * row];
                max_pool2d_forward(cpu, &band, &x[..read.len() * g.w * g.c], y);
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
    /// The convolution that the call computes, if its images are channels-last and it adds no residual.
    fn convolution(&self) -> Option<Writer<'_>> {
        match &self.kernel {
            Kernel::Conv2d(g, w, bias, around) if *around == ImageLayouts::default() && !self.adds() => {
                let bias = bias.as_ref().map(Tensor::data);
                let epilogue = Epilogue { bias, residual: None, activation: self.activation() };
                Some(Writer { g, w: w.as_ref(), epilogue })
            }
            _ => None,
        }
    }

    /// The same convolution, if it computes some rows of its output at a time.
    fn rows_of_outputs(&self) -> Option<Writer<'_>> {
        let writer = self.convolution()?;
        let Conv2d { kh, kw, stride, groups, padding, extra_padding, .. } = *writer.g;
        let pixels = [kh, kw, stride[0], stride[1], groups] == [1; 5];
        let pixels = pixels && padding == [0; 2] && extra_padding == [0; 2];
        (pixels || writer.w.computes_output_rows()).then_some(writer)
    }

    /// The call, if it computes some rows from those of its input.
    fn reader(&self) -> Option<Reader<'_>> {
        if let Kernel::Plain(Plain::Pool(pooling)) = &self.kernel {
            return pool_of(pooling).map(Reader::MaxPool);
        }
        let writer = self.convolution()?;
        writer.w.computes_rows(writer.g).then_some(Reader::Depthwise(writer))
    }
}
