//! What teachers said of batches that recur.
//!
//! ```text
//!   batch ─► SHA-256 of its images ─► known? ── yes ─► the logits of then
//!                                            └─ no ──► the teachers run, and their logits are kept if they fit
//! ```
//!
//! A teacher is in eval mode and never changes, so equal images have equal logits. A whole batch is the key: the logits are
//! then those that the teacher would compute, bit for bit, whatever algorithm it chooses by the size of the batch. So a
//! training gives the same bits with and without a cache, and after an interruption, which empties it.
//!
//! Batches recur if the order and the augmentation of the images do: with `draws` among the options of training.

use lopper_engine::{Result, Tensor};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Logits by the images of a batch.
#[derive(Debug)]
pub(super) struct Cache {
    /// The bytes that may still be taken.
    left: usize,
    known: HashMap<[u8; 32], Vec<Tensor>>,
}

/// About as much as the map holds for an entry besides its logits.
const OVERHEAD: usize = 256;

impl Cache {
    /// A cache of up to `bytes` bytes.
    pub fn new(bytes: usize) -> Self {
        Self { left: bytes, known: HashMap::new() }
    }

    /// The logits of each teacher for `images`: those that are known, or those of `run`.
    pub fn get(&mut self, images: &Tensor, run: impl FnOnce() -> Result<Vec<Tensor>>) -> Result<Vec<Tensor>> {
        let key = key(images)?;
        if let Some(logits) = self.known.get(&key) {
            return Ok(logits.clone());
        }
        let logits = run()?;
        let bytes = OVERHEAD + logits.iter().map(|logits| 4 * logits.len()).sum::<usize>();
        if bytes <= self.left {
            self.left -= bytes;
            self.known.insert(key, logits.clone());
        }
        Ok(logits)
    }
}

/// The checksum of a batch.
fn key(images: &Tensor) -> Result<[u8; 32]> {
    const BLOCK: usize = 4096;
    images.fetch()?;
    let mut hash = Sha256::new();
    images.shape().iter().for_each(|&length| hash.update((length as u64).to_le_bytes()));
    let mut bytes = Vec::with_capacity(4 * BLOCK);
    for block in images.data().chunks(BLOCK) {
        bytes.clear();
        bytes.extend(block.iter().flat_map(|x| x.to_le_bytes()));
        hash.update(&bytes);
    }
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_known_by_its_bits_and_the_bytes_are_bounded() {
        let batch = |first: f32| Tensor::from_fn(&[2, 1, 1, 3], |i| if i == 0 { first } else { i as f32 });
        let mut cache = Cache::new(2 * (OVERHEAD + 16));
        let mut runs = 0;
        let mut get = |cache: &mut Cache, first: f32, logit: f32| {
            let logits = cache
                .get(&batch(first), || {
                    runs += 1;
                    Ok(vec![Tensor::full(&[2, 2], logit)])
                })
                .unwrap();
            (logits[0].data()[0], runs)
        };
        assert_eq!(get(&mut cache, 0.0, 1.0), (1.0, 1));
        assert_eq!(get(&mut cache, 0.0, 2.0), (1.0, 1), "known");
        assert_eq!(get(&mut cache, -0.0, 3.0), (3.0, 2), "other bits");
        assert_eq!(get(&mut cache, 7.0, 4.0), (4.0, 3), "no bytes are left");
        assert_eq!(get(&mut cache, 7.0, 5.0), (5.0, 4), "and it was not kept");
        assert_eq!(get(&mut cache, -0.0, 6.0), (3.0, 4));
    }
}
