//! Operations that move channels: concatenation and the parameter-free residual shortcut. The buffers of one call
//! share one type, which may be any.

use crate::cuda::driver::Result;
use crate::cuda::driver::launch::{Arg, Grid};
use crate::cuda::driver::source::CHANNELS;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::Dtype;
use crate::shapes::PadShortcut;
use bytemuck::NoUninit;

/// Concatenates along channels: part `i` is `(x, c)` with `x` `[rows, c]`, and `y` is `[rows, Σ c]`.
pub fn concat_forward(
    cuda: &Cuda,
    rows: usize,
    parts: &[(&DeviceBuffer, usize)],
    y: &mut DeviceBuffer,
) -> Result<()> {
    let width: usize = parts.iter().map(|(_, c)| c).sum();
    assert_eq!(y.len(), rows * width);
    assert!(
        parts.iter().all(|(x, c)| (x.len(), x.dtype()) == (rows * c, y.dtype())),
        "a part is not [rows, c]"
    );
    let mut start = 0;
    for &(x, c) in parts {
        // SAFETY: channels `0..c` of rows of width `c` go to `start..start + c` of rows of `width` (asserted).
        unsafe { copy(cuda, rows, c, y.dtype(), (x.into(), c, 0), (Arg::from(&mut *y), width, start)) }?;
        start += c;
    }
    Ok(())
}

/// The gradient of [`concat_forward`]: splits `dy` `[rows, Σ c]` into its parts.
pub fn split_channels(
    cuda: &Cuda,
    rows: usize,
    dy: &DeviceBuffer,
    parts: &mut [(&mut DeviceBuffer, usize)],
) -> Result<()> {
    let width: usize = parts.iter().map(|(_, c)| *c).sum();
    assert_eq!(dy.len(), rows * width);
    assert!(
        parts.iter().all(|(x, c)| (x.len(), x.dtype()) == (rows * c, dy.dtype())),
        "a part is not [rows, c]"
    );
    let mut start = 0;
    for (dx, c) in parts {
        // SAFETY: channels `start..start + c` of rows of `width` go to `0..c` of rows of width `c` (asserted).
        unsafe {
            copy(cuda, rows, *c, dy.dtype(), (dy.into(), width, start), (Arg::from(&mut **dx), *c, 0))
        }?;
        start += *c;
    }
    Ok(())
}

/// Takes every `stride`-th pixel and adds zero channels before and after: `y[n,i,j,before+c] = x[n, i·s, j·s, c]`.
pub fn pad_shortcut_forward(
    cuda: &Cuda,
    g: &PadShortcut,
    x: &DeviceBuffer,
    y: &mut DeviceBuffer,
) -> Result<()> {
    assert_eq!((x.len(), y.len(), x.dtype()), (g.x_len(), g.y_len(), y.dtype()));
    let (geometry, unit) = Shortcut::of(g, y.dtype());
    let grid = Grid::over(y.len() * y.dtype().bytes() / unit);
    let args = [unit.into(), (&geometry).into(), x.into(), y.into()];
    // SAFETY: the buffers are the geometry's images (asserted), and their rows consist of whole units.
    unsafe { cuda.launch(&CHANNELS, "pad_shortcut_forward", grid, &args) }
}

/// The gradient of [`pad_shortcut_forward`]; it is zero for pixels and channels that were not copied.
pub fn pad_shortcut_input_grad(
    cuda: &Cuda,
    g: &PadShortcut,
    dy: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    assert_eq!((dx.len(), dy.len(), dx.dtype()), (g.x_len(), g.y_len(), dy.dtype()));
    let (geometry, unit) = Shortcut::of(g, dx.dtype());
    let grid = Grid::over(dx.len() * dx.dtype().bytes() / unit);
    let args = [unit.into(), (&geometry).into(), dy.into(), dx.into()];
    // SAFETY: the buffers are the geometry's images (asserted), and their rows consist of whole units.
    unsafe { cuda.launch(&CHANNELS, "pad_shortcut_input_grad", grid, &args) }
}

/// [`PadShortcut`] with its channels counted in units (`Shortcut` in `channels.cu`).
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Shortcut {
    n: u32,
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
    stride: u32,
    c: u32,
    before: u32,
    width: u32,
}

impl Shortcut {
    /// The geometry for a launch, and the bytes per unit.
    fn of(g: &PadShortcut, dtype: Dtype) -> ([Self; 1], usize) {
        let unit = unit(dtype, &[g.c, g.before, g.after]);
        let units = |channels: usize| int(channels * dtype.bytes() / unit);
        let [_, oh, ow, width] = g.y_shape();
        let geometry = Self {
            n: int(g.n),
            h: int(g.h),
            w: int(g.w),
            oh: int(oh),
            ow: int(ow),
            stride: int(g.stride),
            c: units(g.c),
            before: units(g.before),
            width: units(width),
        };
        ([geometry], unit)
    }
}

/// Copies `c` channels of each row between two `(buffer, row width, first channel)`.
///
/// # Safety
/// Both buffers must be matrices of `rows` rows of `dtype`, of the given widths, and their rows must hold those
/// channels.
unsafe fn copy(
    cuda: &Cuda,
    rows: usize,
    c: usize,
    dtype: Dtype,
    (from, from_width, from_start): (Arg, usize, usize),
    (to, to_width, to_start): (Arg, usize, usize),
) -> Result<()> {
    let unit = unit(dtype, &[c, from_width, from_start, to_width, to_start]);
    let units = |channels: usize| Arg::from(channels * dtype.bytes() / unit);
    let args = [
        unit.into(),
        Arg::from(rows as u64),
        units(c),
        from,
        units(from_width),
        units(from_start),
        to,
        units(to_width),
        units(to_start),
    ];
    let grid = Grid::over(rows * (c * dtype.bytes() / unit));
    // SAFETY: one thread per unit; the caller guarantees that the units exist.
    unsafe { cuda.launch(&CHANNELS, "copy_channels", grid, &args) }
}

/// The largest unit, in bytes, that divides each of these numbers of channels.
fn unit(dtype: Dtype, channels: &[usize]) -> usize {
    let divides = |unit: &usize| channels.iter().all(|c| (c * dtype.bytes()).is_multiple_of(*unit));
    [16, 4].into_iter().find(divides).unwrap_or(2)
}

fn int(size: usize) -> u32 {
    u32::try_from(size).expect("a size below 2³²")
}
