//! The center of a resized image: which part of the image it is, and where it lies in the output.

use lopper_engine::info::Resize;

/// One axis of a centered crop of a resized image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// Start of the part, in pixels of the image.
    pub start: f64,
    /// Length of the part, in pixels of the image.
    pub extent: f64,
    /// Its length in the output.
    pub taken: u32,
    /// Black pixels before it in the output.
    pub before: u32,
}

/// Both axes of a centered crop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// Columns.
    pub x: Axis,
    /// Rows.
    pub y: Axis,
}

/// Returns the part of an image of `width` × `height` that becomes a square of `size` when the image is resized to
/// `resize` and its center is cropped, as torchvision's `Resize` and `CenterCrop` do: the longer side is rounded down,
/// the crop starts at a whole pixel, and a side that is too short is padded.
///
/// # Panics
/// Panics for [`Resize::Center`], which does not resize before it crops.
pub fn placement(resize: Resize, width: u32, height: u32, size: u32) -> Placement {
    let resized = match resize {
        Resize::None => [width, height],
        Resize::Square => [size, size],
        Resize::Shorter(side) => shorter(width, height, side as u64),
        Resize::Center(_) => panic!("a centered square is cropped before it is resized"),
    };
    let [x, y] =
        [(width, resized[0]), (height, resized[1])].map(|(length, resized)| axis(length, resized, size));
    Placement { x, y }
}

/// The size of an image whose shorter side becomes `side`.
pub fn shorter(width: u32, height: u32, side: u64) -> [u32; 2] {
    let (short, long) = (u64::from(width.min(height)), u64::from(width.max(height)));
    let long = (side * long / short).min(u32::MAX.into()) as u32;
    if width <= height { [side as u32, long] } else { [long, side as u32] }
}

fn axis(length: u32, resized: u32, size: u32) -> Axis {
    let scale = f64::from(length) / f64::from(resized);
    if resized < size {
        let before = (size - resized) / 2;
        return Axis { start: 0.0, extent: length.into(), taken: resized, before };
    }
    let start = f64::from(half_to_even(resized - size));
    let (start, mut extent) = (start * scale, f64::from(size) * scale);
    // A rounding error must not put the end behind the image.
    while start + extent > f64::from(length) {
        extent = extent.next_down();
    }
    Axis { start, extent, taken: size, before: 0 }
}

/// Half of `n`, a tie going to the even number, as Python's `round` does.
pub fn half_to_even(n: u32) -> u32 {
    let half = n / 2;
    half + u32::from(n % 2 == 1 && half % 2 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_to_even() {
        assert_eq!([0, 1, 2, 3, 4, 5, 7].map(half_to_even), [0, 0, 1, 2, 2, 2, 4]);
    }

    #[test]
    fn the_longer_side_is_rounded_down() {
        assert_eq!(shorter(500, 375, 256), [341, 256]);
        assert_eq!(shorter(375, 500, 256), [256, 341]);
        assert_eq!(shorter(1, u32::MAX, 256), [256, u32::MAX]);
    }

    #[test]
    fn a_short_side_is_padded() {
        let Placement { x, y } = placement(Resize::None, 5, 9, 8);
        assert_eq!(x, Axis { start: 0.0, extent: 5.0, taken: 5, before: 1 });
        assert_eq!(y, Axis { start: 0.0, extent: 8.0, taken: 8, before: 0 });
    }
}
