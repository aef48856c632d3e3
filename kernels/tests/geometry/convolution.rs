//! Convolution and its gradients, with every algorithm.

use crate::cases::run;
use crate::draw::{Draw, filled, wanted};
use crate::support::{CPUS, assert_bounded, magnitude, wide};
use lopper_kernels::cpu::{self, Algorithm, Epilogue, PackedConv2d, Packing, Weights};
use lopper_kernels::params::Activation;
use lopper_kernels::reference;
use lopper_kernels::shapes::Conv2d;

/// The maximum number of multiply-accumulates of most cases, and of the few that cross the limits of the loop nests.
const SMALL: u64 = 100_000;
const LARGE: u64 = 3_000_000;

/// Draws a random geometry of a random kind.
pub fn conv2d(draw: &mut Draw) -> Conv2d {
    let most = if draw.one_in(64) { LARGE } else { SMALL };
    loop {
        let g = candidate(draw);
        if g.check().is_ok() && g.macs() <= most {
            return g;
        }
    }
}

/// Draws a geometry of a kind that some kernel handles specially.
fn candidate(draw: &mut Draw) -> Conv2d {
    let image = [draw.between(1..=3), draw.between(1..=14), draw.between(1..=14), draw.between(1..=70)];
    let o = draw.between(1..=70);
    let plain = Conv2d::square(image, o, 1, 1, 0);
    let plain = Conv2d {
        extra_padding: if draw.one_in(4) { [draw.between(0..=2), draw.between(0..=2)] } else { [0; 2] },
        kh: draw.between(1..=4),
        kw: draw.between(1..=4),
        padding: [draw.between(0..=3), draw.between(0..=3)],
        ..plain
    };
    let stepped = Conv2d {
        stride: [draw.between(1..=3), draw.between(1..=3)],
        dilation: [draw.between(1..=3), draw.between(1..=3)],
        ..plain
    };
    match draw.between(0..=10) {
        // Fewer channels than a vector, with kernel rows shorter and longer than one: read from a padded copy.
        0 => Conv2d { c: draw.between(1..=15), kw: draw.between(2..=9), ..stepped },
        1 => Conv2d { c: draw.between(1..=4), kh: 3, kw: 3, dilation: [1; 2], ..stepped },
        2 => grouped(stepped, plain.c, plain.c, plain.c),
        3 => {
            let groups = draw.between(2..=5);
            grouped(stepped, groups, draw.between(1..=20), draw.between(1..=20))
        }
        // Images one pixel high or wide.
        4 => Conv2d { h: 1, kh: 1, w: draw.between(1..=150), c: draw.between(1..=20), ..stepped },
        5 => Conv2d { w: 1, kw: 1, h: draw.between(1..=150), ..plain },
        // Strides that skip pixels.
        6 => Conv2d {
            kh: draw.between(1..=2),
            kw: draw.between(1..=2),
            stride: [draw.between(2..=6), draw.between(2..=6)],
            ..plain
        },
        7 => Conv2d {
            kh: 3,
            kw: 3,
            padding: [draw.between(0..=2), draw.between(0..=2)],
            o: draw.between(1..=40),
            ..plain
        },
        8 => Conv2d { kh: 1, kw: 1, padding: [0; 2], c: draw.between(1..=300), ..plain },
        // Large strided kernels and few channels, as in a first layer.
        9 => Conv2d {
            h: draw.between(1..=24),
            w: draw.between(1..=40),
            c: draw.between(1..=15),
            kh: draw.between(1..=8),
            kw: draw.between(5..=13),
            stride: [draw.between(1..=3), draw.between(2..=4)],
            ..plain
        },
        _ => stepped,
    }
}

/// Makes `groups` groups of `c` input and `o` output channels; one channel per group is a depthwise convolution.
fn grouped(g: Conv2d, groups: usize, c: usize, o: usize) -> Conv2d {
    match groups == g.c {
        true => Conv2d { o: groups, groups, ..g },
        false => Conv2d { c: groups * c, o: groups * o, groups, ..g },
    }
}

/// Draws another image and batch size that can use weights packed for `g`.
pub fn another_image(draw: &mut Draw, g: &Conv2d) -> Conv2d {
    loop {
        let other =
            Conv2d { n: draw.between(1..=3), h: draw.between(1..=14), w: draw.between(1..=150), ..*g };
        if other.check().is_ok() {
            return other;
        }
    }
}

/// Whether Winograd's algorithm may compute `g`.
pub fn winograd_applies(g: &Conv2d) -> bool {
    [g.kh, g.kw] == [3; 2] && g.stride == [1; 2] && g.dilation == [1; 2] && g.groups == 1
}

/// Whether Winograd's algorithm along rows may compute `g`, or its live channels.
fn along_rows(g: &Conv2d) -> bool {
    let strides = g.kw.div_ceil(g.stride[1]);
    g.stride[1] > 1 && [3, 4].contains(&strides) && g.dilation == [1; 2] && g.groups == 1
}

