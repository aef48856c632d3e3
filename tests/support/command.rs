//! Runs `lopper`, and creates images and models for it.
#![allow(dead_code, reason = "each test crate uses a part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program under test.
pub const LOPPER: &str = env!("CARGO_BIN_EXE_lopper");

/// Where tests keep what a user's cache would hold.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

/// A finished run of `lopper`, with its output as text.
pub struct Run {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs `lopper` with `args` until it ends.
pub fn lopper(args: &[&str]) -> Run {
    finished(Command::new(LOPPER).args(args).env("LOPPER_CACHE", CACHE).output().expect("lopper starts"))
}

/// Converts the output of a finished process.
pub fn finished(output: Output) -> Run {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Run { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Runs a shell script in `directory`, with the program in `$LOPPER`.
#[cfg(unix)]
pub fn shell(script: &str, directory: &Path) -> Run {
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("LOPPER", LOPPER).current_dir(directory);
    finished(command.output().expect("a shell"))
}

impl Run {
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.status, Some(0), "{}", self.err);
        self
    }

    /// Asserts that the run was refused with exit status 1 or 2 and a message that contains all of `words`.
    #[track_caller]
    pub fn refused(&self, words: &[&str]) {
        assert!(matches!(self.status, Some(1 | 2)), "status {:?}: {}", self.status, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "expected `{word}` in: {}", self.err);
        }
    }

    /// Asserts that the run failed with exit status 1 and a message on standard error that contains all of `words`.
    #[track_caller]
    pub fn failed_naming(self, words: &[&str]) {
        assert_eq!(self.status, Some(1), "{}", self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        let line = self.err.lines().rfind(|l| l.starts_with("lopper: ")).unwrap_or_default();
        for word in words {
            assert!(line.contains(word) || self.err.contains(word), "expected `{word}` in: {}", self.err);
        }
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is UTF-8")
}

/// Runs `lopper` in a shell after the commands `before`.
pub fn lopper_after(before: &str, args: &[&str]) -> Run {
    let script = format!("{before}; exec \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, LOPPER]).args(args);
    finished(shell.output().expect("a shell starts"))
}

/// Creates a directory of `train/<class>/*` and `val/<class>/*` with two classes that a network can distinguish.
pub fn image_folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for split in ["train", "val"] {
        for (class, tint) in [("dark", 40u8), ("light", 200u8)] {
            let folder = dir.path().join(split).join(class);
            fs::create_dir_all(&folder).unwrap();
            for i in 0..8u8 {
                let pixel =
                    |x: u32, y: u32| image::Rgb([tint + i, tint ^ (x as u8 & 15), tint ^ (y as u8 & 15)]);
                image::RgbImage::from_fn(40, 36, pixel).save(folder.join(format!("{i}.png"))).unwrap();
            }
        }
    }
    dir
}

/// Trains a small network on `data` for one epoch and writes it in `dir`.
pub fn model(dir: &Path, data: &Path) -> PathBuf {
    let path = dir.join("model.safetensors");
    train(data, &path, &[]).succeeded();
    path
}

/// Runs `lopper train` of a small network on `data` for one epoch, with the additional options `more`.
pub fn train(data: &Path, out: &Path, more: &[&str]) -> Run {
    lopper(&[&training(data, out)[..], more].concat())
}

/// Returns the command line of [`train`].
pub fn training<'a>(data: &'a Path, out: &'a Path) -> Vec<&'a str> {
    let network = ["train", "--arch", "vgg8_bn", "--size", "32", "--batch", "8", "--epochs", "1"];
    [&network[..], &["--data", text(data), "--out", text(out)]].concat()
}

/// Returns the names in `directory`, sorted.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
