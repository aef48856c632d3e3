//! The container format of all weight files, safetensors: a length, a JSON header with the name, type, shape and
//! offsets of each tensor, and the data.

use crate::files::decode::decode;
use crate::files::pytorch::PyTorchFile;
use crate::{Error, Result, Tensor, atomic, input, memory};
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};
use serde_json::{Map, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The values to write under a name.
pub(crate) enum Values<'a> {
    /// A tensor, as `F32`.
    F32(Cow<'a, Tensor>),
    /// A mask of zeros and ones, as `U8`, eight to a byte.
    Bits(&'a Tensor),
    /// No values: a mark, as `U8`.
    Empty,
    /// An integer, as an `I64` without axes.
    Count(i64),
    /// A list of numbers, as `F64`.
    F64(&'a [f64]),
    /// A list of numbers, as `F32`.
    Floats(Vec<f32>),
    /// A list of integers, as `I64`.
    List(Vec<i64>),
    /// Bytes, as `U8`.
    Bytes(Vec<u8>),
}

impl Values<'_> {
    /// Type, shape and number of bytes.
    pub fn describe(&self) -> (Dtype, Vec<usize>, usize) {
        match self {
            Self::F32(t) => (Dtype::F32, t.shape().to_vec(), 4 * t.len()),
            Self::Bits(t) => (Dtype::U8, vec![t.len().div_ceil(8)], t.len().div_ceil(8)),
            Self::Empty => (Dtype::U8, vec![0], 0),
            Self::Count(_) => (Dtype::I64, Vec::new(), 8),
            Self::F64(v) => (Dtype::F64, vec![v.len()], 8 * v.len()),
            Self::Floats(v) => (Dtype::F32, vec![v.len()], 4 * v.len()),
            Self::List(v) => (Dtype::I64, vec![v.len()], 8 * v.len()),
            Self::Bytes(v) => (Dtype::U8, vec![v.len()], v.len()),
        }
    }

    /// The bytes that the values take.
    pub fn bytes(&self) -> usize {
        self.describe().2
    }

    /// Bytes per number. If larger numbers are written first, each number starts at a multiple of its size.
    pub fn alignment(&self) -> usize {
        match self {
            Self::F64(_) | Self::Count(_) | Self::List(_) => 8,
            Self::F32(_) | Self::Floats(_) => 4,
            Self::Bits(_) | Self::Empty | Self::Bytes(_) => 1,
        }
    }

    /// Writes the bytes, little-endian.
    pub fn write(&self, file: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::F32(t) => write_floats(t.data(), file),
            Self::Floats(v) => write_floats(v, file),
            Self::List(v) => v.iter().try_for_each(|n| file.write_all(&n.to_le_bytes())),
            Self::Bytes(v) => file.write_all(v),
            Self::Bits(t) => file.write_all(&bits(t)),
            Self::Empty => Ok(()),
            Self::Count(n) => file.write_all(&n.to_le_bytes()),
            Self::F64(v) => v.chunks(CHUNK).try_for_each(|values| {
                file.write_all(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
            }),
        }
    }
}

/// The numbers that are converted at a time.
const CHUNK: usize = 4096;

fn write_floats(values: &[f32], file: &mut dyn Write) -> io::Result<()> {
    values.chunks(CHUNK).try_for_each(|values| {
        file.write_all(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
    })
}

/// The bytes that hold a bit for each element of `mask`, the lowest first. Unused bits of the last byte are 0.
pub(crate) fn bits(mask: &Tensor) -> Vec<u8> {
    let byte = |run: &[f32]| run.iter().rev().fold(0, |byte, &m| byte << 1 | u8::from(m != 0.0));
    mask.data().chunks(8).map(byte).collect()
}

/// Writes `tensors` to `path` atomically, with one metadata entry. The same input gives the same bytes.
pub(crate) fn write(path: &Path, metadata: (&str, String), tensors: &[(String, Values)]) -> Result<()> {
    atomic::write(path, content(path, metadata, tensors)?)
}

/// What [`write`] writes; errors name `path`.
pub(crate) fn content<'t>(
    path: &Path,
    metadata: (&str, String),
    tensors: &'t [(String, Values<'t>)],
) -> Result<impl FnOnce(&mut dyn Write) -> io::Result<()> + use<'t>> {
    let (header, _) = header(path, metadata, tensors)?;
    Ok(move |file: &mut dyn Write| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        tensors.iter().try_for_each(|(_, values)| values.write(file))
    })
}

