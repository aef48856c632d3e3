//! The convolutions of VGG16 and two ResNets on 64 images of 128 pixels, with both their gradients.

use super::{GRADES, noise, time};
use crate::selftest::case::Case;
use crate::selftest::grades::{Grade, Pass};
use crate::selftest::line::Timing;
use crate::selftest::rig::Rig;
use lopper_engine::{Layer, Result};
use lopper_kernels::params::Dtype;
use lopper_kernels::shapes::Conv2d;
use lopper_models::{Options, numbered_classes};

/// Times every layer with every kernel that supports it.
pub fn cases(rig: &Rig) -> Result<Vec<Case>> {
    let layers = match rig.large {
        true => layers(&["vgg16_bn", "resnet18", "resnet50"], 128, 64)?,
        false => vec![("a small layer".into(), Conv2d::square([1, 6, 6, 16], 16, 3, 1, 1))],
    };
    let mut cases = Vec::new();
    for (name, g) in layers {
        // Training never needs the gradient of the images.
        for pass in Pass::ALL.into_iter().filter(|&pass| pass != Pass::InputGrad || g.c != 3) {
            for grade in GRADES {
                for &precision in grade.precisions() {
                    if grade.applies(&rig.gpu, pass, &g, precision).is_ok() {
                        cases.push(case(&name, g, pass, grade, precision));
                    }
                }
            }
        }
    }
    Ok(cases)
}

fn case(name: &str, g: Conv2d, pass: Pass, grade: Grade, precision: Dtype) -> Case {
    let how = format!("{}, {}, {}", pass.name(), grade.name(), precision.name());
    Case::time(name, how, move |rig| product(rig, &g, pass, grade, precision))
}

/// Times one product.
pub fn product(rig: &Rig, g: &Conv2d, pass: Pass, grade: Grade, precision: Dtype) -> Result<Timing> {
    let dtype = precision.storage();
    let (x, w, y) = (g.x_len(), g.w_len(), g.y_len());
    let (a, b, out, stored) = match pass {
        Pass::Forward => (x, w, y, dtype),
        Pass::InputGrad => (y, w, x, dtype),
        Pass::WeightGrad => (x, y, w, Dtype::F32),
    };
    let (a, b) = (noise(rig, dtype, a)?, noise(rig, dtype, b)?);
    let mut out = rig.gpu.buffer(stored, out)?;
    let gpu = rig.gpu(precision);
    time(rig, g.macs(), || grade.product(&gpu, pass, g, &a, &b, &mut out))
}

/// Returns the convolutions of `networks` on `batch` images of `size` pixels, each geometry once, with a descriptive
/// name.
pub fn layers(networks: &[&str], size: usize, batch: usize) -> Result<Vec<(String, Conv2d)>> {
    let mut layers: Vec<(String, Conv2d)> = Vec::new();
    for network in networks {
        // Only the geometry matters, so there is no need for random weights.
        let options = Options { seed: None, ..Options::new(numbered_classes(10), [size, size, 3]) };
        let graph = lopper_models::build(network, &options)?;
        let shapes = graph.shapes([batch, size, size, 3])?;
        for node in graph.nodes() {
            let Layer::Conv2d(conv) = &node.layer else { continue };
            let g = conv.geometry(&shapes[node.inputs[0]])?;
            if layers.iter().all(|(_, known)| *known != g) {
                let Conv2d { h, w, c, o, kh, kw, stride: [stride, _], .. } = g;
                layers.push((format!("{network} {} {h}×{w}×{c}, {o} of {kh}×{kw}/{stride}", node.name), g));
            }
        }
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::layers;

    #[test]
    fn each_layer_geometry_occurs_once() {
        let layers = layers(&["vgg16_bn", "resnet18", "resnet50"], 128, 64).unwrap();
        assert!(layers.iter().any(|(name, g)| name.contains("7×7/2") && g.n == 64));
        for (i, (name, g)) in layers.iter().enumerate() {
            assert!(layers[..i].iter().all(|(_, other)| other != g), "{name}");
        }
    }
}
