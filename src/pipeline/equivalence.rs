//! Whether a rewrite that claims to keep the function does: the largest difference of a logit.

use super::Pipeline;
use lopper_engine::data::Batches;
use lopper_engine::{Error, Graph, Result, Tensor};

/// Number of validation images, rounded up to whole batches, on which the logit difference of a rewrite is measured.
const COMPARED_IMAGES: usize = 64;

impl Pipeline<'_> {
    /// Returns the largest logit difference of two networks that compute the same function. Returns an error if it is
    /// not finite.
    pub(super) fn require_equivalence(&mut self, before: &Graph, after: &Graph) -> Result<f32> {
        match self.logit_difference(before, after)? {
            difference if difference.is_finite() => Ok(difference),
            found => Err(Error::invalid(format!(
                "a rewrite that keeps the function changed a logit by {found}: expected a finite difference; the weights or \
                 running statistics of the network are not finite, or overflow"
            ))),
        }
    }

    /// Returns the largest logit difference of two networks over some validation images.
    fn logit_difference(&mut self, before: &Graph, after: &Graph) -> Result<f32> {
        let images = self.some_images(before)?;
        before.logits(self.device, images.clone())?.max_difference(&after.logits(self.device, images)?)
    }

    /// Returns the first validation images, or synthetic images if there is no data.
    fn some_images(&mut self, graph: &Graph) -> Result<Tensor> {
        let Some(data) = &mut self.data else {
            let [h, w, c] = graph.info.input;
            graph.require_inference([4, h, w, c], self.device)?;
            return Tensor::from_vec(&[4, h, w, c], crate::latency::test_images(4 * h * w * c));
        };
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
