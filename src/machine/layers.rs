//! The layers whose times make the table, and others that check it.

use crate::latency::Latency;
use crate::latency::test_images;
use lopper_engine::layer::{BatchNorm, Conv2d, FixedWindow, Linear, Pool};
use lopper_engine::plan::{Amount, Outline, Plan};
use lopper_engine::{Device, Graph, Layer as Node, Param, Result, Tensor};
use std::time::Duration;

/// A network of a single operation, with what it computes in words.
pub struct Layer {
    /// Such as `3×3 64→128 on 16×16`.
    pub name: String,
    graph: Graph,
    input: [usize; 4],
    /// The zeros of its weight, if there are any.
    mask: Option<Tensor>,
}

impl Layer {
    fn new(name: String, input: [usize; 4], node: Node, inputs: &[usize]) -> Result<Self> {
        let mut graph = Graph::new(input[3]);
        graph.info.input = [input[1], input[2], input[3]];
        graph.push("layer", node, inputs)?;
        Ok(Self { name, graph, input, mask: None })
    }

    /// A square convolution of `k`×`k` taps on `size`×`size` pixels.
    fn conv([size, c, o, k, stride, groups]: [usize; 6]) -> Result<Self> {
        let weight = Param::new(values(&[o, k, k, c / groups]));
        let padding = [k / 2; 2];
        let conv = Conv2d {
            weight,
            bias: None,
            stride: [stride; 2],
            padding,
            extra_padding: [0; 2],
            dilation: [1; 2],
            groups,
        };
        let grouped = if groups > 1 { format!(" in {groups} groups") } else { String::new() };
        let strided = if stride > 1 { format!(", stride {stride}") } else { String::new() };
        let name = format!("{k}×{k} {c}→{o}{grouped} on {size}×{size}{strided}");
        Self::new(name, [1, size, size, c], Node::Conv2d(conv), &[0])
    }

    /// A convolution `[size, c, o, k]` of stride 1 with `zeros` percent of its weights at zero, by pairs of filters if `pairs`.
    fn sparse([size, c, o, k]: [usize; 4], zeros: usize, pairs: bool) -> Result<Self> {
        let dense = Self::conv([size, c, o, k, 1, 1])?;
        let (row, block) = (k * k * c, if pairs { 2 } else { 1 });
        // A multiplicative hash of the group: zeros in no order that a kernel could use.
        let group = |i: usize| i / row / block * row + i % row;
        let drawn = |i: usize| (group(i) as u32 + 1).wrapping_mul(2_654_435_761) >> 8;
        let threshold = ((zeros as f64 / 100.0) * f64::from(1u32 << 24)) as u32;
        let mask = Tensor::from_fn(&[o, k, k, c], |i| f32::from(u8::from(drawn(i) >= threshold)));
        let mut graph = dense.graph;
        let id = graph.id("layer")?;
        if let Some((_, weight)) = graph.layer_mut(id).params_mut().into_iter().next() {
            weight.set_mask(Some(mask.clone()))?;
        }
        let arranged = if pairs { " by pairs" } else { "" };
        let name = format!("{}, {zeros} % zeros{arranged}", dense.name);
        Ok(Self { name, graph, input: dense.input, mask: Some(mask) })
    }

    fn linear(rows: usize, inputs: usize, outputs: usize) -> Result<Self> {
        let linear = Linear { weight: Param::new(values(&[outputs, inputs])), bias: None };
        let mut graph = Graph::new(inputs);
        graph.info.input = [1, 1, inputs];
        let flat = graph.push("flatten", Node::Flatten, &[0])?;
        graph.push("layer", Node::Linear(linear), &[flat])?;
        let name = format!("linear {inputs}→{outputs} of {rows} rows");
        Ok(Self { name, graph, input: [rows, 1, 1, inputs], mask: None })
    }

    fn plain(kind: &str, [size, c]: [usize; 2]) -> Result<Self> {
        let input = [1, size, size, c];
        let (node, inputs): (Node, &[usize]) = match kind {
            "batch norm" => (Node::BatchNorm(BatchNorm::new(c)), &[0]),
            "pool" => (Node::Pool(Pool::max(FixedWindow::square(2, 2, 0))), &[0]),
            _ => (Node::Add, &[0, 0]),
        };
        Self::new(format!("{kind} {c} on {size}×{size}"), input, node, inputs)
    }

