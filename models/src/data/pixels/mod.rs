//! Operations on the pixels of an image, with torchvision's semantics.

mod center;
pub mod color;
mod interpolate;
mod pad;
mod region;
mod resample;
mod resize;
mod warp;

pub use center::{Placement, half_to_even, placement, shorter};
pub use pad::{Padding, crop};
pub use region::Region;
pub use resize::Resizer;
pub use warp::{Rounding, Sampling, Warp};
