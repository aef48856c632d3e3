//! Images from a network alone, to distill it without the data that it was trained on.
//!
//! ```text
//!   noise ─► images ─► teacher, in eval mode ─► logits ─► cross entropy with classes of choice
//!              ▲ │         └─ inputs of batch norms ────► distance of their mean and variance from the running ones
//!              │ └────────────────────────────────────► total variation, norm
//!              └─ Adam ◄─ gradient by the images
//! ```
//!
//! Yin et al. 2020, "Dreaming to distill: data-free knowledge transfer via DeepInversion", equations 2 to 4, without the
//! competition with a student (equation 7):
//! `L = CE(z(x), y) + α_tv R_tv(x) + α_l2 ‖x‖ + α Σ_l (‖μ_l(x) − μ̂_l‖ + ‖σ²_l(x) − σ̂²_l‖)`.
//!
//! What batch norms remember of the training images is all that the images have of them. Conditions: a network with batch
//! norms that classifies images.

mod config;
mod jitter;
mod priors;
mod statistics;
mod synthesizer;

pub use config::SynthesisConfig;
pub use priors::{norm, total_variation};
pub use statistics::distance_of_statistics;
pub use synthesizer::{Synthesis, Synthesizer, Terms};
