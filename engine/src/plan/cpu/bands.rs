//! A pair of convolutions that are computed band by band: pixels, and the depthwise 3×3 convolution that reads them.
//!
//! ```text
//!   x  [H, W, C]        expand, 1×1            mid  [band + 2, W, 6·C]     depthwise, 3×3        y  [band, W, 6·C]
//!   rows 7 … 14   ───────────────────►  rows 5, 6 │ 7 … 14     ───────────────────►   rows 6 … 13
//!                                        of the    new
//!                                        last band
//! ```
//!
//! The expansion of an inverted residual block is the largest value of its network, and has one reader. In bands it stays in the
//! cache of the core although that of an image does not. The rows that two bands share are moved, so that nothing is
//! computed twice; the bits are those of whole images.

use super::call::{Call, Values};
use super::kernel::Kernel;
use lopper_kernels::cpu::{
    Cpu, Epilogue, ImageLayouts, PackedConv2d, conv2d_depthwise_rows, conv2d_forward_packed,
};
use lopper_kernels::shapes::Conv2d;
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
        let ((g, _), (depthwise, w)) = (first.convolution()?, second.convolution()?);
        let pointwise = [g.kh, g.kw, g.stride[0], g.stride[1], g.groups] == [1; 5];
        let padded = g.padding != [0; 2] || g.extra_padding != [0; 2];
        let row = depthwise.w * depthwise.c;
        if !pointwise || padded || !w.computes_rows(depthwise) || depthwise.n * depthwise.h * row <= LARGE {
            return None;
        }
        let read = (BAND / row).max(depthwise.kh);
        Some(Self((read - depthwise.kh) / depthwise.stride[0] + 1))
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
        let (g, _) = second.convolution().expect("the second call is a depthwise convolution");
        for image in 0..g.n {
            let mut present = 0..0;
            for start in (0..g.oh()).step_by(self.0) {
                let rows = start..(start + self.0).min(g.oh());
                let read = g.rows_read(rows.clone());
                time(0, &mut || Pixels { call: first, image, read: &read }.run(cpu, &present, images, arena));
                time(1, &mut || depthwise_rows(cpu, second, (image, rows.clone()), &read, (images, &mut *arena)));
                present = read;
            }
        }
    }
}

/// The rows of an image's pixels that a band reads.
struct Pixels<'a> {
    call: &'a Call,
    image: usize,
    read: &'a Range<usize>,
}

impl Pixels<'_> {
    /// Moves the rows that are `present` from the last band to the start of the value, and computes the others.
    fn run(&self, cpu: &Cpu, present: &Range<usize>, images: &[f32], arena: &mut [u8]) {
        let (call, read) = (self.call, self.read);
        let (g, w) = call.convolution().expect("the first call is a convolution");
        let (values, mid) = Values::around(images, arena, &call.output);
        let (row, from) = (g.w * g.o, read.start.clamp(present.start, present.end));
        let kept = present.end.min(read.end).saturating_sub(from);
        let at = (from - present.start) * row;
        mid.copy_within(at..at + kept * row, 0);
        let new = read.start + kept..read.end;
        if new.is_empty() {
            return;
        }
        let band = Conv2d { n: 1, h: new.len(), ..*g };
        let x = &call.input(&values)[(self.image * g.h + new.start) * g.w * g.c..][..band.x_len()];
        let y = &mut mid[kept * row..][..band.y_len()];
        conv2d_forward_packed(cpu, &band, x, w, &call.epilogue(), y);
    }
}

/// Computes the output rows `rows` of an image from those that they read.
fn depthwise_rows(
    cpu: &Cpu,
    call: &Call,
    (image, rows): (usize, Range<usize>),
    read: &Range<usize>,
    (images, arena): (&[f32], &mut [u8]),
) {
    let (g, w) = call.convolution().expect("the second call is a convolution");
    let (values, y) = Values::around(images, arena, &call.output);
    let row = g.ow() * g.o;
    let y = &mut y[(image * g.oh() + rows.start) * row..][..rows.len() * row];
    let x = (&call.input(&values)[..read.len() * g.w * g.c], read.start);
    conv2d_depthwise_rows(cpu, &Conv2d { n: 1, ..*g }, rows, x, w, &call.epilogue(), y);
}

impl Call {
    /// The convolution that the call computes, if its images are channels-last and it adds no residual.
    fn convolution(&self) -> Option<(&Conv2d, &PackedConv2d)> {
        match &self.kernel {
            Kernel::Conv2d(g, w, _, around) if *around == ImageLayouts::default() && !self.adds() => {
                Some((g, w.as_ref()))
            }
            _ => None,
        }
    }

    /// The epilogue of a convolution that adds no residual.
    fn epilogue(&self) -> Epilogue<'_> {
        let Kernel::Conv2d(_, _, bias, _) = &self.kernel else { return Epilogue::default() };
        let bias = bias.as_ref().map(crate::Tensor::data);
        Epilogue { bias, residual: None, activation: self.activation() }
    }
}
