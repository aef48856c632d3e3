//! Python with packages that other programs are tested with.
#![allow(dead_code, reason = "each test crate uses a part")]

use super::command::{Run, finished};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A program that a test compares with.
#[derive(Clone, Copy)]
pub enum Package {
    /// ONNX Runtime, with onnx and numpy.
    Onnx,
    /// PyTorch.
    Torch,
    /// Our own package, as it is installed, with numpy.
    Lopper,
}

impl Package {
    /// What to import, the variable that names the packages' folder, its default, and the variable that requires it.
    fn names(self) -> [&'static str; 4] {
        match self {
            Self::Onnx => ["onnxruntime, onnx", "LOPPER_ONNX", "target/onnx", "LOPPER_REQUIRE_ONNX"],
            Self::Torch => ["torch", "LOPPER_TORCH", "target/torch", "LOPPER_REQUIRE_TORCH"],
            Self::Lopper => ["lopper, numpy", "LOPPER_WHEEL", "target/wheel", "LOPPER_REQUIRE_WHEEL"],
        }
    }

    /// The folder of the packages.
    fn place(self) -> PathBuf {
        let [_, folder, default, _] = self.names();
        std::env::var_os(folder).map_or_else(|| root().join(default), Into::into)
    }

    /// Whether Python finds the packages. If they are required, it must.
    pub fn is_found(self) -> bool {
        let [packages, folder, _, require] = self.names();
        let found = python(&[self], &["-c", &format!("import {packages}")]).output();
        if found.as_ref().is_ok_and(|output| output.status.success()) {
            return true;
        }
        let why = found.map_or_else(|e| e.to_string(), |output| finished(output).err);
        assert!(
            std::env::var_os(require).is_none(),
            "{require} is set, but python3 cannot import {packages}: {why}"
        );
        eprintln!("skipped: python3 cannot import {packages} from {} ({folder})", self.place().display());
        false
    }

    /// Runs the script `tests/python/SCRIPT` with `arguments`; `None` if there is no such package, which is a failure
    /// only if it is required.
    pub fn run(self, script: &str, arguments: &[&str]) -> Option<Run> {
        let script = root().join("tests/python").join(script);
        let script = script.to_str().expect("a path in UTF-8");
        self.is_found().then(|| ran(python(&[self], &[&[script], arguments].concat()).output()).succeeded())
    }
}

/// A run of Python with `arguments` that finds all of `packages`.
pub fn python(packages: &[Package], arguments: &[&str]) -> Command {
    let places = packages.iter().map(|package| package.place());
    let path: OsString = std::env::join_paths(places).expect("folders without colons");
    let mut command = Command::new("python3");
    command.args(arguments).current_dir(root());
    command.env("PYTHONPATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// What a run of Python printed.
pub fn ran(output: std::io::Result<Output>) -> Run {
    finished(output.expect("Python ran before"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
