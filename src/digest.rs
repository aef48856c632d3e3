//! Checksums of files, options and data sets.

use lopper_engine::{Error, Result, input};
use lopper_models::data::{DataConfig, Loader, Splits};
use sha2::{Digest, Sha256};
use std::path::Path;

/// SHA-256 of the file `path`, in hexadecimal digits.
pub fn of_file(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let (mut file, _) = input::open(path)?;
    std::io::copy(&mut file, &mut hash).map_err(|e| Error::file(path, e))?;
    Ok(hex(hash))
}

/// SHA-256 of `text`.
pub fn of_text(text: &str) -> String {
    hex(Sha256::new_with_prefix(text))
}

/// SHA-256 of the data behind `splits`: see [`lopper_models::data::Dataset::identify`].
pub fn of_images(splits: &Splits) -> String {
    let mut hash = Sha256::new();
    for loader in [&splits.train, &splits.val] {
        loader.identify(&mut |bytes| hash.update(bytes));
        hash.update([0]);
    }
    hex(hash)
}

/// SHA-256 of the data behind `loader`.
pub fn of_loader(loader: &Loader) -> String {
    let mut hash = Sha256::new();
    loader.identify(&mut |bytes| hash.update(bytes));
    hex(hash)
}

/// SHA-256 of the data options that the bits of a training run depend on.
pub fn of_data(config: &DataConfig) -> String {
    let path = None;
    of_text(&format!("{:?}", DataConfig { path, workers: 0, cache: false, ..config.clone() }))
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the first example of FIPS 180-2.
    #[test]
    fn sha256_matches_fips_180_2() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_text("abc"), expected);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "abc").unwrap();
        assert_eq!(of_file(file.path()).unwrap(), expected);
    }
}
