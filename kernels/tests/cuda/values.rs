//! Values for the tests of operations: seeded, stored on the device in any type, and compared with the reference.

use lopper_kernels::cuda::{self, Cuda, DeviceBuffer};
use lopper_kernels::params::Dtype;

/// The types of floating-point buffers.
pub const FLOATS: [Dtype; 3] = [Dtype::F32, Dtype::Bf16, Dtype::F16];

/// `len` numbers in −1..1 that depend only on `seed`, exact in every type.
pub fn random(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as f64 / 128.0 - 1.0
    };
    (0..len).map(step).collect()
}

/// `len` integers in −4..=4: many ties, and sums that are exact.
pub fn integers(seed: u64, len: usize) -> Vec<f64> {
    random(seed, len).into_iter().map(|x| (4.5 * x).round().clamp(-4.0, 4.0)).collect()
}

/// Converts to single precision.
pub fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

/// The spacing of numbers just above 1.
pub fn epsilon(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Bf16 => f64::from(half::bf16::EPSILON),
        Dtype::F16 => f64::from(half::f16::EPSILON),
        Dtype::F32 | Dtype::Tf32 | Dtype::U32 => f64::from(f32::EPSILON),
    }
}

/// Rounds `x` to the type.
pub fn round(dtype: Dtype, x: f64) -> f64 {
    match dtype {
        Dtype::Bf16 => half::bf16::from_f32(x as f32).into(),
        Dtype::F16 => half::f16::from_f32(x as f32).into(),
        Dtype::F32 | Dtype::Tf32 | Dtype::U32 => f64::from(x as f32),
    }
}

/// Uploads `values` to the device.
pub fn put(gpu: &Cuda, dtype: Dtype, values: &[f64]) -> DeviceBuffer {
    let wide = gpu.upload(&narrow(values)).unwrap();
    let mut buffer = gpu.buffer(dtype, values.len()).unwrap();
    cuda::convert(gpu, &wide, &mut buffer).unwrap();
    buffer
}

/// The elements of `buffer`.
pub fn get(gpu: &Cuda, buffer: &DeviceBuffer) -> Vec<f32> {
    let mut wide = gpu.buffer(Dtype::F32, buffer.len()).unwrap();
    cuda::convert(gpu, buffer, &mut wide).unwrap();
    gpu.download(&wide).unwrap()
}

/// Returns what `fill` writes to a new buffer, after checking that two runs give the same bits.
pub fn filled(gpu: &Cuda, dtype: Dtype, len: usize, mut fill: impl FnMut(&mut DeviceBuffer)) -> Vec<f32> {
    let [first, second] = [(); 2].map(|()| {
        let mut buffer = gpu.buffer(dtype, len).unwrap();
        fill(&mut buffer);
        get(gpu, &buffer)
    });
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&first), bits(&second), "two runs");
    second
}

/// Checks that each element is within `tolerance · (1 + |want|)`.
pub fn check_close(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let (error, bound) = ((f64::from(got) - want).abs(), tolerance * (1.0 + want.abs()));
        assert!(
            error <= bound,
            "{what}: element {i} is {got}, not {want}: off by {error:e}, allowed {bound:e}"
        );
    }
}
