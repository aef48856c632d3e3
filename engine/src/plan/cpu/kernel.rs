//! The kernels of a plan on the CPU, with packed weights.

use crate::Tensor;
use crate::graph::layer::BatchNorm;
use crate::plan::amount::{Amount, Class};
use crate::plan::chosen::Chosen;
use crate::plan::lower::MAX_PARTS;
use crate::plan::spans::Span;
use crate::plan::work::{Convolution, FullyConnected, Plain, Softmax, Work};
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::{
    self, Cpu, Epilogue, ImageLayout, ImageLayouts, LaneImages, LinearChoice, LinearLayout, PackedBatchNorm,
    PackedConv2d, PackedLinear, PackedPRelu, Packing,
};
use lopper_kernels::params::{Activation, Dtype};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::shapes;

/// A kernel with all its arguments except the data.
pub(super) enum Kernel {
    /// A convolution, with the layouts of its images.
    Conv2d(shapes::Conv2d, Box<PackedConv2d>, Option<Tensor>, ImageLayouts),
    Linear(shapes::Linear, PackedLinear, Option<Tensor>),
    /// A batch norm, with the layout of its input and its output.
    BatchNorm(PackedBatchNorm, ImageLayout),
    /// A layer norm, with γ and β.
    LayerNorm(shapes::LayerNorm, [Tensor; 2]),
    /// A group norm, with γ and β.
    GroupNorm(shapes::GroupNorm, [Tensor; 2]),
    PRelu(PackedPRelu),
    /// A maximum pool of images in these lanes.
    LanePool(shapes::Pool2d, LaneImages),
    Plain(Plain),
}

/// The settings by which a plan packs weights.
#[derive(Clone, Copy)]
pub(in crate::plan) struct Packer<'a> {
    pub cpu: &'a Cpu,
    pub conv2d: Packing,
    pub linear: Dtype,
}

impl Packer<'_> {
    /// Chooses the kernel of `work`, whose images have the layouts `around`, and packs its weights.
    pub(super) fn kernel(&self, work: &Work, around: ImageLayouts) -> Kernel {
        let bias = work.bias();
        if let (Some(g), ImageLayout::RowLanes(images)) = (work.max_pool(), around.x) {
            return Kernel::LanePool(*g, images);
        }
        match work {
            Work::Conv2d(conv) => Kernel::Conv2d(conv.g, Box::new(self.conv2d(conv)), bias, around),
            Work::Linear(linear) => Kernel::Linear(linear.g, self.linear(linear), bias),
            Work::BatchNorm(_, bn) => Kernel::BatchNorm(batch_norm(bn), around.y),
            Work::LayerNorm(g, norm) => {
                Kernel::LayerNorm(*g, [&norm.weight, &norm.bias].map(|param| param.value().clone()))
            }
            Work::GroupNorm(g, norm) => {
                Kernel::GroupNorm(*g, [&norm.weight, &norm.bias].map(|param| param.value().clone()))
            }
            Work::PRelu(prelu) => Kernel::PRelu(PackedPRelu::new(prelu.weight.value().data())),
            Work::Plain(plain) => Kernel::Plain(plain.clone()),
        }
    }

    fn conv2d(&self, convolution: &Convolution) -> PackedConv2d {
        let Convolution { conv, pattern, compact, .. } = convolution;
        let (g, weight) = (&convolution.part(), conv.weight.value().data());
        match compact {
            None => PackedConv2d::masked(self.cpu, g, weight, pattern, self.conv2d),
            Some(compact) => {
                PackedConv2d::compact(self.cpu, g, &compact.index(), weight, &compact.fill, self.conv2d)
            }
        }
    }

    /// The number of rows of the output that the packed convolution computes at a time, if it does not need whole images.
    pub(super) fn rows_at_a_time(&self, convolution: &Convolution) -> Option<usize> {
        let Convolution { pattern, compact, .. } = convolution;
        let g = &convolution.part();
        match compact {
            None => cpu::conv2d_rows_at_a_time(self.cpu, g, pattern, self.conv2d),
            Some(compact) => cpu::conv2d_compact_rows_at_a_time(self.cpu, g, &compact.index(), self.conv2d),
        }
    }

    fn linear(&self, linear: &FullyConnected) -> PackedLinear {
        let FullyConnected { g, linear, pool, pattern } = linear;
        let weight = linear.weight.value().data();
        let Some(pool) = pool else {
            return PackedLinear::masked(self.cpu, g, weight, pattern, self.linear);
        };
        let mut pooling = Buffer::unspecified(pool.x_len());
        cpu::adaptive_avg_pool2d_input_grad(self.cpu, pool, weight, &mut pooling);
        PackedLinear::masked(self.cpu, g, &pooling, pattern, self.linear)
    }
}

