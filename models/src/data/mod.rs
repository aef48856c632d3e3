//! Data sets: images and labels from folders and IDX files, augmented, in batches.
//!
//! ```text
//!   image file ──decode──► RgbImage ──Transform──► [size, size, 3] floats ──Loader──► Batch [N, H, W, C]
//!          Dataset: images and labels                cut, resize, flip, normalize      order, threads
//! ```
//!
//! [`open`] builds the whole pipeline from a [`DataConfig`]. The parts are public, for custom data sets.

mod config;
mod dataset;
mod decode;
pub mod fashion_mnist;
mod folder;
mod idx;
pub mod imagenette;
mod jpeg;
mod loader;
mod random;
mod transform;

pub use config::{Augment, Crop, DataConfig, DataName, Splits, open};
pub use dataset::{Cached, Dataset};
pub use decode::decode_file;
pub use folder::ImageFolder;
pub use idx::{IdxArray, IdxImages};
pub use imagenette::NOISY_LABELS_FILE;
pub use loader::{Loader, LoaderOptions};
pub use random::{Generator, generator};
pub use transform::{Cut, IMAGENET_MEAN, IMAGENET_STD, Normalize, Scratch, Transform};
