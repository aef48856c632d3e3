//! Constants of ONNX as they are in the file, and their numbers.

use super::array::{Array, Kind};
use super::external::{External, Folder};
use super::int::Int;
use crate::files::decode::{NUMBERS, decode};
use crate::files::onnx::fields::{element, entry, tensor};
use crate::files::onnx::wire::Fields;
use crate::{Tensor, memory};
use safetensors::Dtype;
use std::borrow::Cow;

/// The largest number of integers, such as those of a shape, in a constant.
pub(super) const MOST_INTS: usize = 64;

/// The largest number of axes of a constant.
pub(super) const MOST_RANK: usize = 8;

/// The number of elements of a constant of shape `dims`, if the axes that have any could have so many.
pub(super) fn count(dims: &[usize]) -> Option<usize> {
    let some = dims.iter().try_fold(1usize, |len, &dim| len.checked_mul(dim.max(1)))?;
    Some(if dims.contains(&0) { 0 } else { some })
}

/// The least and the greatest integer of a type of few bits.
pub(super) fn ends(element: i64) -> Option<[f32; 2]> {
    Some(match element {
        element::UINT4 => [0.0, 15.0],
        element::INT4 => [-8.0, 7.0],
        element::UINT8 => [0.0, 255.0],
        element::INT8 => [-128.0, 127.0],
        element::UINT16 => [0.0, 65535.0],
        element::INT16 => [-32768.0, 32767.0],
        _ => return None,
    })
}

/// A constant, whose numbers are still in the file.
#[derive(Default)]
pub(super) struct RawTensor<'a> {
    pub name: &'a str,
    dims: Vec<i64>,
    element: i64,
    data: Data<'a>,
    external: External<'a>,
}

/// Where a constant's numbers are.
#[derive(Default)]
enum Data<'a> {
    #[default]
    None,
    /// Little-endian numbers.
    Raw(&'a [u8]),
    /// Numbers of four or eight bytes, in fields.
    Floats(Vec<u8>),
    /// Integers, in fields. Narrow types are widened.
    Ints(Vec<i64>),
    /// Another file.
    External,
}

