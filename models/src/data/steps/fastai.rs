//! fastai's augmentation: one warp composed of a flip, a rotation, a zoom and a tilt, and a change of lighting.
//!
//! Both versions sample an image once. A point of the result goes through these maps, in coordinates from −1 at the center
//! of the first pixel to 1 at that of the last (`align_corners`):
//!
//! ```text
//!   version 1   flip ─► tilt ─► zoom ─► rotation ─► point of the image      four corners move independently
//!   version 2   zoom ─► rotation ─► flip ─► tilt ─► point of the image      two numbers move all corners
//! ```
//!
//! Source: fastai 1.0.61, `vision/transform.py` and `image.py`; fastai 2.8.12, `vision/augment.py`.
//! `tests/fixtures/fastai/make.py` runs both.

use super::geometric::uniform;
use super::step::Fastai;
use crate::data::pixels::{Rounding, Sampling, Warp, color};
use crate::data::random::Generator;
use image::RgbImage;
use rand::RngExt;

/// The corners of an image.
const CORNERS: [[f64; 2]; 4] = [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]];

/// The symmetries of a square, by rows: the identity first.
const SYMMETRIES: [[[f64; 2]; 2]; 8] = [
    [[1.0, 0.0], [0.0, 1.0]],
    [[-1.0, 0.0], [0.0, 1.0]],
    [[1.0, 0.0], [0.0, -1.0]],
    [[-1.0, 0.0], [0.0, -1.0]],
    [[0.0, 1.0], [1.0, 0.0]],
    [[0.0, -1.0], [1.0, 0.0]],
    [[0.0, 1.0], [-1.0, 0.0]],
    [[0.0, -1.0], [-1.0, 0.0]],
];

/// The random numbers of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Draw {
    /// Position in [`SYMMETRIES`].
    symmetry: usize,
    /// Angle in degrees.
    angle: f64,
    /// Scale.
    zoom: f64,
    /// The point that keeps its place, as fractions of width and height.
    focus: [f64; 2],
    /// Movements of the corners, outward.
    tilt: Tilt,
    /// Brightness: ½ changes nothing.
    change: f64,
    /// Factor of contrast, in logits.
    contrast: f64,
}

/// Movements of the corners.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tilt {
    /// Version 1: vertical ones of the right and the left side, horizontal ones of the lower and the upper side.
    Sides([f64; 4]),
    /// Version 2: vertical and horizontal.
    Axes([f64; 2]),
}

impl Tilt {
    /// The map from the moved corners to the corners.
    fn warp(self) -> Warp {
        let moves = match self {
            Self::Sides([right, left, lower, upper]) => {
                [[-upper, -left], [-lower, left], [upper, -right], [lower, right]]
            }
            Self::Axes([x, y]) => [[-y, -x], [y, x], [y, x], [-y, -x]],
        };
        if moves.as_flattened().iter().all(|&step| step == 0.0) {
            return Warp::IDENTITY;
        }
        let moved = std::array::from_fn(|i| [CORNERS[i][0] + moves[i][0], CORNERS[i][1] + moves[i][1]]);
        Warp::perspective(moved, CORNERS).unwrap_or(Warp::IDENTITY)
    }
}

/// A linear map, by rows.
fn linear([[a, b], [c, d]]: [[f64; 2]; 2]) -> Warp {
    Warp([[a, b, 0.0], [c, d, 0.0], [0.0, 0.0, 1.0]])
}

impl Draw {
    /// The numbers that leave images as they are.
    const NEUTRAL: Self = Self {
        symmetry: 0,
        angle: 0.0,
        zoom: 1.0,
        focus: [0.5; 2],
        tilt: Tilt::Sides([0.0; 4]),
        change: 0.5,
        contrast: 1.0,
    };

    /// The maps of this draw: flip, rotation, zoom and tilt.
    fn maps(&self, version: u8) -> [Warp; 4] {
        let (sin, cos) = self.angle.to_radians().sin_cos();
        // The versions turn in opposite directions.
        let sin = if version == 1 { -sin } else { sin };
        let s = 1.0 / self.zoom;
        let [x, y] = self.focus.map(|at| (1.0 - s) * (2.0 * at - 1.0));
        let zoom = Warp([[s, 0.0, x], [0.0, s, y], [0.0, 0.0, 1.0]]);
        [linear(SYMMETRIES[self.symmetry]), linear([[cos, sin], [-sin, cos]]), zoom, self.tilt.warp()]
    }
}

