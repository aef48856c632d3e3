//! Runs `lopper` on hostile input with resource limits, and reports forbidden behavior.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Limits of a run: bytes of address space, and seconds of CPU time over all threads.
const MEMORY: u64 = 4 << 30;
const SECONDS: u64 = 20;
/// Wall-clock time after which a run counts as hanging.
const HANGS_AFTER: Duration = Duration::from_secs(120);

/// Output file of the cases that write one.
pub const OUT: &str = "out.safetensors";

/// A command line, and the files of the directory that it runs in.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// Description of the change.
    pub name: String,
    /// Files, by their path in the directory.
    pub files: Vec<(String, Vec<u8>)>,
    pub args: Vec<String>,
}

impl Case {
    /// Creates a case without files.
    pub fn new<S: AsRef<str>>(name: impl Into<String>, args: &[S]) -> Self {
        let args = args.iter().map(|arg| arg.as_ref().to_string()).collect();
        Self { name: name.into(), files: Vec::new(), args }
    }

    /// Adds the file `path`.
    pub fn with(mut self, path: impl Into<String>, bytes: Vec<u8>) -> Self {
        self.files.push((path.into(), bytes));
        self
    }

    /// Returns whether the command writes [`OUT`] as a model file.
    fn writes_a_model(&self) -> bool {
        self.args.iter().any(|arg| arg == OUT) && self.args[0] != "export"
    }
}

/// Result of a run.
pub struct Outcome {
    /// Exit status; `None` if a signal ended the run.
    pub status: Option<i32>,
    /// Standard error.
    pub errors: String,
    /// Descriptions of forbidden behavior.
    pub faults: Vec<String>,
}

/// Runs `case` in a fresh directory.
pub fn run(case: &Case) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    for (path, bytes) in &case.files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    run_in(directory.path(), case)
}

/// Runs `case` in `directory`, which holds its files.
pub fn run_in(directory: &Path, case: &Case) -> Outcome {
    // The output goes elsewhere, so that `directory` holds only files of the run.
    let said = tempfile::tempdir().unwrap();
    let [out, errors] = ["out", "errors"].map(|name| said.path().join(name));
    let limits = format!("ulimit -v {}; ulimit -t {SECONDS}; ulimit -c 0; exec \"$0\" \"$@\"", MEMORY >> 10);
    let child = Command::new("sh")
        .args(["-c", &limits, env!("CARGO_BIN_EXE_lopper")])
        .args(&case.args)
        .current_dir(directory)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let (status, hangs) = wait(child);
    let [out, errors] =
        [out, errors].map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned());
    let mut faults = Vec::new();
    if hangs {
        faults.push("hangs".into());
    } else if !matches!(status, Some(0..=2)) {
        faults.push(format!(
            "ends with {}",
            status.map_or("a signal".into(), |code| format!("exit status {code}"))
        ));
    }
    if out.contains("panicked") || errors.contains("panicked") {
        faults.push("panics".into());
    }
    if status == Some(1) && !errors.lines().any(|line| line.starts_with("lopper: ")) {
        faults.push("fails without a message".into());
    }
    faults.extend(wrong_files(directory, case, status));
    Outcome { status, errors, faults }
}

/// Returns what is wrong with the files that a run left behind.
fn wrong_files(directory: &Path, case: &Case, status: Option<i32>) -> Vec<String> {
    let mut faults = Vec::new();
    let out = directory.join(OUT);
    if case.writes_a_model() {
        match status {
            Some(0) => faults.extend(
                lopper_engine::file::load(&out).err().map(|e| format!("writes what it cannot read: {e}")),
            ),
            _ if out.exists() => faults.push("writes a model and fails".into()),
            _ => {}
        }
    }
    if status.is_some() {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let left = names.filter(|name| name.to_string_lossy().starts_with(&format!(".{OUT}")));
        faults.extend(left.map(|name| format!("leaves {}", name.display())));
    }
    faults
}

/// Waits for `child` to end. Returns its exit status, and whether it had to be killed.
fn wait(mut child: Child) -> (Option<i32>, bool) {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), false);
        }
        if begin.elapsed() > HANGS_AFTER {
            child.kill().unwrap();
            return (child.wait().unwrap().code(), true);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
