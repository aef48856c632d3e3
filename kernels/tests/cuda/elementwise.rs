use crate::support::device;
use kernels::cuda;
use kernels::params::Dtype;

#[test]
fn relu() {
    let Some(gpu) = device() else { return };
    for len in [0usize, 1, 3, 4, 5, 1000, 1023] {
        let x: Vec<f32> = (0..len).map(|i| i as f32 - 7.5).collect();
        let mut y = gpu.buffer(Dtype::F32, len).unwrap();
        cuda::relu_forward(gpu, &gpu.upload(&x).unwrap(), &mut y).unwrap();
        assert_eq!(gpu.download(&y).unwrap(), x.iter().map(|x| x.max(0.0)).collect::<Vec<_>>());
    }
}
