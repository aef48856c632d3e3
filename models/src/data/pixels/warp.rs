//! Rotations, affine maps and perspectives.
//!
//! A warp maps the centers of the output's pixels into the image: `(x, y, 1) ↦ M (x, y, 1)`, divided by the third
//! component. Pixels are sampled as in Pillow: at the nearest center, or between the four nearest.

use super::pad::Padding;
use image::{Rgb, RgbImage};

/// A projective map of the plane, from the output to the image, by rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warp(pub [[f64; 3]; 3]);

/// How a warp samples the image.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Whether to interpolate between the four nearest pixels rather than to take the nearest one.
    pub bilinear: bool,
    /// The pixels outside the image.
    pub padding: Padding,
    /// Their color with [`Padding::Constant`].
    pub fill: [u8; 3],
    /// How interpolated values become bytes.
    pub rounding: Rounding,
}

/// How interpolated values become bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Toward zero, as in Pillow.
    Zero,
    /// To the nearest byte.
    Nearest,
}

impl Warp {
    /// The identity.
    pub const IDENTITY: Self = Self([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);

    /// The map that first applies `self` and then `next`.
    pub fn then(&self, next: &Self) -> Self {
        let entry = |i: usize, j: usize| (0..3).map(|k| next.0[i][k] * self.0[k][j]).sum();
        Self([0, 1, 2].map(|i| [0, 1, 2].map(|j| entry(i, j))))
    }

    /// The inverse of torchvision's affine map about the center of an image of `width` × `height`: a rotation by
    /// `angle` degrees and shears by `shear` degrees, a scale, and a shift by whole pixels.
    pub fn affine(
        [width, height]: [u32; 2],
        angle: f64,
        shift: [f64; 2],
        scale: f64,
        shear: [f64; 2],
    ) -> Self {
        let (rotation, [sx, sy]) = (angle.to_radians(), shear.map(f64::to_radians));
        let [cx, cy] = [width, height].map(|side| f64::from(side) * 0.5);
        let a = (rotation - sy).cos() / sy.cos();
        let b = -(rotation - sy).cos() * sx.tan() / sy.cos() - rotation.sin();
        let c = (rotation - sy).sin() / sy.cos();
        let d = -(rotation - sy).sin() * sx.tan() / sy.cos() + rotation.cos();
        let [m0, m1, m3, m4] = [d, -b, -c, a].map(|value| value / scale);
        let [x, y] = [-cx - shift[0], -cy - shift[1]];
        Self([[m0, m1, m0 * x + m1 * y + cx], [m3, m4, m3 * x + m4 * y + cy], [0.0, 0.0, 1.0]])
    }

    /// The map that takes the four points `from` to the points `to`, or `None` if three of them lie on a line.
    pub fn perspective(from: [[f64; 2]; 4], to: [[f64; 2]; 4]) -> Option<Self> {
        let mut rows = [[0.0; 9]; 8];
        for (i, ([x, y], [u, v])) in from.into_iter().zip(to).enumerate() {
            rows[2 * i] = [x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, u];
            rows[2 * i + 1] = [0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y, v];
        }
        let s = solve(rows)?;
        Some(Self([[s[0], s[1], s[2]], [s[3], s[4], s[5]], [s[6], s[7], 1.0]]))
    }

    /// Warps `image` to an image of the same size.
    pub fn apply(&self, image: &RgbImage, sampling: Sampling) -> RgbImage {
        let [p, q, r] = self.0;
        RgbImage::from_fn(image.width(), image.height(), |x, y| {
            let (x, y) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
            let of = |row: [f64; 3]| row[0] * x + row[1] * y + row[2];
            let w = of(r);
            Rgb(sample(image, [of(p) / w, of(q) / w], sampling))
        })
    }
}

/// The value of `image` at a point, in which the center of the first pixel is at (½, ½).
fn sample(image: &RgbImage, at: [f64; 2], sampling: Sampling) -> [u8; 3] {
    let sides = [image.width(), image.height()];
    let Sampling { bilinear, padding, fill, rounding } = sampling;
    // Far outside, floor does not fit an i64, and NaN is nowhere.
    let limit = 1e9;
    let near = at.iter().all(|v| v.abs() < limit);
    let outside = (0..2).any(|k| at[k] < 0.0 || at[k] >= f64::from(sides[k]));
    if !near || (padding == Padding::Constant && outside) {
        return fill;
    }
    // Beside a constant color, Pillow interpolates between the image's own pixels only.
    let padding = if padding == Padding::Constant { Padding::Edge } else { padding };
    let pixel = |x: i64, y: i64| {
        let [x, y] = [(x, sides[0]), (y, sides[1])].map(|(at, side)| padding.position(at, side).unwrap_or(0));
        image.get_pixel(x, y).0
    };
    if !bilinear {
        return pixel(at[0].floor() as i64, at[1].floor() as i64);
    }
    let [x, y] = at.map(|v| v - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let (dx, dy) = (x - left, y - top);
    let (left, top) = (left as i64, top as i64);
    let corners = [pixel(left, top), pixel(left + 1, top), pixel(left, top + 1), pixel(left + 1, top + 1)];
    std::array::from_fn(|c| {
        let [a, b, d, e] = corners.map(|corner| f64::from(corner[c]));
        let (upper, lower) = (a + (b - a) * dx, d + (e - d) * dx);
        let more = match rounding {
            Rounding::Nearest => 0.5,
            // A position that is off by a rounding error must not cost a whole step.
            Rounding::Zero => 1e-6,
        };
        (upper + (lower - upper) * dy + more) as u8
    })
}

/// Solves eight linear equations, given with their right-hand sides, by elimination with pivoting.
fn solve(mut rows: [[f64; 9]; 8]) -> Option<[f64; 8]> {
    for column in 0..8 {
        let pivot = (column..8).max_by(|&i, &j| rows[i][column].abs().total_cmp(&rows[j][column].abs()))?;
        if rows[pivot][column].abs() < 1e-9 {
            return None;
        }
        rows.swap(column, pivot);
        let pivot = rows[column];
        for row in rows.iter_mut().skip(column + 1) {
            let factor = row[column] / pivot[column];
            row.iter_mut().zip(pivot).for_each(|(value, p)| *value -= factor * p);
        }
    }
    let mut solution = [0.0; 8];
    for i in (0..8).rev() {
        let known: f64 = (i + 1..8).map(|j| rows[i][j] * solution[j]).sum();
        solution[i] = (rows[i][8] - known) / rows[i][i];
    }
    Some(solution)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(warp: &Warp, [x, y]: [f64; 2]) -> [f64; 2] {
        let [p, q, r] = warp.0.map(|row| row[0] * x + row[1] * y + row[2]);
        [p / r, q / r]
    }

    proptest! {
        #[test]
        fn a_perspective_takes_its_points_to_theirs(
            moves in prop::array::uniform8(-0.3f64..0.3), side in 2.0f64..500.0,
        ) {
            let from = [[0.0, 0.0], [side, 0.0], [side, side], [0.0, side]];
            let to: [[f64; 2]; 4] = std::array::from_fn(|i| {
                [from[i][0] + moves[2 * i] * side, from[i][1] + moves[2 * i + 1] * side]
            });
            let warp = Warp::perspective(from, to).unwrap();
            for (a, b) in from.into_iter().zip(to) {
                let found = map(&warp, a);
                prop_assert!((found[0] - b[0]).abs() + (found[1] - b[1]).abs() < 1e-6 * side);
            }
        }

        #[test]
        fn the_identity_changes_nothing(width in 1u32..20, height in 1u32..20, bilinear: bool) {
            let image = RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, (x * y) as u8]));
            for padding in [Padding::Constant, Padding::Edge, Padding::Reflect, Padding::Symmetric] {
                let sampling = Sampling { bilinear, padding, fill: [9; 3], rounding: Rounding::Zero };
                prop_assert_eq!(&Warp::IDENTITY.apply(&image, sampling), &image);
                let affine = Warp::affine([width, height], 0.0, [0.0; 2], 1.0, [0.0; 2]);
                prop_assert_eq!(&affine.apply(&image, sampling), &image);
            }
        }
    }

    /// torchvision's perspectives, in `tests/fixtures/torchvision`.
    #[test]
    fn perspectives_are_torchvisions() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/torchvision");
        let picture = |name: &str| crate::data::decode_file(&folder.join(name)).unwrap();
        let mut seen = 0;
        for row in csv::Reader::from_path(folder.join("cases.csv")).unwrap().records().map(Result::unwrap) {
            if &row[0] != "perspective" {
                continue;
            }
            type Corners = [[f64; 2]; 4];
            let (filter, starts, ends): (String, Corners, Corners) = serde_json::from_str(&row[2]).unwrap();
            let warp = Warp::perspective(ends, starts).unwrap();
            let (padding, rounding) = (Padding::Constant, Rounding::Zero);
            let sampling = Sampling { bilinear: filter == "bilinear", padding, fill: [0; 3], rounding };
            let found = warp.apply(&picture(&format!("{}.png", &row[1])), sampling);
            let expected = picture(&row[3]);
            let far = found.iter().zip(expected.iter()).filter(|(a, b)| a.abs_diff(**b) > 1).count();
            assert!(far * 300 < expected.as_raw().len(), "{filter}: {far} bytes are far off");
            seen += 1;
        }
        assert_eq!(seen, 2);
    }

    #[test]
    fn points_on_a_line_have_no_perspective() {
        let line = [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [0.0, 3.0]];
        assert_eq!(Warp::perspective(line, line), None);
    }
}
