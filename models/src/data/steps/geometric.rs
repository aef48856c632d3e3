//! The random choices of geometric steps.

use super::check::sides;
use super::step::{
    RandomAffine, RandomCrop, RandomPerspective, RandomResizedCrop, RandomRotation, RandomZoom,
};
use crate::data::pixels::{Padding, Region, Rounding, Sampling, Warp, crop};
use crate::data::random::Generator;
use image::RgbImage;
use lopper_engine::info::Filter;
use rand::RngExt;

/// A number between the ends of a range.
pub fn uniform(rng: &mut Generator, [low, high]: [f64; 2]) -> f64 {
    if low == high { low } else { rng.random_range(low..=high) }
}

/// A box of random area and shape at a random position, at whole pixels. As in torchvision, the area is uniform over
/// `scale` and the ratio log-uniform over `ratio`. After ten boxes that do not fit, it is the largest centered box with
/// a valid ratio.
pub fn random_region(
    width: u32,
    height: u32,
    scale: [f64; 2],
    ratio: [f64; 2],
    rng: &mut Generator,
) -> Region {
    let area = f64::from(width) * f64::from(height);
    for _ in 0..10 {
        let area = area * rng.random_range(scale[0]..=scale[1]);
        let ratio = rng.random_range(ratio[0].ln()..=ratio[1].ln()).exp();
        let (w, h) = ((area * ratio).sqrt().round() as u32, (area / ratio).sqrt().round() as u32);
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let (left, top) = (rng.random_range(0..=width - w), rng.random_range(0..=height - h));
            return Region { left: left.into(), top: top.into(), width: w.into(), height: h.into() };
        }
    }
    let (width_f, height_f) = (f64::from(width), f64::from(height));
    let (w, h) = (width_f.min(height_f * ratio[1]), height_f.min(width_f / ratio[0]));
    Region::centered(width, height, w.round().max(1.0), h.round().max(1.0))
}

impl RandomResizedCrop {
    /// The pixels of the box. As in torchvision, those around it do not count when it is resized.
    pub(super) fn part(&self, image: &RgbImage, rng: &mut Generator) -> RgbImage {
        let region = random_region(image.width(), image.height(), self.scale, self.ratio, rng);
        let corner = [region.left as i64, region.top as i64];
        crop(image, corner, [region.width as u32, region.height as u32], Padding::Edge, [0; 3])
    }
}

impl RandomCrop {
    pub(super) fn apply(&self, image: &RgbImage, size: usize, rng: &mut Generator) -> RgbImage {
        let [height, width] = sides(self.size, size).map(|side| side as u32);
        // Where the padded image starts and ends along an axis, relative to the image.
        let mut start = |length: u32, wanted: u32| {
            let (mut before, mut padded) = (self.padding as i64, i64::from(length) + 2 * self.padding as i64);
            let lacking = i64::from(wanted) - padded;
            if lacking > 0 {
                // torchvision adds what is lacking on both sides.
                let added = if self.pad_if_needed { lacking } else { 0 };
                (before, padded) = (before + added, padded + lacking + added);
            }
            rng.random_range(0..=padded - i64::from(wanted)) - before
        };
        let (top, left) = (start(image.height(), height), start(image.width(), width));
        crop(image, [left, top], [width, height], self.padding_mode, self.fill)
    }
}

impl RandomRotation {
    pub(super) fn apply(&self, image: &RgbImage, rng: &mut Generator) -> RgbImage {
        let angle = uniform(rng, self.degrees.ends(0.0, -360.0));
        let sampling = sampling(self.filter, self.padding_mode, self.fill);
        // Counterclockwise, while an affine map turns clockwise.
        let turned = Warp::affine([image.width(), image.height()], -angle, [0.0; 2], 1.0, [0.0; 2]);
        turned.apply(image, sampling)
    }
}

impl RandomAffine {
    pub(super) fn apply(&self, image: &RgbImage, rng: &mut Generator) -> RgbImage {
        let size = [image.width(), image.height()];
        let angle = uniform(rng, self.degrees.ends(0.0, -360.0));
        let shift = [0, 1].map(|axis| {
            let most = self.translate[axis] * f64::from(size[axis]);
            uniform(rng, [-most, most]).round_ties_even()
        });
        let scale = uniform(rng, self.scale);
        let shear = [self.shear, self.shear_y].map(|range| uniform(rng, range.ends(0.0, -80.0)));
        let sampling = sampling(self.filter, self.padding_mode, self.fill);
        Warp::affine(size, angle, shift, scale, shear).apply(image, sampling)
    }
}

impl RandomZoom {
    pub(super) fn apply(&self, image: &RgbImage, rng: &mut Generator) -> RgbImage {
        let scale = uniform(rng, self.scale);
        let sampling = sampling(Filter::Bilinear, Padding::Reflect, [0; 3]);
        Warp::affine([image.width(), image.height()], 0.0, [0.0; 2], scale, [0.0; 2]).apply(image, sampling)
    }
}

impl RandomPerspective {
    pub(super) fn apply(&self, image: &RgbImage, rng: &mut Generator) -> RgbImage {
        let (width, height) = (i64::from(image.width()), i64::from(image.height()));
        let mut inward = |half: i64| rng.random_range(0..=(self.distortion_scale * half as f64) as i64);
        let mut corner = |right: bool, low: bool| {
            let (x, y) = (inward(width / 2), inward(height / 2));
            [if right { width - 1 - x } else { x }, if low { height - 1 - y } else { y }].map(|v| v as f64)
        };
        let ends = [corner(false, false), corner(true, false), corner(true, true), corner(false, true)];
        let (right, low) = (width as f64 - 1.0, height as f64 - 1.0);
        let starts = [[0.0, 0.0], [right, 0.0], [right, low], [0.0, low]];
        let sampling = sampling(self.filter, self.padding_mode, self.fill);
        // An image of one row or column has no perspective.
        Warp::perspective(ends, starts).map_or_else(|| image.clone(), |warp| warp.apply(image, sampling))
    }
}

fn sampling(filter: Filter, padding: Padding, fill: [u8; 3]) -> Sampling {
    Sampling { bilinear: filter != Filter::Nearest, padding, fill, rounding: Rounding::Zero }
}