/// The size in bytes of the file that [`write`] would write; errors name `path`.
pub(crate) fn size(path: &Path, metadata: (&str, String), tensors: &[(String, Values)]) -> Result<u64> {
    let (header, bytes) = header(path, metadata, tensors)?;
    Ok(8 + header.len() as u64 + bytes)
}

/// The JSON header, and the number of data bytes that it describes.
fn header(path: &Path, metadata: (&str, String), tensors: &[(String, Values)]) -> Result<(Vec<u8>, u64)> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ metadata.0: metadata.1 }));
    let mut end = 0;
    for (name, values) in tensors {
        let (dtype, shape, bytes) = values.describe();
        let start = end;
        end += bytes;
        header.insert(name.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] }));
    }
    let mut header = serde_json::to_vec(&header).map_err(|e| Error::file(path, e))?;
    // The format requires the data to start at a multiple of eight.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok((header, end as u64))
}

/// A file's contents, with its tensors by name. Each tensor is taken once; those left at the end were not expected.
pub(crate) struct TensorFile {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Start of the values in `bytes`.
    start: usize,
    metadata: Metadata,
    left: BTreeMap<String, TensorInfo>,
}

impl TensorFile {
    /// Reads `path` and checks the container: no tensor extends past the file, and no tensors overlap.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(path, input::read(path, u64::MAX)?)
    }

    /// Checks the content `bytes` of the file `path` like [`TensorFile::read`].
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        let (header, metadata) = SafeTensors::read_metadata(&bytes)
            .map_err(|e| Error::file(path, not_safetensors(&bytes, &e.to_string())))?;
        let elements = |info: &TensorInfo| memory::bytes_of::<f32>(info.shape.iter().copied());
        let sizes = metadata.tensors().into_values().map(elements);
        let (largest, all) =
            sizes.fold((0, 0u64), |(largest, all), bytes| (bytes.max(largest), all.saturating_add(bytes)));
        memory::require(format_args!("{}: its tensors", path.display()), all.saturating_add(largest))?;
        let left = metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        Ok(Self { path: path.to_path_buf(), bytes, start: 8 + header, metadata, left })
    }

    /// The metadata entry `key`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// The sorted names of the tensors that have not been taken yet.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.left.keys().map(String::as_str)
    }

    /// The names and shapes of the tensors that have not been taken yet, in the order of their data.
    pub fn in_order(&self) -> Vec<(String, Vec<usize>)> {
        let mut tensors: Vec<_> = self.left.iter().collect();
        tensors.sort_by_key(|(_, info)| info.data_offsets);
        tensors.into_iter().map(|(name, info)| (name.clone(), info.shape.clone())).collect()
    }

    /// The shape of tensor `name`, if it has not been taken yet.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.left.get(name).map(|info| info.shape.clone())
    }

    /// Takes tensor `name`, if there is one, as `f32`. Returns an error if its type is not in `dtypes`, or if `f32` does not
    /// represent it.
    pub fn take(&mut self, name: &str, dtypes: &[Dtype]) -> Result<Option<Tensor>> {
        let Some(info) = self.left.remove(name) else { return Ok(None) };
        let bytes = &self.bytes[self.start..][info.data_offsets.0..info.data_offsets.1];
        let refused = |message: String| Error::file(&self.path, format!("tensor `{name}`: {message}"));
        let values = decode(info.dtype, bytes, dtypes).map_err(refused)?;
        Tensor::from_vec(&info.shape, values).map(Some).map_err(|e| refused(e.to_string()))
    }

    /// Takes the list of numbers `name`, if there is one. Returns an error if it is not a list of type `F64`.
    pub fn take_f64(&mut self, name: &str) -> Result<Option<Vec<f64>>> {
        let bytes = self.take_raw(name, Dtype::F64)?;
        Ok(bytes.map(|bytes| bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect()))
    }

    /// Takes the list of integers `name`, if there is one. Returns an error if it is not a list of type `I64`.
    pub fn take_list(&mut self, name: &str) -> Result<Option<Vec<i64>>> {
        let bytes = self.take_raw(name, Dtype::I64)?;
        Ok(bytes.map(|bytes| bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect()))
    }

    /// Takes the bytes `name`, if there are any. Returns an error if they are not a list of type `U8`.
    pub fn take_bytes(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.take_raw(name, Dtype::U8)?.map(<[u8]>::to_vec))
    }

    /// Takes the bytes of the list `name` of this type, if there is one.
    fn take_raw(&mut self, name: &str, dtype: Dtype) -> Result<Option<&[u8]>> {
        let Some(info) = self.left.remove(name) else { return Ok(None) };
        if info.dtype != dtype || info.shape.len() != 1 {
            let (found, shape) = (info.dtype, info.shape);
            let message = format!("tensor `{name}`: expected a list of {dtype}, found {found} {shape:?}");
            return Err(Error::file(&self.path, message));
        }
        Ok(Some(&self.bytes[self.start..][info.data_offsets.0..info.data_offsets.1]))
    }
}

