//! Colors, with Pillow's arithmetic: bytes, rounded toward zero after each step.

use image::{Rgb, RgbImage};

/// Scales the brightness by `factor`.
pub fn brightness(image: &mut RgbImage, factor: f32) {
    image.pixels_mut().for_each(|pixel| *pixel = blend([0; 3], *pixel, factor));
}

/// Scales the distance from the mean gray by `factor`.
pub fn contrast(image: &mut RgbImage, factor: f32) {
    let sum: u64 = image.pixels().map(|pixel| u64::from(gray(*pixel))).sum();
    let mean = (sum as f64 / (f64::from(image.width()) * f64::from(image.height())) + 0.5) as u8;
    image.pixels_mut().for_each(|pixel| *pixel = blend([mean; 3], *pixel, factor));
}

/// Scales the distance of each pixel from its gray by `factor`.
pub fn saturation(image: &mut RgbImage, factor: f32) {
    image.pixels_mut().for_each(|pixel| *pixel = blend([gray(*pixel); 3], *pixel, factor));
}

/// Turns the color circle by `turn`, in −½..=½ turns.
pub fn hue(image: &mut RgbImage, turn: f32) {
    // Rounded toward zero, then added modulo 256.
    let turn = (turn * 255.0) as i32 as u8;
    for pixel in image.pixels_mut() {
        let [h, s, v] = to_hsv(pixel.0);
        *pixel = Rgb(from_hsv([h.wrapping_add(turn), s, v]));
    }
}

/// The luma of a pixel (ITU-R 601-2), in 16-bit fixed point.
fn gray(Rgb([r, g, b]): Rgb<u8>) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
}

/// `from + factor · (to − from)`. A conversion to bytes saturates.
fn blend(from: [u8; 3], to: Rgb<u8>, factor: f32) -> Rgb<u8> {
    Rgb(std::array::from_fn(|c| {
        let (from, to) = (f32::from(from[c]), f32::from(to.0[c]));
        (from + factor * (to - from)) as u8
    }))
}

fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    if max == min {
        return [0, 0, max];
    }
    let range = f32::from(max - min);
    let [rc, gc, bc] = [r, g, b].map(|c| f32::from(max - c) / range);
    let h = if r == max {
        bc - gc
    } else if g == max {
        2.0 + rc - bc
    } else {
        4.0 + gc - rc
    };
    // In double precision and back, as in Pillow: pure blue would otherwise fall just short of its byte.
    let h = ((f64::from(h) / 6.0 + 1.0) % 1.0) as f32;
    let bytes = |share: f32| (f64::from(share) * 255.0) as u8;
    [bytes(h), bytes(range / f32::from(max)), max]
}

fn from_hsv([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let (h, value) = (f64::from(h) * 6.0 / 255.0, f64::from(v));
    // Pillow keeps both shares in single precision.
    let (sector, f) = (h.floor(), f64::from((h - h.floor()) as f32));
    let s = f64::from((f64::from(s) / 255.0) as f32);
    let [p, q, t] = [1.0 - s, 1.0 - f64::from((s * f) as f32), 1.0 - s * (1.0 - f)]
        .map(|share| (value * share).round().clamp(0.0, 255.0) as u8);
    match sector as u32 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

/// Multiplies the odds of each value in `[0, 1]` by `odds` after raising them to `power`: fastai's brightness and
/// contrast in logits. The ends of the range stay.
pub fn lighting(image: &mut RgbImage, odds: f64, power: f64) {
    let table: [u8; 256] = std::array::from_fn(|byte| {
        let value = (byte as f64 / 255.0).clamp(1e-6, 1.0 - 1e-6);
        let odds = (value / (1.0 - value)).powf(power) * odds;
        (255.0 * odds / (1.0 + odds)).round() as u8
    });
    image.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Values of Pillow's `convert("HSV")`.
    #[test]
    fn pure_colors_have_pillows_hue() {
        let hues = [[255, 0, 0], [255, 255, 0], [0, 255, 0], [0, 255, 255], [0, 0, 255], [255, 0, 255]];
        assert_eq!(hues.map(|rgb| to_hsv(rgb)[0]), [0, 42, 85, 127, 170, 212]);
    }

    proptest! {
        #[test]
        fn hsv_round_trips_nearly(rgb in prop::array::uniform3(any::<u8>())) {
            let back = from_hsv(to_hsv(rgb));
            // The hue has 255 steps for six ramps of up to 255.
            prop_assert!(rgb.iter().zip(back).all(|(a, b)| a.abs_diff(b) <= 9), "{:?} {:?}", rgb, back);
        }

        #[test]
        fn factors_of_one_change_nothing(rgb in prop::array::uniform3(any::<u8>())) {
            let image = RgbImage::from_pixel(3, 2, Rgb(rgb));
            for change in [brightness, contrast, saturation] {
                let mut changed = image.clone();
                change(&mut changed, 1.0);
                prop_assert_eq!(&changed, &image);
            }
            let mut changed = image.clone();
            lighting(&mut changed, 1.0, 1.0);
            prop_assert_eq!(&changed, &image);
        }
    }

    #[test]
    fn lighting_is_monotone_and_moves_the_middle() {
        let mut ramp = RgbImage::from_fn(256, 1, |x, _| Rgb([x as u8; 3]));
        lighting(&mut ramp, 1.5, 1.2);
        assert!(ramp.pixels().is_sorted_by_key(|pixel| pixel[0]));
        assert!(ramp.get_pixel(128, 0)[0] > 140);
    }
}
