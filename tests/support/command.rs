//! The command line as a user meets it: what it prints and its exit status.

use std::process::{Command, Output};

/// A run of `lopper`, with its output as text.
pub struct Run {
    /// The exit status; none after a signal.
    pub status: Option<i32>,
    /// Standard error.
    pub err: String,
}

/// Runs `lopper`.
pub fn lopper(args: &[&str]) -> Run {
    finished(Command::new(env!("CARGO_BIN_EXE_lopper")).args(args).output().expect("lopper starts"))
}

/// Runs `lopper` in a shell that has carried out `before`.
pub fn lopper_after(before: &str, args: &[&str]) -> Run {
    let script = format!("{before}; exec \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_lopper")]).args(args);
    finished(shell.output().expect("a shell starts"))
}

fn finished(output: Output) -> Run {
    Run { status: output.status.code(), err: String::from_utf8_lossy(&output.stderr).into_owned() }
}

impl Run {
    /// Ended with exit status 0.
    #[track_caller]
    pub fn succeeded(&self) {
        assert_eq!(self.status, Some(0), "{}", self.err);
    }

    /// Refused what it was asked, with exit status 1 or 2 and a message that holds every one of `words`.
    #[track_caller]
    pub fn refused(&self, words: &[&str]) {
        assert!(matches!(self.status, Some(1 | 2)), "status {:?}: {}", self.status, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "expected `{word}` in: {}", self.err);
        }
    }
}
