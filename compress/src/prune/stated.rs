//! What can be stated about channels that go while a network trains.
//!
//! ```text
//!   trained so far ─ mask the channels ─► masked ─ slice them off ─► smaller ─► the training goes on
//!                    approximate:                  exact: the same function,
//!                    a share of the squared        measured on a few images beside
//!                    weights goes                  what rounding explains
//! ```

use crate::squared_weights;
use lopper_engine::certificate::{Certificate, Claim};
use lopper_engine::rounding::rounding_bound;
use lopper_engine::{Device, Graph, Result, Tensor};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// Images of noise on which the networks before and after a removal are compared.
const IMAGES: usize = 2;

/// Where they are: the training may have another device, which is busy.
static CPU: LazyLock<Device> = LazyLock::new(Device::cpu);

/// The cuts so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stated {
    /// The share of the squared weights that masks left, multiplied over the cuts.
    left: f64,
    /// The change of a logit by removing masked channels, and the change that rounding explains, of the cut that came nearest
    /// to it. None if nothing was measured.
    removal: Option<(f32, f32)>,
}

impl Default for Stated {
    fn default() -> Self {
        Self { left: 1.0, removal: None }
    }
}

impl Stated {
    /// Notes a cut of `before`, whose channels were masked and then removed.
    ///
    /// # Errors
    /// Those of running the networks.
    pub fn cut(&mut self, before: &Graph, [masked, smaller]: [&Graph; 2]) -> Result<()> {
        let (old, new) = (squared_weights(before), squared_weights(masked));
        if old > 0.0 {
            self.left *= (new / old).clamp(0.0, 1.0);
        }
        let [h, w, c] = before.info.input;
        if h * w * c == 0 {
            return Ok(());
        }
        let images = Tensor::from_fn(&[IMAGES, h, w, c], noise);
        let old = masked.logits(&CPU, images.clone())?;
        let difference = old.max_difference(&smaller.logits(&CPU, images)?)?;
        let largest = old.data().iter().fold(0.0_f32, |most, logit| most.max(logit.abs()));
        let bound = rounding_bound(masked, largest);
        let share = |(difference, bound): (f32, f32)| difference / bound;
        if difference.is_finite()
            && self.removal.is_none_or(|worst| share((difference, bound)) > share(worst))
        {
            self.removal = Some((difference, bound));
        }
        Ok(())
    }

    /// The certificates of all cuts.
    pub fn certificates(&self) -> Vec<Certificate> {
        let masked = Certificate {
            technique: "prune while training".into(),
            claim: Claim::Approximate {
                what: "share of the squared weights that went, cut by cut".into(),
                predicted: 1.0 - self.left,
            },
            logit_difference: None,
            images: 0,
        };
        let removed = self.removal.map(|(difference, bound)| Certificate {
            technique: "removal of masked channels while training".into(),
            claim: Claim::Exact { bound },
            logit_difference: Some(difference),
            images: IMAGES,
        });
        [masked].into_iter().chain(removed).collect()
    }
}

/// Noise in −1..1: a multiplicative hash of the position.
fn noise(i: usize) -> f32 {
    let hash = (i as u32 + 1).wrapping_mul(2_654_435_761) >> 8;
    hash as f32 / (1u32 << 23) as f32 - 1.0
}
