//! Support for Imagenette: readable class names, and tables of deliberately wrong labels.

use lopper_engine::{Error, Result, input};
use std::collections::HashMap;
use std::path::Path;

/// The table of noisy labels, next to Imagenette's `train` and `val`.
pub const NOISY_LABELS_FILE: &str = "noisy_imagenette.csv";

/// WordNet ids and names of the ten classes.
const CLASSES: [(&str, &str); 10] = [
    ("n01440764", "tench"),
    ("n02102040", "English springer"),
    ("n02979186", "cassette player"),
    ("n03000684", "chain saw"),
    ("n03028079", "church"),
    ("n03394916", "French horn"),
    ("n03417042", "garbage truck"),
    ("n03425413", "gas pump"),
    ("n03445777", "golf ball"),
    ("n03888257", "parachute"),
];

/// The readable name of a class folder, or the folder's name if it is not one of Imagenette's ten.
pub fn class_name(folder: &str) -> &str {
    CLASSES.iter().find(|(wnid, _)| *wnid == folder).map_or(folder, |(_, name)| name)
}

/// Reads the class folder of each image from column `noisy_labels_{percent}` of the table at `path`. Keys are image
/// paths relative to the data set (`train/n01440764/…JPEG`).
///
/// # Errors
/// [`Error::File`] if the table cannot be read or has no such column.
pub fn noisy_labels(path: &Path, percent: u32) -> Result<HashMap<String, String>> {
    let failed = |e: csv::Error| Error::file(path, e);
    let table = input::read(path, input::MAX_TEXT_BYTES)?;
    let mut reader = csv::Reader::from_reader(&table[..]);
    let headers = reader.headers().map_err(failed)?.clone();
    let column = |name: &str| {
        headers.iter().position(|h| h == name).ok_or_else(|| {
            let found = headers.iter().collect::<Vec<_>>().join(", ");
            Error::file(path, format!("no column `{name}`, only {found}"))
        })
    };
    let (key, label) = (column("path")?, column(&format!("noisy_labels_{percent}"))?);
    // The reader has checked that every record is as long as the header.
    let row = |record: csv::StringRecord| (record[key].to_string(), record[label].to_string());
    reader.records().map(|record| record.map(row).map_err(failed)).collect()
}