/// The same kernel as the graph's, so that a plan gives the same bits: `(x − mean)` comes first. In the form
/// `scale · x + shift`, a channel with a small variance around a large mean would lose its digits to cancellation.
fn batch_norm(bn: &BatchNorm) -> PackedBatchNorm {
    let [mean, var] = [&bn.running_mean, &bn.running_var].map(Tensor::data);
    let [gamma, beta] = [&bn.weight, &bn.bias].map(|param| param.value().data());
    PackedBatchNorm::new([mean, var], [gamma, beta], bn.eps)
}

impl Kernel {
    /// The same kernel for a part of the images of `span`.
    pub fn of_part(self, span: &Span) -> Self {
        let n = span.images;
        match self {
            Self::Conv2d(g, w, bias, around) => {
                Self::Conv2d(shapes::Conv2d { n, ..g }, w, bias, around.of_images(n))
            }
            Self::Linear(g, w, bias) => Self::Linear(shapes::Linear { n, ..g }, w, bias),
            Self::BatchNorm(bn, layout) => Self::BatchNorm(bn, layout.of_images(n)),
            Self::LayerNorm(g, affine) => {
                Self::LayerNorm(shapes::LayerNorm { rows: g.rows / span.batch * n, ..g }, affine)
            }
            Self::GroupNorm(g, affine) => Self::GroupNorm(shapes::GroupNorm { n, ..g }, affine),
            Self::PRelu(slope) => Self::PRelu(slope),
            Self::LanePool(g, images) => Self::LanePool(shapes::Pool2d { n, ..g }, images.of_images(n)),
            Self::Plain(plain) => Self::Plain(plain.of_images(n, span.batch)),
        }
    }

    /// Runs the kernel on its inputs, with a residual and an activation if the kernel has an epilogue.
    pub fn run<'a>(
        &'a self,
        cpu: &Cpu,
        input: impl Fn(usize) -> &'a [f32],
        inputs: usize,
        residual: Option<&'a [f32]>,
        activation: Activation,
        y: &mut [f32],
    ) {
        let end = |bias: &'a Option<Tensor>| Epilogue {
            bias: bias.as_ref().map(Tensor::data),
            residual,
            activation,
        };
        let x = input(0);
        match self {
            Self::Conv2d(g, w, bias, around) => {
                cpu::conv2d_forward_between(cpu, g, around, x, w, &end(bias), y);
            }
            Self::BatchNorm(bn, ImageLayout::ChannelsLast) => {
                cpu::batch_norm_forward_packed(cpu, bn, x, &end(&None), y);
            }
            Self::BatchNorm(bn, ImageLayout::RowLanes(images)) => {
                cpu::batch_norm_forward_lanes(cpu, bn, images, x, &end(&None), y);
            }
            Self::Linear(g, w, bias) => cpu::linear_forward_packed(cpu, g, x, w, &end(bias), y),
            Self::LayerNorm(g, affine) => {
                cpu::layer_norm_forward(cpu, g, x, affine.each_ref().map(Tensor::data), y);
            }
            Self::GroupNorm(g, affine) => {
                cpu::group_norm_forward(cpu, g, x, affine.each_ref().map(Tensor::data), y);
            }
            Self::PRelu(slope) => cpu::prelu_forward_packed(cpu, slope, x, y),
            Self::LanePool(g, images) => cpu::max_pool2d_forward_lanes(cpu, g, images, x, y),
            Self::Plain(plain) => plain.run(cpu, input, inputs, y),
        }
    }

    pub fn chosen(&self, cpu: &Cpu) -> Chosen {
        let (kernel, why, products, weight_bytes, bias) = match self {
            Self::Conv2d(g, w, bias, around) => {
                // There is only one algorithm for depthwise convolutions.
                let why = (!g.is_depthwise()).then(|| format!("{}{}", w.choice(), stays(around)));
                (w.kernel(), why, Some(w.products(g)), w.bytes(), bias)
            }
            Self::Linear(g, w, bias) => {
                // A weight without zeros has only one layout.
                let why = w.choice().is_estimated().then(|| w.choice().to_string());
                (w.kernel(), why, Some(w.products(g)), w.bytes(), bias)
            }
            Self::BatchNorm(bn, _) => ("batch_norm", None, None, bn.bytes(), &None),
            Self::LayerNorm(g, _) => ("layer_norm", None, None, 2 * size_of::<f32>() * g.c, &None),
            Self::GroupNorm(g, _) => ("group_norm", None, None, 2 * size_of::<f32>() * g.c, &None),
            Self::PRelu(slope) => ("prelu", None, None, slope.bytes(), &None),
            Self::LanePool(..) => ("max_pool2d", Some("reads and writes lanes".into()), None, 0, &None),
            Self::Plain(plain) => (plain.name(), None, None, plain.bytes(), &None),
        };
        let bias = bias.as_ref().map_or(0, |bias| 4 * bias.len());
        let estimate = match self {
            Self::Conv2d(g, w, ..) => Some(Amount {
                class: Class::of_convolution(g, w.choice().algorithm),
                units: w.estimate(cpu, g),
            }),
            Self::Linear(g, w, _) => Some(Amount { class: Class::Linear, units: linear_units(cpu, g, w) }),
            // It reads its input once more, for the statistics.
            Self::GroupNorm(g, _) => Some(Amount { class: Class::BatchNorm, units: 3.0 * g.len() as f64 }),
            Self::BatchNorm(..) | Self::LayerNorm(..) | Self::PRelu(_) => None,
            Self::LanePool(..) | Self::Plain(_) => None,
        };
        Chosen { kernel, why, products, estimate, weight_bytes: weight_bytes + bias }
    }
}