/// The constant of the error bound of `packed`, at most `most`.
pub fn constant_of(packed: &PackedConv2d, integers: bool, most: f64) -> f64 {
    match (packed.choice().algorithm, integers) {
        (Algorithm::Direct, true) => 0.0,
        (Algorithm::Direct, false) => most.min(2.0),
        _ => most,
    }
}

/// Draws the algorithm that the weights are packed for, and returns it with the constant of its error bound.
pub fn packing(draw: &mut Draw, g: &Conv2d) -> (Packing, f64) {
    let (packing, constant) = draw.pick(&[
        (Packing::By(Algorithm::Direct), 2.0),
        (Packing::By(Algorithm::Winograd2), 4.0),
        (Packing::By(Algorithm::Winograd4), 8.0),
        (Packing::By(Algorithm::WinogradRows), 8.0),
        (Packing::Fastest(Weights::Memory), 8.0),
        (Packing::Fastest(Weights::Cache), 8.0),
        (Packing::Fastest(Weights::Fresh), 8.0),
    ]);
    let constant = match (winograd_applies(g), along_rows(g)) {
        (true, _) => constant,
        (false, true) => 8.0,
        (false, false) => 2.0,
    };
    (packing, constant)
}

/// The operands of an epilogue, and the sums of magnitudes that it adds.
pub struct Tail {
    bias: Option<lopper_kernels::buffer::Buffer>,
    residual: Option<lopper_kernels::buffer::Buffer>,
    pub activation: Activation,
}

impl Tail {
    pub fn draw(draw: &mut Draw, integers: bool, g: &Conv2d) -> Self {
        Self {
            bias: draw.one_in(2).then(|| draw.values(integers, g.o)),
            residual: draw.one_in(2).then(|| draw.values(integers, g.y_len())),
            activation: draw.pick(&[Activation::None, Activation::Relu, Activation::Relu6]),
        }
    }

    pub fn epilogue(&self) -> Epilogue<'_> {
        Epilogue { bias: self.bias(), residual: self.residual.as_deref(), activation: self.activation }
    }

    pub fn bias(&self) -> Option<&[f32]> {
        self.bias.as_deref()
    }

    /// Applies the rest of the epilogue to a product computed in double precision, bias included, and to its sums of
    /// magnitudes.
    pub fn finish(&self, y: &mut [f64], sums: &mut [f64]) {
        let residual = self.residual.as_deref();
        reference::conv2d_epilogue(residual.map(wide).as_deref(), self.activation, y);
        reference::conv2d_epilogue(residual.map(magnitude).as_deref(), Activation::None, sums);
    }
}

/// Replaces the sums of each filter by that of its largest pixel. Winograd's error is that of its tiles: a pixel's own
/// products may be few and small compared with those of its neighbors, whose rounding errors it shares.
pub fn by_filter(g: &Conv2d, sums: &mut [f64]) {
    for filter in 0..g.o {
        let largest = sums.iter().skip(filter).step_by(g.o).fold(0.0, |max: f64, &sum| max.max(sum));
        sums.iter_mut().skip(filter).step_by(g.o).for_each(|sum| *sum = largest);
    }
}

/// Draws a mask `[O, KH, KW, C/G]`: blocks of filters with a share of live weights that is sometimes 0 or nearly so,
/// between filters that are dead.
pub fn mask(draw: &mut Draw, g: &Conv2d) -> Vec<f32> {
    let block = draw.pick(&[1, 1, 2, 2, 3, 4, 8]);
    let one_in = draw.pick(&[1, 2, 2, 5, 20, 1000]);
    let row = g.w_len() / g.o;
    let mut mask = vec![0.0; g.w_len()];
    for filters in mask.chunks_mut(block * row) {
        let dead = draw.one_in(8);
        let live: Vec<bool> = (0..row).map(|_| !dead && draw.one_in(one_in)).collect();
        for filter in filters.chunks_mut(row) {
            filter.iter_mut().zip(&live).for_each(|(value, &live)| *value = f32::from(live));
        }
    }
    if draw.one_in(8) {
        mask.fill(0.0);
        mask[draw.between(0..=g.w_len() - 1)] = 1.0;
    }
    mask
}

#[test]
fn convolution_forward() {
    run("convolution_forward", 200, |draw| {
        let g = conv2d(draw);
        let (packing, constant) = packing(draw, &g);
        let integers = draw.one_in(2);
        let image = if draw.one_in(2) { g } else { another_image(draw, &g) };
        draw.about(format_args!("{packing:?} of {g:?} for {image:?}, integers: {integers}"));
        let (x, w) = (draw.values(integers, g.x_len()), draw.values(integers, g.w_len()));
        let tail = Tail::draw(draw, integers, &g);
        let forward = |of: fn(&[f32]) -> Vec<f64>| {
            let bias = tail.bias().map(of);
            wanted(g.y_len(), |y| reference::conv2d_forward(&g, &of(&x), &of(&w), bias.as_deref(), y))
        };
        let (mut want, mut sums) = (forward(wide), forward(magnitude));
        tail.finish(&mut want, &mut sums);
        for cpu in &*CPUS {
            let packed = PackedConv2d::with(cpu, &image, &w, packing);
            let y = filled(g.y_len(), |y| {
                cpu::conv2d_forward_packed(cpu, &g, &x, &packed, &tail.epilogue(), y);
            });
            let direct = packed.choice().algorithm == Algorithm::Direct;
            let mut sums = sums.clone();
            if !direct {
                by_filter(&g, &mut sums);
            }
            let constant = constant_of(&packed, integers, constant);
            assert_bounded(packed.kernel(), constant, g.w_len() / g.o + 2, &y, &want, &sums);
        }
    });
}

