//! Augmentation as a list of steps with torchvision's names and semantics.
//!
//! ```text
//!   RgbImage ──step──► RgbImage ──step──► … ──► [size, size] ──normalize──► floats ──random_erasing──► out
//! ```
//!
//! Steps work on bytes, as torchvision's do on Pillow images. If no step sets the size, the images are prepared as those
//! to score first. Presets are lists that fastai has functions for.

mod apply;
mod check;
mod fastai;
mod geometric;
mod mix;
mod presets;
mod step;

pub use super::pixels::Padding;
pub use apply::Steps;
pub(super) use geometric::random_region;
pub use presets::{PRESETS, preset};
pub use step::{
    CenterCrop, ColorJitter, Fastai, Mix, RandomAffine, RandomCrop, RandomErasing, RandomFlip,
    RandomPerspective, RandomResizedCrop, RandomRotation, RandomZoom, Range, ResizeStep, Side, Step,
};