impl Fastai {
    pub(super) fn apply(&self, image: RgbImage, rng: &mut Generator) -> RgbImage {
        self.drawn(&self.draw(rng), image)
    }

    /// The random numbers of an image.
    fn draw(&self, rng: &mut Generator) -> Draw {
        let symmetry = match (self.do_flip, self.flip_vert) {
            (false, _) => 0,
            (true, false) => usize::from(rng.random_bool(0.5)),
            // Version 2 leaves half of the images as they are.
            (true, true) if self.version == 1 || rng.random_bool(0.5) => rng.random_range(0..8),
            (true, true) => 0,
        };
        let affine = |rng: &mut Generator| rng.random_bool(self.p_affine);
        let within = |rng: &mut Generator, most: f64| uniform(rng, [-most, most]);
        let mut draw = Draw { symmetry, ..Draw::NEUTRAL };
        if self.max_warp > 0.0 && self.version == 1 && affine(rng) {
            draw.tilt = Tilt::Sides([0; 4].map(|_| within(rng, self.max_warp)));
        } else if self.max_warp > 0.0 && self.version != 1 {
            draw.tilt =
                Tilt::Axes([0; 2].map(|_| if affine(rng) { within(rng, self.max_warp) } else { 0.0 }));
        }
        if self.max_rotate > 0.0 && affine(rng) {
            draw.angle = within(rng, self.max_rotate);
        }
        let zooms = [self.min_zoom, self.max_zoom];
        if zooms != [1.0; 2] && affine(rng) {
            draw.zoom = uniform(rng, zooms);
            draw.focus = [0; 2].map(|_| rng.random_range(0.0..1.0));
        }
        if self.max_lighting > 0.0 && rng.random_bool(self.p_lighting) {
            let most = 0.5 * self.max_lighting;
            draw.change = uniform(rng, [0.5 - most, 0.5 + most]);
        }
        if self.max_lighting > 0.0 && rng.random_bool(self.p_lighting) {
            let least = (1.0 - self.max_lighting).ln();
            draw.contrast = uniform(rng, [least, -least]).exp();
        }
        draw
    }

    /// `image`, changed as `draw` says.
    fn drawn(&self, draw: &Draw, image: RgbImage) -> RgbImage {
        let warp = self.warp(draw, [image.width(), image.height()]);
        let (padding, rounding) = (self.padding_mode, Rounding::Nearest);
        let sampling = Sampling { bilinear: true, padding, fill: [0; 3], rounding };
        let mut image = if warp == Warp::IDENTITY { image } else { warp.apply(&image, sampling) };
        if (draw.change, draw.contrast) != (0.5, 1.0) {
            let odds = draw.change / (1.0 - draw.change);
            color::lighting(&mut image, odds.powf(draw.contrast), draw.contrast);
        }
        image
    }

    /// The map from the pixels of the result to those of an image of the same size.
    fn warp(&self, draw: &Draw, [width, height]: [u32; 2]) -> Warp {
        let [flip, rotation, zoom, tilt] = draw.maps(self.version);
        // Turns are of pixels, which are not square in these coordinates unless the image is.
        let ratio = f64::from(height) / f64::from(width);
        let square =
            |Warp([[a, b, c], [d, e, f], last]): Warp| Warp([[a, b * ratio, c], [d / ratio, e, f], last]);
        let map = match self.version {
            // Version 1 mirrors the result; all eight symmetries are part of the matrix instead.
            1 if !self.flip_vert => flip.then(&tilt).then(&square(zoom.then(&rotation))),
            1 => tilt.then(&square(zoom.then(&rotation).then(&flip))),
            _ => square(zoom.then(&rotation).then(&flip)).then(&tilt),
        };
        if map == Warp::IDENTITY {
            return map;
        }
        let [x, y] = [width, height].map(|side| 0.5 * f64::from(side));
        // From the center to that of the last pixel; a side of one pixel has only its center.
        let [half_x, half_y] = [x - 0.5, y - 0.5];
        let [in_x, in_y] = [half_x, half_y].map(|half| if half > 0.0 { 1.0 / half } else { 0.0 });
        let inward = Warp([[in_x, 0.0, -x * in_x], [0.0, in_y, -y * in_y], [0.0, 0.0, 1.0]]);
        let outward = Warp([[half_x, 0.0, x], [0.0, half_y, y], [0.0, 0.0, 1.0]]);
        inward.then(&map).then(&outward)
    }
}

#[cfg(test)]
mod tests;
