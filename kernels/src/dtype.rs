//! Element types, of values in memory and of the factors of products.

use std::fmt;
use std::str::FromStr;

/// The type of a number: of a buffer's elements, of packed weights, or the precision to which a product rounds its
/// factors. Sums are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(i32)]
pub enum Dtype {
    /// Four bytes, IEEE single precision.
    #[default]
    F32 = 0,
    /// Two bytes: the upper half of an f32, with eight significant bits.
    Bf16 = 1,
    /// Two bytes: IEEE half precision, with eleven significant bits and a largest number of 65,504.
    F16 = 2,
    /// Four bytes: classes and indices.
    U32 = 3,
    /// Eleven significant bits, with the range of f32. Only a factor in a tensor core has this type; in memory, it is
    /// f32.
    Tf32 = 4,
}

impl Dtype {
    /// All types.
    pub const ALL: [Self; 5] = [Self::F32, Self::Tf32, Self::Bf16, Self::F16, Self::U32];

    /// The precisions of products, most exact first.
    pub const PRECISIONS: [Self; 4] = [Self::F32, Self::Tf32, Self::Bf16, Self::F16];

    /// The name, on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::U32 => "u32",
            Self::Tf32 => "tf32",
        }
    }

    /// The type in memory of values that are multiplied in this type.
    pub fn storage(self) -> Self {
        if self == Self::Tf32 { Self::F32 } else { self }
    }

    /// Bytes per element in memory.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 | Self::Tf32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// Elements in sixteen bytes, the most that a thread of a GPU moves at once.
    pub(crate) fn lanes(self) -> usize {
        16 / self.bytes()
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An unknown name of an element type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown element type {0:?}; expected f32, tf32, bf16, f16 or u32")]
pub struct UnknownDtype(String);

impl FromStr for Dtype {
    type Err = UnknownDtype;

    fn from_str(name: &str) -> Result<Self, UnknownDtype> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name).ok_or_else(|| UnknownDtype(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for dtype in Dtype::ALL {
            assert_eq!(dtype.name().parse(), Ok(dtype));
            assert_eq!(dtype.storage().bytes(), dtype.bytes());
            assert_eq!(dtype.storage().storage(), dtype.storage());
        }
        let error = "f64".parse::<Dtype>().unwrap_err().to_string();
        assert!(Dtype::ALL.iter().all(|dtype| error.contains(dtype.name())) && error.contains("f64"));
    }
}
