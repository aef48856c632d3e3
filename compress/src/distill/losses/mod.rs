//! The distances between a student and a teacher, each as its value and its gradient by the student's values, in f64.
//!
//! ```text
//!   logits       per image       soft targets, mean squared error, cosine, DKD, NKD, NormKD
//!                over the batch  DIST
//!   features     per image       FitNets, attention, activation boundaries, channel-wise, overhaul
//!                over a memory   contrast
//!                over the batch  similarity, distances, angles, PKT: functions of the Gram matrix F·Fᵀ
//! ```
//!
//! Two of them, the most used, are operations of the tape with kernels of their own: soft targets and the mean squared
//! error. The others have gradients in closed form and cost little beside a network, so they are plain loops in f64.

mod channelwise;
mod contrast;
mod dist;
mod gram;
mod logits;
mod maps;
mod measured;
mod normkd;
mod overhaul;
mod relations;
mod rows;

pub use channelwise::channelwise;
pub(super) use contrast::unit;
pub use contrast::{Anchor, Memory};
pub use dist::dist;
pub use gram::Gram;
pub use logits::{cosine, decoupled, normalized};
pub use maps::{Map, attention, boundaries};
pub use measured::Measured;
pub use normkd::normkd;
pub use overhaul::{margin, partial};
pub use relations::{angles, distances, probabilities, similarity};
pub use rows::Rows;
