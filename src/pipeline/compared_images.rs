//! The images on which the function of a network is compared before and after a rewrite.

use super::Pipeline;
use crate::certify::synthetic_images;
use lopper_engine::data::Batches;
use lopper_engine::{Graph, Result, Tensor};

/// Number of validation images, rounded up to whole batches, on which the logit difference of a rewrite is measured.
const COMPARED_IMAGES: usize = 64;

impl Pipeline<'_> {
    /// Returns the first validation images, or synthetic images if there is no data.
    pub(super) fn some_images(&mut self, graph: &Graph) -> Result<Tensor> {
        let Some(data) = &mut self.data else { return synthetic_images(graph, self.device) };
        let [h, w, c] = data.val.image_shape();
        let (mut values, mut count) = (Vec::new(), 0);
        for batch in data.val.epoch(0)? {
            let images = batch?.images;
            count += images.dim(0);
            values.extend_from_slice(images.data());
            if count >= COMPARED_IMAGES {
                break;
            }
        }
        Tensor::from_vec(&[count, h, w, c], values)
    }
}
