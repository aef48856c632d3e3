//! fastai's head, which fits any body, and freezing the body to train only the head.

use crate::builder::Builder;
use crate::init::Init;
use lopper_engine::train::Layers;
use lopper_engine::{Graph, Layer, Result};

/// Width of the hidden layer.
const HIDDEN: usize = 512;

/// Adds fastai's head (`create_head` of its vision learner), with fastai's module numbers. The maximum comes first in
/// the concatenation: channel `c` of `C` is a maximum, `C + c` a mean.
///
/// ```text
/// ─┬─ max over the image  ─┬─ concat ─ flatten ─ bn ─ dropout ¼ ─ linear ─ relu ─ bn ─ dropout ½ ─ linear
///  └─ mean over the image ─┘
/// ```
pub(super) fn fastai(net: &mut Builder, classes: usize) {
    net.init(Init::KaimingFanIn, Init::KaimingFanIn).within("head", |net| {
        let image = net.at();
        let max = net.adaptive_max_pool("0.mp", 1).at();
        let mean = net.go_to(image).adaptive_avg_pool("0.ap", 1).at();
        net.concat("0", &[max, mean]).flatten(1);
        net.batch_norm(2).dropout(3, 0.25).linear_without_bias(4, HIDDEN).relu(5);
        net.batch_norm(6).dropout(7, 0.5).linear_without_bias(8, classes);
    });
}

/// Freezes the body, that is, every layer that is not behind a flatten layer, so that training the head works on fixed
/// features. Batch norms are never frozen: they adapt to the new images. Returns an error if the network has no flatten
/// layer. To freeze it for a single training, see [`lopper_engine::train::Freezing`].
pub fn freeze_body(graph: &mut Graph) -> Result<()> {
    for id in Layers::Body.nodes(graph)? {
        let layer = graph.layer_mut(id);
        if !matches!(layer, Layer::BatchNorm(_)) {
            layer.params_mut().into_iter().for_each(|(_, param)| param.trainable = false);
        }
    }
    Ok(())
}
