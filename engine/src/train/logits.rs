//! Anything that classifies images.

use crate::plan::Plan;
use crate::{Device, Error, Graph, Result, Tensor};

/// Computes logits: a graph, a plan, or any other form or combination of networks.
pub trait Logits {
    /// The logits `[N, K]` of `images` `[N, H, W, C]`, on the host. They are computed on `device`, unless the form of
    /// the network is bound to one.
    fn logits(&mut self, images: Tensor, device: &Device) -> Result<Tensor>;

    /// Returns an error if there is not enough memory for images of shape `[N, H, W, C]`. By default, there is.
    fn require(&mut self, _images: [usize; 4], _device: &Device) -> Result<()> {
        Ok(())
    }
}

impl Logits for &mut dyn Logits {
    fn logits(&mut self, images: Tensor, device: &Device) -> Result<Tensor> {
        (**self).logits(images, device)
    }

    fn require(&mut self, images: [usize; 4], device: &Device) -> Result<()> {
        (**self).require(images, device)
    }
}

/// In eval mode and without gradients.
impl Logits for &Graph {
    fn logits(&mut self, images: Tensor, device: &Device) -> Result<Tensor> {
        self.infer(device, images)
    }

    fn require(&mut self, images: [usize; 4], device: &Device) -> Result<()> {
        self.require_inference(images, device)
    }
}

/// On the device of the plan. Fewer images than it was made for are filled up with zeros.
impl Logits for &mut Plan {
    fn logits(&mut self, images: Tensor, _: &Device) -> Result<Tensor> {
        let [planned, h, w, c] = self.input_shape();
        let count = match images.shape() {
            &[n, ih, iw, ic] if n <= planned && [ih, iw, ic] == [h, w, c] => n,
            found => {
                let expected = [planned, h, w, c];
                return Err(Error::shape("plan", format!("expected at most {expected:?}, found {found:?}")));
            }
        };
        let logits = if count == planned {
            self.run(images.data())?
        } else {
            let mut filled = vec![0.0; planned * h * w * c];
            filled[..images.len()].copy_from_slice(images.data());
            self.run(&filled)?
        };
        let classes = logits.len() / planned;
        Tensor::from_slice(&[count, classes], &logits[..count * classes])
    }
}
