//! Convolution on tensor cores.

use super::{Kernels, Output, Plan, Slices, Tile, Windows, grades, sum_slices};
use crate::cuda::error::Result;
use crate::cuda::launch::{Arg, Grid};
use crate::cuda::source::CONV2D_MMA;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::params::{Activation, Dtype};
use crate::shapes::Conv2d;
use bytemuck::{Pod, Zeroable};

const FORWARD: Kernels = Kernels {
    tiles: &[
        (Tile::Square128, grades!("conv2d_mma_forward", "_128x128")),
        (Tile::Tall128, grades!("conv2d_mma_forward", "_128x64")),
        (Tile::Square64, grades!("conv2d_mma_forward", "_64x64")),
    ],
    any: grades!("conv2d_mma_forward", "_any"),
};

const WEIGHT_GRAD: Kernels = Kernels {
    tiles: &[
        (Tile::Square128, grades!("conv2d_mma_weight_grad", "_128x128")),
        (Tile::Square64, grades!("conv2d_mma_weight_grad", "_64x64")),
    ],
    any: grades!("conv2d_mma_weight_grad", "_any"),
};

/// `y = activation(x ∗ w + bias + residual)`: `x` `[N, H, W, C]`, `w` `[O, KH, KW, C]`, `bias` `[O]` f32, `residual` and
/// `y` `[N, OH, OW, O]`; all but the bias of one floating-point type. One group.
pub fn conv2d_forward(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    conv2d_forward_planned(cuda, forward_plan(cuda, g, x.dtype()), g, x, w, epilogue, y)
}

/// Whether `g` has so few tiles that [`conv2d_forward`] shares each of them among at least four blocks of `cuda`.
pub fn shares_tiles(cuda: &Cuda, g: &Conv2d, dtype: Dtype) -> bool {
    forward_plan(cuda, g, dtype).slices >= 4
}

fn forward_plan(cuda: &Cuda, g: &Conv2d, dtype: Dtype) -> Plan {
    FORWARD.plan(cuda, [g.n * g.oh() * g.ow(), g.o, g.kh * g.kw * g.c], dtype)
}

/// [`conv2d_forward`] by a plan of the caller's; channels that are not made of whole vectors have a tile of their own.
pub fn conv2d_forward_planned(
    cuda: &Cuda,
    plan: Plan,
    g: &Conv2d,
    x: &DeviceBuffer,
    w: &DeviceBuffer,
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    check(g, x, w, y);
    assert_eq!((w.dtype(), y.dtype()), (x.dtype(), x.dtype()), "input, weight and output of one type");
    epilogue.check(g.o, y);
    let output = Output::dense(y.len() / g.o, g.o, epilogue.activation, y);
    launch_forward(cuda, plan, forward_windows(g), output, [x, w], epilogue, y)
}

/// The windows of `g` over its input.
pub(super) fn forward_windows(g: &Conv2d) -> Windows {
    let [stride, dilation] = [g.stride, g.dilation].map(|pair| pair.map(|n| n as i32));
    let origin = g.padding.map(|p| -(p as i32));
    Windows::new(g.x_shape(), [g.oh(), g.ow()], [g.kh, g.kw], [stride, origin, dilation])
}

/// Multiplies the windows of `x` by filters `w`, which lie tap by tap.
fn launch_forward(
    cuda: &Cuda,
    plan: Plan,
    windows: Windows,
    output: Output,
    [x, w]: [&DeviceBuffer; 2],
    epilogue: &Epilogue,
    y: &mut DeviceBuffer,
) -> Result<()> {
    let vectors = (windows.channels as usize).is_multiple_of(x.dtype().lanes());
    let (kernel, tile) = FORWARD.choose(x.dtype(), vectors, plan.tile);
    let slices = Slices::at_most(plan.slices, (windows.taps * windows.channels) as usize, x.dtype());
    let grid = tile.grid(output.rows as usize, output.columns as usize, slices.count);
    let windows = [windows];
    sum_slices(cuda, slices.count, output, epilogue, y, |output, epilogue, y| {
        let output = [output];
        let args = [
            (&windows).into(),
            x.into(),
            w.into(),
            epilogue.bias.into(),
            epilogue.residual.into(),
            y.into(),
            (&output).into(),
            slices.len.into(),
        ];
        // SAFETY: windows end at the image's edge and filters at the last; rows and columns of the output are below
        // its own, for each slice of the grid. The buffers have the lengths of their shapes (the callers').
        unsafe { cuda.launch(&CONV2D_MMA, kernel, grid, &args) }
    })
}

