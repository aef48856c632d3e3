//! Workloads of the benchmarks: layers of real networks, and values without exploitable structure.

use lopper_engine::{Graph, Layer, Result};
use lopper_kernels::buffer::Buffer;
use lopper_kernels::shapes::Conv2d;
use lopper_models::{Options, build, numbered_classes};

/// The networks whose layers a whole atlas has, separated by commas.
pub const ATLAS_NETWORKS: &str = "vgg16_bn,resnet18,resnet50,mobilenet_v2";
/// The percentages of zero weights of a whole atlas.
pub const ATLAS_SPARSITIES: [u32; 9] = [0, 25, 50, 60, 70, 80, 90, 95, 98];

/// Convolution of a network.
#[derive(Clone)]
pub struct ConvLayer {
    /// Architecture, followed by the layer's name in it.
    pub network: String,
    pub name: String,
    pub g: Conv2d,
}

impl ConvLayer {
    /// Returns input height, width and channels, filters, kernel and stride: `128x128x3 64 7x7/2`.
    pub fn shape(&self) -> String {
        let Conv2d { h, w, c, o, kh, kw, stride: [stride, _], groups, .. } = self.g;
        let groups = if groups > 1 { format!(" in {groups} groups") } else { String::new() };
        format!("{h}x{w}x{c} {o} {kh}x{kw}/{stride}{groups}")
    }
}

/// Returns the convolutions of the architectures `networks` on `batch` images of `size` pixels, each geometry once,
/// under the name of its first occurrence.
///
/// # Errors
/// If there is no such architecture, or it does not accept images of that size.
pub fn conv_layers(networks: &[String], size: usize, batch: usize) -> Result<Vec<ConvLayer>> {
    let mut layers: Vec<ConvLayer> = Vec::new();
    for network in networks {
        // Only the geometry matters: ten classes suffice, and no random weights are needed.
        let options = Options { seed: None, ..Options::new(numbered_classes(10), [size, size, 3]) };
        let graph = build(network, &options)?;
        let shapes = graph.shapes([batch, size, size, 3])?;
        for node in graph.nodes() {
            let Layer::Conv2d(conv) = &node.layer else { continue };
            let g = conv.geometry(&shapes[node.inputs[0]])?;
            if layers.iter().all(|layer| layer.g != g) {
                layers.push(ConvLayer { network: network.clone(), name: node.name.clone(), g });
            }
        }
    }
    Ok(layers)
}

/// Builds the architecture `name` for ten classes of images of `size` pixels, with random weights, and running
/// statistics that keep values in range.
pub fn network(name: &str, size: usize) -> Result<Graph> {
    build(name, &Options::new(numbered_classes(10), [size, size, 3]))
}

/// Returns reproducible values in −0.5..0.5 (a linear congruential generator).
pub fn noise(len: usize, seed: u32) -> Buffer {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..len).map(|_| next()).collect()
}