    /// Its work, as a plan on `device` does it.
    pub fn amount(&self, device: &Device) -> Result<Amount> {
        let outline = Outline::new(&self.graph, self.input, device)?;
        if let Some(mask) = &self.mask {
            return Ok(outline.masked(outline.len() - 1, mask)?.alone);
        }
        let shapes = self.graph.shapes(self.input)?;
        let width = |node: usize| shapes[node].last().copied().unwrap_or(1);
        Ok(outline.amount(outline.len() - 1, width))
    }

    /// The median time of `time` of runs on `device`, in milliseconds.
    pub fn measure(&self, device: &Device, time: Duration) -> Result<f64> {
        let mut plan = Plan::new(&self.graph, self.input, device)?;
        let images = test_images(self.input.iter().product());
        Ok(Latency::measure(&mut plan, &images, 3, time)?.median())
    }
}

/// Weights that look like a network's: neither zeros, which masks would be, nor subnormals.
fn values(shape: &[usize]) -> Tensor {
    let weights = test_images(shape.iter().product());
    Tensor::from_fn(shape, |i| 0.05 * weights[i] + 1e-3)
}

/// Convolutions `[size, c, o, k, stride, groups]` whose times make the table.
const FITTED: [[usize; 6]; 49] = [
    [4, 16, 16, 3, 1, 1],
    [2, 64, 64, 3, 1, 1],
    [8, 3, 16, 3, 1, 1],
    [8, 16, 16, 3, 2, 1],
    [16, 16, 16, 3, 1, 1],
    [4, 16, 32, 1, 1, 1],
    [2, 128, 128, 1, 1, 1],
    [8, 16, 16, 1, 1, 1],
    [4, 32, 32, 3, 1, 32],
    [14, 96, 96, 3, 2, 96],
    [4, 32, 32, 3, 1, 8],
    [8, 64, 64, 3, 1, 16],
    [64, 3, 32, 3, 1, 1],
    [112, 3, 64, 7, 2, 1],
    [32, 16, 16, 5, 1, 1],
    [28, 32, 32, 5, 1, 1],
    [32, 64, 128, 3, 2, 1],
    [16, 128, 256, 3, 2, 1],
    [8, 256, 512, 3, 2, 1],
    [4, 128, 128, 3, 1, 1],
    [4, 512, 512, 3, 1, 1],
    [2, 512, 512, 3, 1, 1],
    [56, 64, 64, 3, 1, 1],
    [32, 64, 64, 3, 1, 1],
    [16, 64, 64, 3, 1, 1],
    [28, 128, 128, 3, 1, 1],
    [16, 128, 128, 3, 1, 1],
    [14, 256, 256, 3, 1, 1],
    [8, 256, 256, 3, 1, 1],
    [7, 512, 512, 3, 1, 1],
    [32, 16, 16, 3, 1, 1],
    [64, 32, 32, 3, 1, 1],
    [8, 64, 64, 3, 1, 1],
    [8, 128, 128, 3, 1, 1],
    [56, 64, 256, 1, 1, 1],
    [56, 256, 64, 1, 1, 1],
    [28, 128, 512, 1, 1, 1],
    [14, 1024, 256, 1, 1, 1],
    [7, 512, 2048, 1, 1, 1],
    [16, 32, 64, 1, 1, 1],
    [8, 64, 128, 1, 1, 1],
    [56, 24, 144, 1, 1, 1],
    [14, 384, 64, 1, 1, 1],
    [56, 144, 144, 3, 1, 144],
    [14, 384, 384, 3, 1, 384],
    [112, 32, 32, 3, 1, 32],
    [7, 960, 960, 3, 1, 960],
    [28, 128, 128, 3, 1, 32],
    [14, 256, 256, 3, 1, 8],
];

/// Sparse convolutions `[size, c, o, k]` of the table, with percents of zeros; half of them by pairs of filters.
const FITTED_SPARSE: [([usize; 4], usize); 16] = [
    ([4, 32, 32, 1], 90),
    ([4, 64, 64, 3], 90),
    ([8, 32, 32, 3], 95),
    ([8, 64, 128, 1], 90),
    ([16, 64, 64, 3], 90),
    ([16, 64, 64, 3], 97),
    ([14, 256, 256, 3], 90),
    ([14, 256, 256, 3], 98),
    ([28, 128, 128, 3], 85),
    ([28, 128, 512, 1], 90),
    ([14, 1024, 256, 1], 95),
    ([7, 512, 512, 3], 95),
    ([56, 64, 64, 3], 90),
    ([56, 64, 256, 1], 80),
    ([32, 128, 128, 1], 95),
    ([4, 512, 512, 3], 98),
];

