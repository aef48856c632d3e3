//! A subset of Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747), embedded in this crate so that
//! the demonstration and the tests need no download.

use super::idx::{IdxArray, IdxImages};
use lopper_engine::Result;
use std::path::Path;

/// Mean of Fashion-MNIST's training pixels in `[0, 1]`.
pub const MEAN: f32 = 0.2860;
/// Standard deviation of Fashion-MNIST's training pixels in `[0, 1]`.
pub const STD: f32 = 0.3530;
/// Side of the square in which the 28×28 images are centered; it can be halved five times without a remainder.
pub const PADDED: usize = 32;

const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];

macro_rules! embedded {
    ($file:literal) => {
        (include_bytes!(concat!("../../data/fashion-mnist-7k/", $file)).as_slice(), Path::new($file))
    };
}

/// The embedded training and test images.
pub fn open() -> Result<[IdxImages; 2]> {
    Ok([
        images(embedded!("train-images-idx3-ubyte.gz"), embedded!("train-labels-idx1-ubyte.gz"))?,
        images(embedded!("t10k-images-idx3-ubyte.gz"), embedded!("t10k-labels-idx1-ubyte.gz"))?,
    ])
}

fn images((images, images_name): (&[u8], &Path), (labels, labels_name): (&[u8], &Path)) -> Result<IdxImages> {
    let classes = CLASSES.map(String::from).to_vec();
    let (images, labels) = (IdxArray::parse(images, images_name)?, IdxArray::parse(labels, labels_name)?);
    IdxImages::new(images, labels, [images_name, labels_name], classes, PADDED)
}