/// The message about a file that is no safetensors file, with the reason `problem`.
fn not_safetensors(bytes: &[u8], problem: &str) -> String {
    match PyTorchFile::is_one(bytes) {
        true => "a file of PyTorch, not a model of lopper: `lopper import` reads its weights".into(),
        false => format!("not a whole safetensors file: {problem}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::decode::NUMBERS;

    /// Writes a file with one tensor, `x`, of the given type, shape and bytes.
    fn file(directory: &Path, dtype: &str, shape: &[usize], bytes: &[u8]) -> PathBuf {
        let header =
            json!({ "x": { "dtype": dtype, "shape": shape, "data_offsets": [0, bytes.len()] } }).to_string();
        let path = directory.join("x.safetensors");
        std::fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), bytes].concat())
            .unwrap();
        path
    }

    #[test]
    fn a_tensor_is_taken_once() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = [1.5f32, -2.0].map(f32::to_le_bytes).concat();
        let mut read = TensorFile::read(&file(directory.path(), "F32", &[2, 1], &bytes)).unwrap();
        let tensor = read.take("x", NUMBERS).unwrap().unwrap();
        assert_eq!((tensor.shape(), tensor.data()), (&[2, 1][..], &[1.5, -2.0][..]));
        assert!(read.take("x", NUMBERS).unwrap().is_none());
    }

    #[test]
    fn wrong_tensor_descriptions_are_rejected() {
        let directory = tempfile::tempdir().unwrap();
        for (dtype, shape, len) in [("F32", vec![3], 8), ("F32", vec![usize::MAX, 2], 8), ("F8", vec![8], 8)]
        {
            let path = file(directory.path(), dtype, &shape, &vec![0; len]);
            let message = TensorFile::read(&path).err().unwrap().to_string();
            assert!(message.contains("x.safetensors"), "{message}");
        }
        let mut whole = TensorFile::read(&file(directory.path(), "U32", &[2], &[0; 8])).unwrap();
        assert!(whole.take("x", NUMBERS).unwrap_err().to_string().contains("U32"));
    }

    #[test]
    fn files_are_deterministic_and_the_safetensors_crate_reads_them() {
        let directory = tempfile::tempdir().unwrap();
        let (a, m) = (Tensor::from_fn(&[2, 3], |i| i as f32), Tensor::from_fn(&[3], |i| (i % 2) as f32));
        let written = ["one", "two"].map(|name| {
            let tensors = [
                ("z".to_string(), Values::F32(Cow::Borrowed(&a))),
                ("m".to_string(), Values::Bits(&m)),
                ("e".to_string(), Values::Empty),
                ("n".to_string(), Values::Count(7)),
                ("d".to_string(), Values::F64(&[0.1, f64::MIN_POSITIVE])),
            ];
            let path = directory.path().join(name);
            write(&path, ("format", "pt".into()), &tensors).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(size(&path, ("format", "pt".into()), &tensors).unwrap(), bytes.len() as u64);
            let mut file = TensorFile::read(&path).unwrap();
            assert!(file.take_f64("z").unwrap_err().to_string().contains("`z`"));
            assert_eq!(file.take_f64("d").unwrap(), Some(vec![0.1, f64::MIN_POSITIVE]));
            assert_eq!(file.take_f64("d").unwrap(), None);
            bytes
        });
        assert_eq!(written[0], written[1]);
        let read = SafeTensors::deserialize(&written[0]).unwrap();
        assert_eq!(read.tensor("z").unwrap().shape(), [2, 3]);
        assert_eq!(read.tensor("m").unwrap().data(), [0b010]);
        assert!(read.tensor("e").unwrap().data().is_empty());
        assert_eq!(read.tensor("n").unwrap().data(), 7i64.to_le_bytes());
    }
}
