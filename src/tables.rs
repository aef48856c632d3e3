//! Tables and pictures as files, written whole or not at all.

use lopper_engine::{Error, Result, atomic};
use std::path::Path;

/// Writes `bytes` to the file `path`, whole or not at all.
pub fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    atomic::write(path, |w| w.write_all(bytes))
}

/// Writes the records of `fill` to the file `path` as CSV, whole or not at all.
pub fn put_csv(path: &Path, fill: impl FnOnce(&mut csv::Writer<Vec<u8>>) -> csv::Result<()>) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    fill(&mut writer).map_err(|e| Error::file(path, e))?;
    put(path, &writer.into_inner().map_err(|e| Error::file(path, e.error()))?)
}
