//! Numbers of any type as `f32`.

use half::{bf16, f16};
use safetensors::Dtype;

/// The types that [`decode`] converts. Floating-point numbers are rounded; integers must be exact.
pub(crate) const NUMBERS: &[Dtype] = &[
    Dtype::F32,
    Dtype::F16,
    Dtype::BF16,
    Dtype::F64,
    Dtype::I64,
    Dtype::I32,
    Dtype::I16,
    Dtype::U16,
    Dtype::I8,
    Dtype::U8,
    Dtype::BOOL,
];

/// The little-endian numbers in `bytes`. Returns an error if their type is not in `dtypes`, or if one is an integer that
/// `f32` does not represent.
pub(crate) fn decode(dtype: Dtype, bytes: &[u8], dtypes: &[Dtype]) -> Result<Vec<f32>, String> {
    let integers = |values: Vec<i64>| values.into_iter().map(exact).collect();
    Ok(match dtype {
        found if !dtypes.contains(&found) => {
            return Err(format!("expected the type {dtypes:?}, found {found}"));
        }
        Dtype::F32 => each(bytes, f32::from_le_bytes),
        Dtype::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        Dtype::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::U8 => each(bytes, |[b]| f32::from(b)),
        Dtype::BOOL => each(bytes, |[b]| f32::from(u8::from(b != 0))),
        Dtype::I8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
        Dtype::I16 => each(bytes, |b| f32::from(i16::from_le_bytes(b))),
        Dtype::U16 => each(bytes, |b| f32::from(u16::from_le_bytes(b))),
        Dtype::I32 => return integers(each(bytes, |b| i32::from_le_bytes(b).into())),
        Dtype::I64 => return integers(each(bytes, i64::from_le_bytes)),
        found => return Err(format!("cannot read the type {found}")),
    })
}

fn each<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|&b| number(b)).collect()
}

fn exact(value: i64) -> Result<f32, String> {
    let rounded = value as f32;
    match rounded as i128 == i128::from(value) {
        true => Ok(rounded),
        false => Err(format!("the integer {value} is not exact in single precision")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_read() {
        let two = |dtype, bytes: &[u8]| decode(dtype, bytes, NUMBERS).unwrap();
        assert_eq!(two(Dtype::F32, &[1.5f32, -2.0].map(f32::to_le_bytes).concat()), [1.5, -2.0]);
        assert_eq!(two(Dtype::F64, &[1.5f64, -2.0].map(f64::to_le_bytes).concat()), [1.5, -2.0]);
        assert_eq!(
            two(Dtype::F16, &[1.5f32, -2.0].map(|v| f16::from_f32(v).to_le_bytes()).concat()),
            [1.5, -2.0]
        );
        assert_eq!(
            two(Dtype::BF16, &[1.5f32, -2.0].map(|v| bf16::from_f32(v).to_le_bytes()).concat()),
            [1.5, -2.0]
        );
        assert_eq!(
            two(Dtype::I64, &[7i64, -(1 << 40)].map(i64::to_le_bytes).concat()),
            [7.0, -(2f32.powi(40))]
        );
        assert_eq!(two(Dtype::I32, &[1i32 << 24, -3].map(i32::to_le_bytes).concat()), [16_777_216.0, -3.0]);
        assert_eq!(two(Dtype::I16, &[300i16, -1].map(i16::to_le_bytes).concat()), [300.0, -1.0]);
        assert_eq!(two(Dtype::U16, &[40_000u16, 1].map(u16::to_le_bytes).concat()), [40_000.0, 1.0]);
        assert_eq!(two(Dtype::I8, &[200, 5]), [-56.0, 5.0]);
        assert_eq!(two(Dtype::U8, &[200, 5]), [200.0, 5.0]);
        assert_eq!(two(Dtype::BOOL, &[2, 0]), [1.0, 0.0]);
    }

    #[test]
    fn what_single_precision_does_not_hold_is_refused() {
        for value in [(1 << 24) + 1, i64::MAX, i64::MIN + 1] {
            let message = decode(Dtype::I64, &value.to_le_bytes(), NUMBERS).unwrap_err();
            assert_eq!(message, format!("the integer {value} is not exact in single precision"));
        }
        assert!(decode(Dtype::I64, &i64::MIN.to_le_bytes(), NUMBERS).is_ok());
        let message = decode(Dtype::U8, &[0], &[Dtype::F32, Dtype::F16]).unwrap_err();
        assert_eq!(message, "expected the type [F32, F16], found U8");
        assert!(decode(Dtype::F8_E4M3, &[0], NUMBERS).unwrap_err().contains("F8_E4M3"));
    }
}