/// The work of a linear layer, in multiply-accumulates: that of a dense one, times what its zeros leave of the cycles.
fn linear_units(cpu: &Cpu, g: &shapes::Linear, w: &PackedLinear) -> f64 {
    let dense = Amount::of_linear(cpu, [g.n, g.inputs, g.outputs]).units;
    let whole = LinearChoice::fastest(cpu, g, &Pattern::dense([g.outputs, 1, g.inputs]), Dtype::F32);
    let cycles = |choice: &LinearChoice| choice.cycles(cpu, g, Dtype::F32);
    // Panels leave out rows of zeros, which cycles do not know.
    let live = match w.choice().layout {
        LinearLayout::Panels => w.products(g) as f64 / g.macs().max(1) as f64,
        LinearLayout::Bits | LinearLayout::Lists => 1.0,
    };
    dense * live.min(1.0) * cycles(w.choice()) / cycles(&whole)
}

/// A note on the images that stay in row lanes.
fn stays(around: &ImageLayouts) -> &'static str {
    match [around.x, around.y].map(|layout| layout != ImageLayout::ChannelsLast) {
        [false, false] => "",
        [true, false] => "; reads lanes",
        [false, true] => "; writes lanes",
        [true, true] => "; reads and writes lanes",
    }
}

impl Plain {
    fn run<'a>(&self, cpu: &Cpu, input: impl Fn(usize) -> &'a [f32], inputs: usize, y: &mut [f32]) {
        let x = input(0);
        match self {
            Self::Pool(pooling) => pooling.run(cpu, x, y),
            Self::Activation(activation) => cpu::activation_forward(cpu, *activation, x, y),
            &Self::Softmax(Softmax { rows, channels, log: false }) => {
                cpu::softmax_forward(cpu, rows, channels, x, y);
            }
            &Self::Softmax(Softmax { rows, channels, log: true }) => {
                cpu::log_softmax_forward(cpu, rows, channels, x, y);
            }
            Self::Add => {
                cpu::add_forward(cpu, x, input(1), y);
                (2..inputs).for_each(|i| cpu::add_assign(cpu, y, input(i)));
            }
            Self::Multiply => cpu::mul_forward(cpu, x, input(1), y),
            Self::Gate(g) => cpu::gate_forward(cpu, g, x, input(1), y),
            Self::Gather(gather) => cpu::gather_forward(cpu, gather, x, y),
            Self::Resize(resize) => cpu::resize_forward(cpu, resize, x, y),
            Self::Concat(rows, widths) => {
                let mut parts: [(&[f32], usize); MAX_PARTS] = [(&[], 0); MAX_PARTS];
                for (i, (part, &width)) in parts.iter_mut().zip(widths).enumerate() {
                    *part = (input(i), width);
                }
                cpu::concat_forward(cpu, *rows, &parts[..widths.len()], y);
            }
            Self::PadShortcut(g) => cpu::pad_shortcut_forward(cpu, g, x, y),
        }
    }
}
