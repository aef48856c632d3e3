//! Result files: CSV under comments that state what was measured, where, and by which command.

use lopper_engine::{Error, Result, atomic};
use lopper_kernels::cpu::Isa;
use std::io;
use std::path::Path;
use std::process::Command;

/// Writes `rows`, all or nothing, under a header with the date, the commit, the machine and the command.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, isa: Isa, rows: &[impl serde::Serialize]) -> Result<()> {
    atomic::write(path, |file| {
        for (key, value) in provenance(isa) {
            writeln!(file, "# {key}: {value}")?;
        }
        let mut writer = csv::Writer::from_writer(file);
        rows.iter().try_for_each(|row| writer.serialize(row)).map_err(io::Error::other)?;
        writer.flush()
    })
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
        let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
        let comments = text.lines().map_while(|line| line.strip_prefix("# "));
        let pair =
            |line: &str| line.split_once(": ").map(|(key, value)| (key.to_string(), value.to_string()));
        let provenance = comments.filter_map(pair).collect();
        let rows: Vec<Row> = csv::ReaderBuilder::new()
            .comment(Some(b'#'))
            .from_reader(text.as_bytes())
            .deserialize()
            .collect::<std::result::Result<_, _>>()
            .map_err(|e| Error::file(path, e))?;
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
        ("cpu", cpu_model()),
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

/// Returns the CPU model, with the numbers that distinguish CPUs to which a hypervisor gives the same name.
fn cpu_model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let line = info.lines().find(|line| line.split(':').next().is_some_and(|k| k.trim() == key));
        line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown").to_string()
    };
    format!("{}, family {}, model {}", value("model name"), value("cpu family"), value("model"))
}

/// Returns the command that started this process, as typed.
fn command() -> String {
    let isa = std::env::var("LOPPER_ISA").map(|isa| format!("LOPPER_ISA={isa} ")).unwrap_or_default();
    let options: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    format!("{isa}cargo bench --bench {} -- {}", env!("CARGO_CRATE_NAME"), options.join(" "))
}
