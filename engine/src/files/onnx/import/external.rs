//! Constants in files beside the ONNX file.

use crate::{input, memory};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// Where a constant's numbers are in another file, as the ONNX file says it.
#[derive(Default)]
pub(super) struct External<'a> {
    location: &'a str,
    offset: &'a str,
    length: &'a str,
}

impl<'a> External<'a> {
    /// Takes an entry of the description.
    pub fn set(&mut self, key: &str, value: &'a str) {
        match key {
            "location" => self.location = value,
            "offset" => self.offset = value,
            "length" => self.length = value,
            _ => {}
        }
    }
}

/// The folder of an ONNX file, the only one that external data may be in.
pub(super) struct Folder {
    path: Option<PathBuf>,
    /// The lengths of the files that were opened.
    files: RefCell<HashMap<String, (std::fs::File, u64)>>,
}

impl Folder {
    /// The folder of `file`.
    pub fn of(file: &Path) -> Self {
        let parent = file.parent().map(|parent| match parent.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => parent.to_path_buf(),
        });
        Self { path: parent, files: RefCell::default() }
    }

    /// Reads `expected` bytes.
    pub fn read(&self, external: &External, expected: usize) -> Result<Cow<'static, [u8]>, String> {
        let number = |text: &str, default: u64| match text {
            "" => Ok(default),
            text => text
                .parse::<u64>()
                .map_err(|_| format!("lies at `{text}` of another file, which is no number")),
        };
        let offset = number(external.offset, 0)?;
        let length = number(external.length, expected as u64)?;
        if length != expected as u64 {
            return Err(format!("has {length} bytes in `{}`, expected {expected}", external.location));
        }
        let mut files = self.files.borrow_mut();
        if !files.contains_key(external.location) {
            if files.len() >= 256 {
                return Err("is in another file after 256 others".into());
            }
            files.insert(external.location.to_string(), self.open(external.location)?);
        }
        let (file, size) = files.get_mut(external.location).ok_or("is in no file")?;
        if offset.checked_add(length).is_none_or(|end| end > *size) {
            return Err(format!("lies behind the end of `{}`", external.location));
        }
        memory::require("its bytes", length).map_err(|e| format!("is too large: {e}"))?;
        let mut bytes = vec![0; expected];
        let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|e| format!("in `{}` cannot be read: {e}", external.location))?;
        Ok(Cow::Owned(bytes))
    }

    /// Opens the file `location` if it is in the folder, even if links are followed.
    fn open(&self, location: &str) -> Result<(std::fs::File, u64), String> {
        let outside = || format!("is in `{location}`, outside the folder of the ONNX file");
        let relative = Path::new(location);
        let inside =
            relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let folder = self.path.as_deref().filter(|_| inside && !location.is_empty()).ok_or_else(outside)?;
        let path = folder.join(relative);
        let absent = |e: std::io::Error| format!("is in `{location}`, which cannot be read: {e}");
        let (real, folder) = (path.canonicalize().map_err(absent)?, folder.canonicalize().map_err(absent)?);
        if !real.starts_with(&folder) {
            return Err(outside());
        }
        input::open(&real).map_err(|e| format!("is in another file: {e}"))
    }
}
