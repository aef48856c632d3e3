//! Buffers: upload, download, duplicate and zeros.

use crate::support::device;
use lopper_kernels::params::Dtype;

#[test]
fn uploaded_values_are_downloaded_unchanged() {
    let Some(cuda) = device() else { return };
    for len in [0, 1, 3, 1000] {
        let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
        let buffer = cuda.upload(&values).unwrap();
        assert_eq!(cuda.download(&buffer).unwrap(), values);
        assert_eq!(cuda.download(&cuda.duplicate(&buffer).unwrap()).unwrap(), values);
        assert_eq!(cuda.download(&cuda.zeros(Dtype::F32, len).unwrap()).unwrap(), vec![0.0; len]);
    }
}
