//! Python with packages that other programs are tested with.
#![allow(dead_code, reason = "each test crate uses a part")]

use super::command::{Run, finished};
use std::path::Path;
use std::process::Command;

/// A program that a test compares with.
pub enum Package {
    /// ONNX Runtime, with onnx and numpy.
    Onnx,
    /// PyTorch.
    Torch,
}

impl Package {
    /// What to import, the variable that names the packages' folder, its default, and the variable that requires it.
    fn names(&self) -> [&'static str; 4] {
        match self {
            Self::Onnx => ["onnxruntime, onnx", "LOPPER_ONNX", "target/onnx", "LOPPER_REQUIRE_ONNX"],
            Self::Torch => ["torch", "LOPPER_TORCH", "target/torch", "LOPPER_REQUIRE_TORCH"],
        }
    }

    /// Runs the script `tests/python/SCRIPT` with `arguments`; `None` if there is no such package, which is a failure
    /// only if it is required.
    pub fn run(&self, script: &str, arguments: &[&str]) -> Option<Run> {
        let [packages, folder, default, require] = self.names();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let place = std::env::var_os(folder).map_or_else(|| root.join(default), Into::into);
        let python = |arguments: &[&str]| {
            let mut command = Command::new("python3");
            command.args(arguments).current_dir(root);
            command.env("PYTHONPATH", &place).env("PYTHONDONTWRITEBYTECODE", "1");
            command.output()
        };
        let found = python(&["-c", &format!("import {packages}")]);
        if !found.as_ref().is_ok_and(|output| output.status.success()) {
            let why = found.map_or_else(|e| e.to_string(), |output| finished(output).err);
            assert!(
                std::env::var_os(require).is_none(),
                "{require} is set, but python3 cannot import {packages}: {why}"
            );
            eprintln!("skipped: python3 cannot import {packages} from {} ({folder})", place.display());
            return None;
        }
        let script = root.join("tests/python").join(script);
        let script = script.to_str().expect("a path in UTF-8");
        Some(finished(python(&[&[script], arguments].concat()).expect("python3 ran before")).succeeded())
    }
}