impl<'a> RawTensor<'a> {
    /// Reads a `TensorProto`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut found = Self::default();
        let (mut floats, mut ints) = (Vec::new(), Vec::new());
        for field in Fields(bytes) {
            match field? {
                (tensor::NAME, field) => found.name = field.text()?,
                (tensor::DIMS, field) => field.ints(&mut found.dims)?,
                (tensor::TYPE, field) => found.element = field.int()?,
                (tensor::RAW, field) => found.data = Data::Raw(field.bytes()?),
                (tensor::FLOATS, field) => field.fixed::<4>(&mut floats)?,
                (tensor::DOUBLES, field) => field.fixed::<8>(&mut floats)?,
                (tensor::INT32S | tensor::INT64S, field) => field.ints(&mut ints)?,
                (tensor::EXTERNAL, field) => {
                    let (mut key, mut value) = ("", "");
                    for field in Fields(field.bytes()?) {
                        match field? {
                            (entry::KEY, field) => key = field.text()?,
                            (entry::VALUE, field) => value = field.text()?,
                            _ => {}
                        }
                    }
                    found.external.set(key, value);
                }
                (tensor::LOCATION, field) if field.int()? == tensor::location::EXTERNAL => {
                    found.data = Data::External;
                }
                _ => {}
            }
            if found.dims.len() > MOST_RANK {
                return Err(format!("constant `{}` has more than {MOST_RANK} axes", found.name));
            }
        }
        if matches!(found.data, Data::None) {
            found.data = match (floats.is_empty(), ints.is_empty()) {
                (false, _) => Data::Floats(floats),
                (_, false) => Data::Ints(ints),
                _ => Data::None,
            };
        }
        Ok(found)
    }

    /// The shape, and the number of elements.
    fn shape(&self) -> Result<(Vec<usize>, usize), String> {
        let dims: Option<Vec<usize>> = self.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
        let dims = dims.ok_or_else(|| format!("has the shape {:?}", self.dims))?;
        let len = count(&dims);
        Ok((dims, len.ok_or("has more elements than there can be")?))
    }

    /// The numbers: integers of 32 and 64 bits as such, all others rounded to `f32`. `folder` holds external data.
    pub fn array(&self, folder: &Folder) -> Result<Array, String> {
        self.numbers(folder).map_err(|e| format!("constant `{}` {e}", self.name))
    }

    /// The type of the elements, a number of `TensorProto.DataType`.
    pub fn element(&self) -> i64 {
        self.element
    }

    /// The number of elements that the file claims.
    pub fn claimed(&self) -> usize {
        self.shape().map_or(usize::MAX, |(_, len)| len)
    }

    /// The numbers of any type, rounded to `f32`; integers of 64 bits must be exact.
    pub fn floats(&self, folder: &Folder) -> Result<Tensor, String> {
        let read = || {
            let ((shape, len), (dtype, width)) = (self.shape()?, self.dtype()?);
            let bytes = self.bytes(folder, &shape, (len, width), dtype)?;
            memory::require("the constants", memory::bytes_of::<f32>([len])).map_err(|e| e.to_string())?;
            let values = match dtype {
                // Biases of quantized layers.
                Dtype::I32 => bytes.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b) as f32).collect(),
                _ => decode(dtype, &bytes, NUMBERS)?,
            };
            Tensor::from_vec(&shape, values).map_err(|e| e.to_string())
        };
        read().map_err(|e: String| format!("constant `{}` {e}", self.name))
    }

    /// A list of integers of any length.
    pub fn integers(&self, folder: &Folder) -> Result<Vec<i64>, String> {
        let read = || {
            let ((shape, len), (dtype, width)) = (self.shape()?, self.dtype()?);
            if shape.len() != 1 {
                return Err(format!("has the shape {shape:?}, expected a list"));
            }
            let bytes = self.bytes(folder, &shape, (len, width), dtype)?;
            match dtype {
                Dtype::I64 => Ok(bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect()),
                Dtype::I32 => Ok(bytes.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b).into()).collect()),
                _ => Err("holds no integers".to_string()),
            }
        };
        read().map_err(|e: String| format!("constant `{}` {e}", self.name))
    }

    fn numbers(&self, folder: &Folder) -> Result<Array, String> {
        let (shape, len) = self.shape()?;
        let (dtype, width) = self.dtype()?;
        let ints = matches!(dtype, Dtype::I32 | Dtype::I64);
        if ints && len > MOST_INTS {
            return Err(format!("has {len} integers, expected at most {MOST_INTS}"));
        }
        let bytes = self.bytes(folder, &shape, (len, width), dtype)?;
        if !ints {
            memory::require("the constants", memory::bytes_of::<f32>([len])).map_err(|e| e.to_string())?;
            let values = decode(dtype, &bytes, NUMBERS)?;
            let kind = match dtype {
                Dtype::BOOL => Kind::Bool,
                Dtype::I8 | Dtype::U8 | Dtype::I16 | Dtype::U16 => Kind::Small,
                _ => Kind::Float,
            };
            return Ok(Array::Number(kind, Tensor::from_vec(&shape, values).map_err(|e| e.to_string())?));
        }
        let values = match dtype {
            Dtype::I64 => bytes.as_chunks().0.iter().map(|&b| Int::of(i64::from_le_bytes(b))).collect(),
            _ => bytes.as_chunks().0.iter().map(|&b| Int::of(i32::from_le_bytes(b).into())).collect(),
        };
        Ok(Array::Int { dims: shape, values })
    }

    /// The bytes of `len` numbers of `width` bytes each.
    fn bytes(
        &self,
        folder: &Folder,
        shape: &[usize],
        (len, width): (usize, usize),
        dtype: Dtype,
    ) -> Result<Cow<'_, [u8]>, String> {
        let halves = matches!(self.element, element::UINT4 | element::INT4);
        let held = if halves { Some(len.div_ceil(2)) } else { len.checked_mul(width) };
        let bytes = match &self.data {
            Data::None if len == 0 => Cow::Borrowed(&[][..]),
            Data::None => return Err("has no numbers".into()),
            Data::Raw(bytes) => Cow::Borrowed(*bytes),
            Data::Floats(bytes) => Cow::Borrowed(&bytes[..]),
            Data::Ints(values) => Cow::Owned(narrowed(values, width)),
            Data::External => folder.read(&self.external, held.unwrap_or(usize::MAX))?,
        };
        if Some(bytes.len()) != held {
            let found = bytes.len();
            return Err(format!("of shape {shape:?} and type {dtype} has {found} bytes"));
        }
        Ok(if halves { Cow::Owned(widened(&bytes, len, dtype)) } else { bytes })
    }

    /// The type of the numbers, and their width in bytes.
    fn dtype(&self) -> Result<(Dtype, usize), String> {
        Ok(match self.element {
            element::FLOAT => (Dtype::F32, 4),
            element::DOUBLE => (Dtype::F64, 8),
            element::FLOAT16 => (Dtype::F16, 2),
            element::BFLOAT16 => (Dtype::BF16, 2),
            // Four bits are read as eight.
            element::UINT8 | element::UINT4 => (Dtype::U8, 1),
            element::INT8 | element::INT4 => (Dtype::I8, 1),
            element::BOOL => (Dtype::BOOL, 1),
            element::INT16 => (Dtype::I16, 2),
            element::UINT16 => (Dtype::U16, 2),
            element::INT32 => (Dtype::I32, 4),
            element::INT64 => (Dtype::I64, 8),
            other => return Err(format!("has elements of type {other}, which are not read")),
        })
    }
}

/// The low `width` bytes of each integer: fields hold narrow types widened, and halves as their bits.
fn narrowed(values: &[i64], width: usize) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes().into_iter().take(width)).collect()
}

/// A byte for each of `len` numbers of four bits, of which each of `bytes` has two, the lower ones first.
fn widened(bytes: &[u8], len: usize, dtype: Dtype) -> Vec<u8> {
    let halves = bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]).take(len);
    let sign = |half: u8| if dtype == Dtype::I8 && half > 7 { half | 0xF0 } else { half };
    halves.map(sign).collect()
}
