//! Result files: CSV under comments that state what was measured, where, and by which command.

use lopper_engine::{Error, Result};
use lopper_kernels::cpu::Isa;
use std::path::Path;
use std::process::Command;

/// Writes `rows`, all or nothing, under a header with the date, the commit, the machine and the command.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, isa: Isa, rows: &[impl serde::Serialize]) -> Result<()> {
    let head = provenance(isa).map(|(key, value)| (key.to_string(), value));
    lopper::atlas::write(path, &head, rows)
}

/// Result file.
pub struct Record<Row> {
    /// Comments at its head, as keys and values.
    pub provenance: Vec<(String, String)>,
    /// Rows, in the order of measurement.
    pub rows: Vec<Row>,
}

impl<Row: serde::de::DeserializeOwned> Record<Row> {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If the file is missing or a row is malformed; the error names file and line.
    pub fn read(path: &Path) -> Result<Self> {
        let (provenance, rows) = lopper::atlas::read(path)?;
        match rows.is_empty() {
            true => Err(Error::file(path, "the file has no rows")),
            false => Ok(Self { provenance, rows }),
        }
    }

    /// Returns the header's value for `key`.
    pub fn says(&self, key: &str) -> &str {
        self.provenance.iter().find(|(known, _)| known == key).map_or("unknown", |(_, value)| value)
    }
}

fn provenance(isa: Isa) -> [(&'static str, String); 7] {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    [
        ("date", said_by("date", &["-u", "+%Y-%m-%d"])),
        ("commit", commit()),
        ("cpu", lopper::atlas::cpu_model()),
        ("cores", cores.to_string()),
        ("isa", isa.to_string()),
        ("rustc", said_by("rustc", &["--version"])),
        ("command", command()),
    ]
}

/// Returns the output of a program, or `unknown` if it is missing or fails.
fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok().filter(|o| o.status.success());
    output.map_or("unknown".into(), |o| String::from_utf8_lossy(&o.stdout).trim().to_string())
}

/// Returns the measured commit, marked if files other than results and documents have uncommitted changes.
fn commit() -> String {
    let commit = said_by("git", &["rev-parse", "--short", "HEAD"]);
    let changed = said_by("git", &["status", "--porcelain", "--", ":!docs", ":!*.md"]);
    if changed.is_empty() { commit } else { format!("{commit} with changes") }
}

/// Returns the command that started this process, as typed.
fn command() -> String {
    let isa = std::env::var("LOPPER_ISA").map(|isa| format!("LOPPER_ISA={isa} ")).unwrap_or_default();
    let options: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    format!("{isa}cargo bench --bench {} -- {}", env!("CARGO_CRATE_NAME"), options.join(" "))
}