#[test]
fn convolution_with_fresh_weights() {
    run("convolution_with_fresh_weights", 80, |draw| {
        let g = conv2d(draw);
        let integers = !winograd_applies(&g) && draw.one_in(2);
        draw.about(format_args!("{g:?}, integers: {integers}"));
        let (x, w) = (draw.values(integers, g.x_len()), draw.values(integers, g.w_len()));
        let bias = draw.one_in(2).then(|| draw.values(integers, g.o));
        let forward = |of: fn(&[f32]) -> Vec<f64>| {
            let bias = bias.as_deref().map(of);
            wanted(g.y_len(), |y| reference::conv2d_forward(&g, &of(&x), &of(&w), bias.as_deref(), y))
        };
        let (want, mut sums) = (forward(wide), forward(magnitude));
        by_filter(&g, &mut sums);
        let constant = constant(&g, integers);
        for cpu in &*CPUS {
            let y = filled(g.y_len(), |y| cpu::conv2d_forward(cpu, &g, &x, &w, bias.as_deref(), y));
            assert_bounded(&cpu.isa().to_string(), constant, g.w_len() / g.o + 1, &y, &want, &sums);
        }
    });
}

/// The constant of the error bound if the kernel chooses the algorithm.
pub fn constant(g: &Conv2d, integers: bool) -> f64 {
    match (winograd_applies(g), integers) {
        (true, _) => 8.0,
        (false, false) => 2.0,
        (false, true) => 0.0,
    }
}

#[test]
fn convolution_input_grad() {
    run("convolution_input_grad", 110, |draw| {
        let g = conv2d(draw);
        let integers = !winograd_applies(&g) && draw.one_in(2);
        draw.about(format_args!("{g:?}, integers: {integers}"));
        let (dy, w) = (draw.values(integers, g.y_len()), draw.values(integers, g.w_len()));
        let grad = |of: fn(&[f32]) -> Vec<f64>| {
            wanted(g.x_len(), |dx| reference::conv2d_input_grad(&g, &of(&dy), &of(&w), dx))
        };
        let (want, mut sums) = (grad(wide), grad(magnitude));
        if winograd_applies(&g) {
            by_filter(&Conv2d { o: g.c, ..g }, &mut sums);
        }
        let reduction = g.kh * g.kw * g.o / g.groups;
        for cpu in &*CPUS {
            let dx = filled(g.x_len(), |dx| cpu::conv2d_input_grad(cpu, &g, &dy, &w, dx));
            assert_bounded(&cpu.isa().to_string(), constant(&g, integers), reduction, &dx, &want, &sums);
        }
    });
}

#[test]
fn convolution_weight_grad() {
    run("convolution_weight_grad", 110, |draw| {
        let g = conv2d(draw);
        let integers = !winograd_applies(&g) && draw.one_in(2);
        draw.about(format_args!("{g:?}, integers: {integers}"));
        let (x, dy) = (draw.values(integers, g.x_len()), draw.values(integers, g.y_len()));
        let grad = |of: fn(&[f32]) -> Vec<f64>| {
            wanted(g.w_len(), |dw| reference::conv2d_weight_grad(&g, &of(&x), &of(&dy), dw))
        };
        let (want, mut sums) = (grad(wide), grad(magnitude));
        if winograd_applies(&g) {
            by_pair(&g, &mut sums);
        }
        for cpu in &*CPUS {
            let dw = filled(g.w_len(), |dw| cpu::conv2d_weight_grad(cpu, &g, &x, &dy, dw));
            let constant = constant(&g, integers);
            assert_bounded(&cpu.isa().to_string(), constant, g.y_len() / g.o, &dw, &want, &sums);
        }
    });
}

/// Likewise replaces the sums of each pair of channels of a weight gradient by that of the largest of its nine taps,
/// which come from the same tile.
pub fn by_pair(g: &Conv2d, sums: &mut [f64]) {
    for filter in sums.chunks_exact_mut(9 * g.c) {
        for c in 0..g.c {
            let largest = filter.iter().skip(c).step_by(g.c).fold(0.0, |max: f64, &sum| max.max(sum));
            filter.iter_mut().skip(c).step_by(g.c).for_each(|sum| *sum = largest);
        }
    }
}
