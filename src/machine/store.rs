//! The table of a machine as a file of the user's cache.

use super::table::Table;
use crate::atlas::cpu_model;
use lopper_engine::{Device, Result, atomic};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The version of the layers, the units and the file. A table of another one is measured again.
const FORMAT: u32 = 2;

/// A table, and what it holds for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    machine: String,
    isa: String,
    threads: usize,
    table: Table,
}

/// Whether a table was found.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// It was.
    Table(Table),
    /// There is none yet.
    Nothing,
    /// There is one that cannot be used, and why.
    Damaged(String),
}

/// What a table holds for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    machine: String,
    isa: String,
    threads: usize,
}

impl Key {
    /// The machine, the instruction set and the threads of `device`. None for a GPU.
    pub fn of(device: &Device) -> Option<Self> {
        let Device::Cpu(cpu) = device else { return None };
        Some(Self { machine: cpu_model(), isa: cpu.isa().to_string(), threads: cpu.thread_count() })
    }

    /// The file of the table in `folder`.
    pub fn path(&self, folder: &Path) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let words: String = self.machine.chars().map(plain).collect();
        let machine: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
        folder.join(format!("times-{}-{}-{}.json", machine.join("-"), self.isa, self.threads))
    }
}

/// Reads the table for `key` from the file `path`.
pub(super) fn read(path: &Path, key: &Key) -> Found {
    if !path.exists() {
        return Found::Nothing;
    }
    let damaged = |why: String| Found::Damaged(format!("{}: {why}", path.display()));
    let text = match lopper_engine::input::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return Found::Damaged(error.to_string()),
    };
    match serde_json::from_str::<File>(&text) {
        Err(error) => damaged(error.to_string()),
        Ok(file) if file.format != FORMAT => {
            damaged(format!("expected format {FORMAT}, found {}", file.format))
        }
        Ok(File { machine, isa, threads, table, .. }) => {
            let found = Key { machine, isa, threads };
            match found == *key {
                false => damaged(format!("expected the times of {key:?}, found those of {found:?}")),
                true if !table.is_sound() => damaged("expected positive times of ascending sizes".into()),
                true => Found::Table(table),
            }
        }
    }
}

/// Writes `table` for `key` to the file `path`.
pub(super) fn write(path: &Path, key: &Key, table: &Table) -> Result<()> {
    let Key { machine, isa, threads } = key.clone();
    let file = File { format: FORMAT, machine, isa, threads, table: table.clone() };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| lopper_engine::Error::file(folder, e))?;
    }
    let text = serde_json::to_string_pretty(&file).map_err(|e| lopper_engine::Error::file(path, e))?;
    atomic::write(path, |w| w.write_all(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_engine::plan::{Amount, Class};

    #[test]
    fn a_table_is_read_as_it_was_written_and_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::of(&Device::cpu()).unwrap();
        let path = key.path(&folder.path().join("new"));
        assert_eq!(read(&path, &key), Found::Nothing);
        let table = Table::of([(Amount { class: Class::Pool, units: 8.0 }, 0.25)].into_iter());
        write(&path, &key, &table).unwrap();
        assert_eq!(read(&path, &key), Found::Table(table));
        let other = Key { threads: key.threads + 1, ..key.clone() };
        assert!(matches!(read(&path, &other), Found::Damaged(why) if why.contains("expected the times of")));
        assert_ne!(other.path(folder.path()), key.path(folder.path()));
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to, words) in [
            ("\"format\": 2", "\"format\": 7", "expected format 2, found 7"),
            ("{", "", "line 2"),
            ("3.0", "-3.0", "expected positive times"),
        ] {
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
            assert!(matches!(read(&path, &key), Found::Damaged(why) if why.contains(words)), "{text}");
        }
    }
}
