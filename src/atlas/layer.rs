//! The layers of a sweep: those of a network, or by shape.

use lopper_engine::Layer as Node;
use lopper_engine::{Error, Graph, Result};
use lopper_kernels::shapes::{Conv2d, Linear};
use std::fmt;
use std::str::FromStr;

/// A layer with a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its name: network and node, or its shape.
    pub name: String,
    /// Its geometry for one image.
    pub operation: Operation,
}

/// The product that a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A convolution.
    Conv2d(Conv2d),
    /// A fully connected layer.
    Linear(Linear),
}

impl Operation {
    /// The same operation on `n` images.
    pub fn of_batch(self, n: usize) -> Self {
        match self {
            Self::Conv2d(g) => Self::Conv2d(Conv2d { n, ..g }),
            Self::Linear(g) => Self::Linear(Linear { n, ..g }),
        }
    }

    /// The operation as a convolution; that of a linear layer is 1×1 over the rows of the batch.
    pub fn as_conv2d(&self) -> Conv2d {
        match self {
            Self::Conv2d(g) => *g,
            Self::Linear(g) => g.over_pixels(),
        }
    }

    /// Whether this is a linear layer.
    pub fn is_linear(&self) -> bool {
        matches!(self, Self::Linear(_))
    }
}

/// `32x32x64 128 3x3/2` (input height, width and channels, filters, kernel and stride), or `25088x4096`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conv2d(Conv2d { h, w, c, o, kh, kw, stride: [stride, _], groups, .. }) => {
                write!(f, "{h}x{w}x{c} {o} {kh}x{kw}/{stride}")?;
                if *groups > 1 { write!(f, " in {groups} groups") } else { Ok(()) }
            }
            Self::Linear(Linear { inputs, outputs, .. }) => write!(f, "{inputs}x{outputs}"),
        }
    }
}

/// The convolutions and linear layers of `graph` on images of `size` `[H, W]`, each geometry once, under `network` and
/// the name of its first occurrence.
///
/// # Errors
/// If the network does not accept images of that size.
pub fn of_graph(network: &str, graph: &Graph, [h, w]: [usize; 2]) -> Result<Vec<Layer>> {
    let shapes = graph.shapes([1, h, w, graph.info.input[2]])?;
    let mut layers: Vec<Layer> = Vec::new();
    for node in graph.nodes() {
        let operation = match &node.layer {
            Node::Conv2d(conv) => Operation::Conv2d(conv.geometry(&shapes[node.inputs[0]])?),
            Node::Linear(linear) => {
                let (outputs, inputs) = (linear.out_features(), linear.weight.value().dim(1));
                Operation::Linear(Linear { n: 1, inputs, outputs })
            }
            _ => continue,
        };
        if layers.iter().all(|layer| layer.operation != operation) {
            layers.push(Layer { name: format!("{network} {}", node.name), operation });
        }
    }
    Ok(layers)
}

/// The form of a layer by shape, for messages and help texts.
pub const FORM: &str = "INPUTSxFILTERS@SIDE:KERNEL[/STRIDE][gGROUPS] such as 128x128@16:3, or INPUTSxOUTPUTS for a \
    linear layer";

/// Largest number in a layer by shape: products of all of them stay below 2⁶⁴.
const LARGEST: usize = 1 << 17;

impl FromStr for Layer {
    type Err = Error;

    /// Reads `INPUTSxFILTERS@SIDE:KERNEL[/STRIDE][gGROUPS]`, a convolution padded by half its kernel, or
    /// `INPUTSxOUTPUTS`, a linear layer.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::invalid(format!("layer {text}: expected {FORM}{why}"));
        let number = |digits: &str| match digits.parse::<usize>() {
            Ok(number) if (1..=LARGEST).contains(&number) => Ok(number),
            _ => Err(wrong(&format!("; {digits:?} is no number from 1 to {LARGEST}"))),
        };
        let pair = |text: &str| -> Result<(usize, usize)> {
            let (inputs, outputs) = text.split_once('x').ok_or_else(|| wrong(""))?;
            Ok((number(inputs)?, number(outputs)?))
        };
        let Some((channels, window)) = text.split_once('@') else {
            let (inputs, outputs) = pair(text)?;
            let operation = Operation::Linear(Linear { n: 1, inputs, outputs });
            return Ok(Self { name: text.into(), operation });
        };
        let ((c, o), (side, window)) = (pair(channels)?, window.split_once(':').ok_or_else(|| wrong(""))?);
        let (window, groups) =
            window.split_once('g').map_or((window, "1"), |(window, groups)| (window, groups));
        let (kernel, stride) = window.split_once('/').unwrap_or((window, "1"));
        let (side, kernel, stride, groups) =
            (number(side)?, number(kernel)?, number(stride)?, number(groups)?);
        let g = Conv2d { groups, ..Conv2d::square([1, side, side, c], o, kernel, stride, kernel / 2) };
        g.check().map_err(|e| Error::invalid(format!("layer {text}: {e}")))?;
        Ok(Self { name: text.into(), operation: Operation::Conv2d(g) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_read_by_shape() {
        let shape = |text: &str| text.parse::<Layer>().unwrap().operation.to_string();
        assert_eq!(shape("64x128@32:3/2"), "32x32x64 128 3x3/2");
        assert_eq!(shape("96x96@16:3g96"), "16x16x96 96 3x3/1 in 96 groups");
        assert_eq!(shape("25088x4096"), "25088x4096");
    }

    #[test]
    fn malformed_layers_are_named() {
        for (text, words) in [
            ("64", "expected INPUTSx"),
            ("64x", "\"\" is no number"),
            ("0x3", "\"0\" is no number"),
            ("64x64@8", "expected INPUTSx"),
            ("64x64@8:3/0", "\"0\" is no number"),
            ("64x64@8:99999999", "is no number from 1 to 131072"),
            ("64x64@8:3g3", "3 groups do not divide"),
            ("64x64@1:8/1g64x", "\"64x\" is no number"),
        ] {
            let message = text.parse::<Layer>().unwrap_err().to_string();
            assert!(message.contains(words) && message.contains(text), "{message}");
        }
    }

    #[test]
    fn each_geometry_of_a_network_occurs_once() {
        let options = lopper_models::Options {
            seed: None,
            ..lopper_models::Options::new(lopper_models::numbered_classes(10), [32, 32, 3])
        };
        let graph = lopper_models::build("resnet18", &options).unwrap();
        let layers = of_graph("resnet18", &graph, [32, 32]).unwrap();
        assert!(layers.iter().any(|layer| layer.name == "resnet18 fc" && layer.operation.is_linear()));
        for (i, layer) in layers.iter().enumerate() {
            assert!(layers[..i].iter().all(|other| other.operation != layer.operation), "{layer:?}");
        }
    }
}