/// The gradient of the weight: `dw[o, kh, kw, c] = Σ x·dy` over the pixels. `x` and `dy` of one floating-point type,
/// shapes as for [`conv2d_forward`]; `dw` `[O, KH, KW, C]` f32. One group.
pub fn conv2d_weight_grad(
    cuda: &Cuda,
    g: &Conv2d,
    x: &DeviceBuffer,
    dy: &DeviceBuffer,
    dw: &mut DeviceBuffer,
) -> Result<()> {
    check(g, x, dw, dy);
    assert_eq!(
        (dy.dtype(), dw.dtype()),
        (x.dtype(), Dtype::F32),
        "input and gradient of one type, weight f32"
    );
    let (k, lanes) = (dw.len() / g.o, x.dtype().lanes());
    let vectors = g.c.is_multiple_of(lanes) && g.o.is_multiple_of(lanes);
    // The slices share the multiprocessors too, so a large tile is worth having whenever it is full.
    let tile = if g.o > 64 && k > 64 { Tile::Square128 } else { Tile::Square64 };
    let (kernel, tile) = WEIGHT_GRAD.choose(x.dtype(), vectors, tile);
    let slices = Slices::filling(cuda, tile.blocks(g.o, k), dy.len() / g.o, x.dtype());
    let grid = tile.grid(g.o, k, slices.count);
    let windows = [forward_windows(g)];
    let output = Output::dense(g.o, k, Activation::None, dw);
    sum_slices(cuda, slices.count, output, &Epilogue::default(), dw, |output, _, sums| {
        let output = [output];
        let args = [(&windows).into(), x.into(), dy.into(), sums.into(), (&output).into(), slices.len.into()];
        // SAFETY: windows end at the image's edge, pixels at the last; `sums` has a `dw` for each slice of the grid.
        unsafe { cuda.launch(&CONV2D_MMA, kernel, grid, &args) }
    })
}

/// The gradient of the input: `dx[pixel] = Σ dy·w` over the windows that hold the pixel. `dy`, `w` and `dx` of one
/// floating-point type, shapes as for [`conv2d_forward`]. One group.
///
/// The pixels fall into `s²` classes by their remainder, of which each is reached by taps of its own: a class is a
/// forward convolution of `dy` by those taps, at stride 1.
pub fn conv2d_input_grad(
    cuda: &Cuda,
    g: &Conv2d,
    dy: &DeviceBuffer,
    w: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    check(g, dx, w, dy);
    assert_eq!((w.dtype(), dx.dtype()), (dy.dtype(), dy.dtype()), "gradients and weight of one type");
    let [rows, columns] = [0, 1].map(|axis| Class::all(g, axis));
    for (i, row) in rows.iter().enumerate() {
        for (j, column) in columns.iter().enumerate() {
            input_grad_of(cuda, g, [i, j], [row, column], [dy, w], dx)?;
        }
    }
    Ok(())
}

/// Rows (or columns) of the input with one remainder by the stride.
pub(in crate::cuda) struct Class {
    /// How many there are.
    pub count: usize,
    /// The taps that reach them: the first, the step, how many.
    pub taps: [usize; 3],
    /// The first one reads `dy` at `origin + i·dilation` through tap `i`.
    pub origin: i32,
    /// See `origin`; never positive.
    pub dilation: i32,
}

