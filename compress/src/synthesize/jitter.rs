//! Images that are shifted around their borders.

/// Images `[N, H, W, C]` shifted by `[rows, columns]`: pixel (i, j) moves to ((i + rows) mod H, (j + columns) mod W). What
/// leaves at one border enters at the other, so that the opposite shift undoes it, and moves gradients back.
pub(super) fn shifted(images: &[f32], [_, h, w, c]: [usize; 4], [rows, columns]: [isize; 2]) -> Vec<f32> {
    let wrapped =
        |at: usize, by: isize, length: usize| (at as isize + by).rem_euclid(length as isize) as usize;
    let mut moved = vec![0.0; images.len()];
    for (from, to) in images.chunks_exact(h * w * c).zip(moved.chunks_exact_mut(h * w * c)) {
        for i in 0..h {
            let row = wrapped(i, rows, h);
            for j in 0..w {
                let (source, target) = ((i * w + j) * c, (row * w + wrapped(j, columns, w)) * c);
                to[target..][..c].copy_from_slice(&from[source..][..c]);
            }
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_wraps_around_and_is_undone_by_its_opposite() {
        let image: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let moved = shifted(&image, [1, 2, 3, 2], [1, -1]);
        // Rows change places; in each, the first pixel becomes the last.
        assert_eq!(moved, [8.0, 9.0, 10.0, 11.0, 6.0, 7.0, 2.0, 3.0, 4.0, 5.0, 0.0, 1.0]);
        let shape = [1, 2, 3, 2];
        for shift in [[0, 0], [5, -7], [-1, 2]] {
            let there = shifted(&image, shape, shift);
            assert_eq!(shifted(&there, shape, shift.map(|by| -by)), image);
        }
    }
}
