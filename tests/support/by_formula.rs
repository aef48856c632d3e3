//! Weights that PyTorch draws by the same formula (`make.py` of their fixtures), so that no file holds them.

use lopper_engine::Tensor;

/// The number in [-1, 1) at position `i` of the tensor `seed`.
fn number(seed: u32, i: usize) -> f64 {
    let mut h = (i as u32)
        .wrapping_mul(2_654_435_761)
        .wrapping_add(seed.wrapping_mul(2_246_822_519))
        .wrapping_add(374_761_393);
    h ^= h >> 15;
    h = h.wrapping_mul(2_246_822_519);
    h ^= h >> 13;
    f64::from(h) / f64::from(1u32 << 31) - 1.0
}

/// The values of the tensor `name` of `shape`, whose number is `seed`.
pub fn weights(name: &str, seed: u32, shape: &[usize]) -> Vec<f32> {
    let fan_in: usize = shape.iter().skip(1).product();
    let scale = (6.0 / fan_in as f64).sqrt();
    let is_positive = name.ends_with("running_var") || name.ends_with("weight");
    let value = |i: usize| match (shape.len(), is_positive) {
        (1, true) => 1.0 + 0.5 * number(seed, i),
        (1, false) => 0.4 * number(seed, i),
        _ => number(seed, i) * scale,
    };
    (0..shape.iter().product()).map(|i| value(i) as f32).collect()
}

/// Images `[N, H, W, 3]` of the numbers that make.py draws as `[N, 3, H, W]`.
pub fn images(count: usize, size: usize) -> Tensor {
    Tensor::from_fn(&[count, size, size, 3], |i| {
        let (channel, pixel) = (i % 3, i / 3);
        let (image, place) = (pixel / (size * size), pixel % (size * size));
        number(10_000, (image * 3 + channel) * size * size + place) as f32
    })
}
