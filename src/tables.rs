//! Tables and pictures as files, written whole or not at all.

use lopper_engine::{Error, Result, atomic};
use serde::Serialize;
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

/// Writes `records` to the file `path` as CSV, whole or not at all, each followed by its values in the columns `more`.
pub fn put_wide_csv<T: Serialize>(
    path: &Path,
    more: &[String],
    records: impl Iterator<Item = (T, Vec<String>)>,
) -> Result<()> {
    let (mut narrow, mut rows) = (csv::Writer::from_writer(Vec::new()), vec![more.to_vec()]);
    let failed = |e: csv::Error| Error::file(path, e);
    for (record, values) in records {
        narrow.serialize(record).map_err(failed)?;
        rows.push(values);
    }
    let narrow = narrow.into_inner().map_err(|e| Error::file(path, e.error()))?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(narrow.as_slice());
    put_csv(path, |w| {
        for (record, values) in reader.records().zip(rows) {
            w.write_record(record?.iter().chain(values.iter().map(String::as_str)))?;
        }
        Ok(())
    })
}
