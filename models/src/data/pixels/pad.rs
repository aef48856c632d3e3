//! Padding and cropping.

use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};

/// The pixels around an image, with torchvision's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    /// One color.
    #[default]
    Constant,
    /// The pixels of the border.
    Edge,
    /// The image mirrored at the centers of its border pixels: `3 2 1 2 3`.
    Reflect,
    /// The image mirrored at the edges of its border pixels: `2 1 1 2 3`.
    Symmetric,
}

impl Padding {
    /// The position among `length` pixels that stands in for position `at`, or `None` for the color.
    pub fn position(self, at: i64, length: u32) -> Option<u32> {
        let length = i64::from(length);
        let inside = match self {
            _ if (0..length).contains(&at) => at,
            Self::Constant => return None,
            Self::Edge => at.clamp(0, length - 1),
            Self::Reflect if length == 1 => 0,
            Self::Reflect => {
                let at = at.rem_euclid(2 * (length - 1));
                at.min(2 * (length - 1) - at)
            }
            Self::Symmetric => {
                let at = at.rem_euclid(2 * length);
                at.min(2 * length - 1 - at)
            }
        };
        Some(inside as u32)
    }
}

/// Returns the part of `image` of `width` × `height` pixels whose upper left corner is at `left`, `top`. Pixels
/// outside the image come from `padding`, or have the color `fill`.
pub fn crop(
    image: &RgbImage,
    [left, top]: [i64; 2],
    [width, height]: [u32; 2],
    padding: Padding,
    fill: [u8; 3],
) -> RgbImage {
    let columns: Vec<Option<u32>> =
        (0..width).map(|x| padding.position(left + i64::from(x), image.width())).collect();
    RgbImage::from_fn(width, height, |x, y| {
        let row = padding.position(top + i64::from(y), image.height());
        match columns[x as usize].zip(row) {
            Some((x, y)) => *image.get_pixel(x, y),
            None => Rgb(fill),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NumPy's `pad` of `[0, 1, 2]`.
    #[test]
    fn positions_are_numpys() {
        let of = |padding: Padding| (-5..8).map(|at| padding.position(at, 3)).collect::<Option<Vec<_>>>();
        assert_eq!(of(Padding::Reflect).unwrap(), [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!(of(Padding::Symmetric).unwrap(), [1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]);
        assert_eq!(of(Padding::Edge).unwrap(), [0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2]);
        assert_eq!(of(Padding::Constant), None);
        assert_eq!(Padding::Reflect.position(-3, 1), Some(0));
    }
}