/// Sparse convolutions that check it.
const HELD_OUT_SPARSE: [([usize; 4], usize); 6] = [
    ([12, 96, 96, 3], 90),
    ([28, 80, 96, 3], 95),
    ([14, 208, 208, 3], 93),
    ([28, 96, 256, 1], 90),
    ([7, 320, 352, 3], 97),
    ([14, 640, 160, 1], 88),
];

/// Convolutions that check it: other sizes, and widths that pruning leaves.
const HELD_OUT: [[usize; 6]; 24] = [
    [48, 3, 24, 3, 1, 1],
    [96, 3, 48, 7, 2, 1],
    [24, 32, 48, 5, 1, 1],
    [28, 48, 96, 3, 2, 1],
    [14, 96, 208, 3, 2, 1],
    [4, 192, 192, 3, 1, 1],
    [4, 320, 384, 3, 1, 1],
    [56, 32, 48, 3, 1, 1],
    [56, 48, 48, 3, 1, 1],
    [28, 80, 96, 3, 1, 1],
    [28, 112, 64, 3, 1, 1],
    [14, 144, 192, 3, 1, 1],
    [14, 208, 208, 3, 1, 1],
    [12, 96, 96, 3, 1, 1],
    [7, 320, 352, 3, 1, 1],
    [24, 33, 65, 3, 1, 1],
    [56, 48, 176, 1, 1, 1],
    [28, 80, 336, 1, 1, 1],
    [14, 640, 160, 1, 1, 1],
    [7, 352, 1408, 1, 1, 1],
    [28, 33, 131, 1, 1, 1],
    [28, 96, 96, 3, 1, 96],
    [14, 240, 240, 3, 1, 240],
    [28, 96, 96, 3, 1, 8],
];

/// The layers whose times make the table.
pub fn fitted() -> Result<Vec<Layer>> {
    let mut layers: Vec<Layer> = FITTED.into_iter().map(Layer::conv).collect::<Result<_>>()?;
    for [rows, inputs, outputs] in
        [[1, 64, 10], [1, 512, 10], [1, 512, 1000], [1, 2048, 1000], [1, 4096, 4096], [16, 512, 512]]
    {
        layers.push(Layer::linear(rows, inputs, outputs)?);
    }
    for (at, (shape, zeros)) in FITTED_SPARSE.into_iter().enumerate() {
        layers.push(Layer::sparse(shape, zeros, at % 2 == 1)?);
    }
    for kind in ["batch norm", "pool", "sum"] {
        for shape in [[2, 16], [8, 32], [16, 128], [32, 64], [56, 256], [112, 64]] {
            layers.push(Layer::plain(kind, shape)?);
        }
    }
    Ok(layers)
}

/// Thirty-six layers that do not.
pub fn held_out() -> Result<Vec<Layer>> {
    let mut layers: Vec<Layer> = HELD_OUT.into_iter().map(Layer::conv).collect::<Result<_>>()?;
    for [rows, inputs, outputs] in [[1, 384, 100], [1, 1280, 1000], [8, 1024, 256]] {
        layers.push(Layer::linear(rows, inputs, outputs)?);
    }
    for (at, (shape, zeros)) in HELD_OUT_SPARSE.into_iter().enumerate() {
        layers.push(Layer::sparse(shape, zeros, at % 2 == 1)?);
    }
    for (kind, shape) in [("batch norm", [28, 96]), ("pool", [48, 48]), ("sum", [14, 320])] {
        layers.push(Layer::plain(kind, shape)?);
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_engine::plan::Class;
    use std::collections::BTreeSet;

    #[test]
    fn the_layers_have_every_class_and_none_is_in_both_lists() {
        let device = Device::cpu();
        let classes: BTreeSet<Class> =
            fitted().unwrap().iter().map(|layer| layer.amount(&device).unwrap().class).collect();
        // Which of Winograd's tiles is chosen depends on the instruction set.
        let rare = [Class::Winograd2, Class::Winograd4];
        assert!(Class::ALL.iter().filter(|class| !rare.contains(class)).all(|class| classes.contains(class)));
        let sparse = Layer::sparse([4, 8, 8, 3], 75, true).unwrap().mask.unwrap();
        let live = sparse.data().iter().filter(|&&live| live != 0.0).count() as f64 / sparse.len() as f64;
        assert!((live - 0.25).abs() < 0.1, "{live}");
        assert_eq!(sparse.data()[..72], sparse.data()[72..144], "a pair of filters shares its positions");
        let (fitted, held_out) = (fitted().unwrap(), held_out().unwrap());
        assert_eq!(held_out.len(), 36);
        assert!(held_out.iter().all(|layer| fitted.iter().all(|other| other.name != layer.name)));
    }
}
