//! A file of PyTorch as a list of named tensors.

use super::archive::Archive;
use super::legacy::Legacy;
use super::value::{Pickle, Storage};
use super::view::{View, width};
use super::{globals, machine, state_dict};
use crate::files::decode::{NUMBERS, decode};
use crate::{Error, Result, Tensor, memory};
use safetensors::Dtype;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The tensors of a file by name. Each is taken once.
pub(crate) struct PyTorchFile {
    path: PathBuf,
    bytes: Vec<u8>,
    left: BTreeMap<String, Stored>,
    /// Entries that are no tensors.
    pub ignored: Vec<String>,
    /// Remarks on how the file was read.
    pub notes: Vec<String>,
}

/// A tensor in the file: `view` selects elements of the storage in `data`.
struct Stored {
    /// Position in the dictionary.
    place: usize,
    dtype: Dtype,
    data: Range<usize>,
    view: View,
}

impl Stored {
    fn shape(&self) -> Vec<usize> {
        self.view.shape.iter().map(|&n| n as usize).collect()
    }
}

impl PyTorchFile {
    /// Whether a file that starts with `bytes` is one of PyTorch.
    pub fn is_one(bytes: &[u8]) -> bool {
        Archive::is_one(bytes) || Legacy::is_one(bytes) || is_tar(bytes)
    }

    /// Reads the content `bytes` of the file `path` and checks that every tensor lies in it and fits into memory.
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        let contents = contents(&bytes).map_err(|problem| Error::file(path, problem))?;
        let (left, ignored, notes) = contents;
        let size = |stored: &Stored| stored.view.len().unwrap_or(u64::MAX);
        // A step of zero repeats a number as often as the file claims.
        if let Some((name, _)) = left.iter().find(|(_, stored)| size(stored) > bytes.len() as u64) {
            let problem = format!("tensor `{name}` repeats its numbers more often than the file has bytes");
            return Err(Error::file(path, problem));
        }
        let (mut all, mut largest) = (0u64, 0);
        for stored in left.values() {
            all = all.saturating_add(size(stored).saturating_mul(4));
            // Its elements in order are copied before they are converted.
            largest = size(stored).saturating_mul(8 + 4).max(largest);
        }
        memory::require(format_args!("{}: its tensors", path.display()), all.saturating_add(largest))?;
        Ok(Self { path: path.to_path_buf(), bytes, left, ignored, notes })
    }

    /// The sorted names of the tensors that have not been taken yet.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.left.keys().map(String::as_str)
    }

    /// The names and shapes of the tensors that have not been taken yet, in the order of the dictionary.
    pub fn in_order(&self) -> Vec<(String, Vec<usize>)> {
        let mut tensors: Vec<_> = self.left.iter().collect();
        tensors.sort_by_key(|(_, stored)| stored.place);
        tensors.into_iter().map(|(name, stored)| (name.clone(), stored.shape())).collect()
    }

    /// The shape of tensor `name`, if it has not been taken yet.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.left.get(name).map(Stored::shape)
    }

    /// Takes tensor `name`, if there is one, as `f32`. Returns an error if `f32` does not represent it.
    pub fn take(&mut self, name: &str) -> Result<Option<Tensor>> {
        let Some(stored) = self.left.remove(name) else { return Ok(None) };
        let shape = stored.shape();
        let Stored { dtype, data, view, .. } = stored;
        let refused = |message: String| Error::file(&self.path, format!("tensor `{name}`: {message}"));
        let elements = view.gather(&self.bytes[data], width(dtype));
        let values = decode(dtype, &elements, NUMBERS).map_err(refused)?;
        Tensor::from_vec(&shape, values).map(Some).map_err(|e| refused(e.to_string()))
    }
}

/// Tensors, ignored entries, remarks.
type Contents = (BTreeMap<String, Stored>, Vec<String>, Vec<String>);

fn contents(bytes: &[u8]) -> Result<Contents, String> {
    if Archive::is_one(bytes) {
        let archive = Archive::parse(bytes)?;
        let mut pickles = archive.names().filter_map(|name| name.strip_suffix("data.pkl"));
        let folder = pickles.next().ok_or("the archive has no `data.pkl`: torch.save did not write it")?;
        if pickles.next().is_some() {
            return Err("the archive has more than one `data.pkl`".into());
        }
        let entry = |name: &str| archive.find(&format!("{folder}{name}"));
        if archive.names().any(|name| name.strip_prefix(folder) == Some("constants.pkl")) {
            return Err(globals::script());
        }
        if let Some(order) = entry("byteorder")?
            && &bytes[order.clone()] != b"little"
        {
            return Err("it was written on a big-endian machine".into());
        }
        let missing = "the archive has no `data.pkl`: torch.save did not write it";
        let place = entry("data.pkl")?.ok_or(missing)?;
        let pickle = machine::read(&bytes[..place.end], place.start)?;
        stored(&pickle, |storage| entry(&format!("data/{}", storage.key)))
    } else if Legacy::is_one(bytes) {
        let Legacy { pickle, data } = Legacy::parse(bytes)?;
        stored(&pickle, |storage| Ok(data.get(storage.key).cloned()))
    } else {
        Err("its format is older than PyTorch 0.1.10: load and save it with a newer version".into())
    }
}

/// The tensors of `pickle`, whose storages `find` finds in the file.
fn stored(
    pickle: &Pickle,
    find: impl Fn(&Storage) -> Result<Option<Range<usize>>, String>,
) -> Result<Contents, String> {
    let found = state_dict::find(pickle)?;
    // Finding one may read it; tensors may share one.
    let mut places: HashMap<usize, Range<usize>> = HashMap::new();
    let mut tensors = BTreeMap::new();
    for (place, (name, view)) in found.tensors.into_iter().enumerate() {
        let storage = &pickle.storages[view.storage];
        let Storage { key, dtype, len } = *storage;
        if let std::collections::hash_map::Entry::Vacant(vacant) = places.entry(view.storage) {
            let data =
                find(storage)?.ok_or_else(|| format!("storage `{key}` of tensor `{name}` is missing"))?;
            if len.checked_mul(width(dtype) as u64).is_none_or(|needed| needed > data.len() as u64) {
                return Err(format!(
                    "storage `{key}` has {} bytes, too few for {len} of {dtype}",
                    data.len()
                ));
            }
            vacant.insert(data);
        }
        let data = places[&view.storage].clone();
        tensors.insert(name.to_string(), Stored { place, dtype, data, view: view.clone() });
    }
    Ok((tensors, found.ignored, found.notes))
}

fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}
