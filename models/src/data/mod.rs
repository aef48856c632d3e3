//! Data sets: images and labels from folders, tables and IDX files, augmented, in batches.
//!
//! ```text
//!   image file ──decode──► RgbImage ──Transform──► [size, size, 3] floats ──Loader──► Batch [N, H, W, C]
//!          Dataset: images and labels                cut, resize, flip, normalize      order, threads
//! ```
//!
//! [`open`] builds the whole pipeline from a [`DataConfig`]. The parts are public, for custom data sets.

mod augment;
mod config;
mod dataset;
mod decode;
pub mod fashion_mnist;
mod fit;
mod folder;
mod gather;
mod glance;
mod hints;
mod idx;
pub mod imagenette;
mod jpeg;
mod layout;
mod loader;
mod normalize;
mod open;
mod parts;
mod pixels;
mod png;
mod random;
pub mod steps;
mod subset;
mod summary;
mod thumbnail;
mod transform;
mod vocabulary;

pub use augment::{Augment, Augmentation, Crop};
pub use config::{DataConfig, DataName, EmptyClasses, Scored, Trained};
pub use dataset::{Cached, Dataset};
pub use decode::{decode_file, decode_upright};
pub use folder::{ImageFolder, Sample};
pub use idx::{IdxArray, IdxImages};
/// A decoded picture, as [`Dataset`] gives it.
pub use image::RgbImage;
pub use imagenette::NOISY_LABELS_FILE;
pub use layout::{ClassPattern, Columns, Part, Split, is_image, thousands};
pub use loader::{Loader, LoaderOptions};
pub use normalize::{IMAGENET_MEAN, IMAGENET_STD, Normalize};
pub use open::{Splits, open, open_sets};
pub use png::{picture, png};
pub use random::{Generator, generator};
pub use summary::Summary;
pub use transform::{Cut, Scratch, Transform};
pub use vocabulary::same_classes;