impl Class {
    /// The classes along `axis`: row `h` reads `dy` at `(h + p − tap·d) / s`, where `s` divides that.
    pub fn all(g: &Conv2d, axis: usize) -> Vec<Self> {
        let (size, kernel) = ([g.h, g.w][axis], [g.kh, g.kw][axis]);
        let [s, p, d] = [g.stride[axis], g.padding[axis], g.dilation[axis]].map(|n| n as i64);
        let class = |first: i64| {
            let distance = |tap: usize| first + p - tap as i64 * d;
            let reaching: Vec<usize> = (0..kernel).filter(|&tap| distance(tap) % s == 0).collect();
            let start = reaching.first().copied().unwrap_or(0);
            let step = reaching.get(1).map_or(1, |next| next - start);
            Self {
                count: (size - first as usize).div_ceil(s as usize),
                taps: [start, step, reaching.len()],
                origin: distance(start).div_euclid(s) as i32,
                dilation: -(step as i64 * d / s) as i32,
            }
        };
        (0..s.min(size as i64)).map(class).collect()
    }
}

/// Filters turned round: `[C, taps, taps, O]` of `[O, KH, KW, C]`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Phase {
    /// O, KH, KW, C.
    filters: [i32; 4],
    first: [i32; 2],
    step: [i32; 2],
    taps: [i32; 2],
}

/// Writes the pixels of `dx` whose remainders are `first`.
fn input_grad_of(
    cuda: &Cuda,
    g: &Conv2d,
    first: [usize; 2],
    classes: [&Class; 2],
    [dy, w]: [&DeviceBuffer; 2],
    dx: &mut DeviceBuffer,
) -> Result<()> {
    let taps = classes.map(|class| class.taps[2]);
    let ints = |part: usize| classes.map(|class| class.taps[part] as i32);
    let filters = [g.o, g.kh, g.kw, g.c].map(|n| n as i32);
    let phase = [Phase { filters, first: ints(0), step: ints(1), taps: ints(2) }];
    let mut turned = cuda.buffer(w.dtype(), g.c * taps[0] * taps[1] * g.o)?;
    let args = [Arg::Int(w.dtype() as i32), (&phase).into(), w.into(), (&mut turned).into()];
    // SAFETY: a thread writes one element of `turned`, if it has it, from a tap and a channel that `w` has.
    unsafe { cuda.launch(&CONV2D_MMA, "conv2d_mma_turn_filters", Grid::over(turned.len()), &args)? };

    let positions = classes.map(|class| class.count);
    let windows = Windows::new(
        g.y_shape(),
        positions,
        taps,
        [[1; 2], classes.map(|class| class.origin), classes.map(|class| class.dilation)],
    );
    let rows = g.n * positions[0] * positions[1];
    let output = Output {
        scattered: 1,
        size: [g.h, g.w].map(|n| n as i32),
        step: g.stride.map(|s| s as i32),
        first: first.map(|n| n as i32),
        by_rows: windows.by_rows,
        by_columns: windows.by_columns,
        ..Output::dense(rows, g.c, Activation::None, dx)
    };
    let plan = FORWARD.plan(cuda, [rows, g.c, turned.len() / g.c], dy.dtype());
    launch_forward(cuda, plan, windows, output, [dy, &turned], &Epilogue::default(), dx)
}

/// Refuses buffers of other lengths than `g`'s, and groups.
pub(super) fn check(g: &Conv2d, x: &DeviceBuffer, w: &DeviceBuffer, y: &DeviceBuffer) {
    assert_eq!(
        (x.len(), w.len(), y.len()),
        (g.x_len(), g.w_len(), g.y_len()),
        "input, weight and output have the lengths of their shapes"
    );
    assert_eq!(g.groups, 1, "tensor cores take a convolution of one group");
}
