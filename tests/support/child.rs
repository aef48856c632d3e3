//! Runs of `lopper` that are interrupted.

use super::command::{LOPPER, Run, finished, names};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// How long anything in a test may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts `lopper` with `args`.
pub fn start(args: &[&str]) -> Child {
    // A script's background job ignores SIGINT, one under `nohup` SIGHUP, and whoever they start inherits it.
    static RESETS: LazyLock<bool> = LazyLock::new(|| {
        let probe = Command::new("env").args(["--default-signal", "true"]).output();
        probe.is_ok_and(|probe| probe.status.success())
    });
    let mut command = Command::new(if *RESETS { "env" } else { LOPPER });
    if *RESETS {
        command.args(["--default-signal", LOPPER]);
    }
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("lopper starts")
}

/// Waits until `event`, or until `child` has ended: whether the event came first.
pub fn wait_until(child: &mut Child, mut event: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if event() {
            return true;
        }
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    panic!("it hangs");
}

/// Sends `child` the signal called `name`.
#[cfg(unix)]
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).output();
    drop(sent.expect("kill")); // a child that has ended just now is no failure
}

/// What `child` said and how it ended.
pub fn end(child: Child) -> Run {
    finished(child.wait_with_output().expect("a child"))
}

/// Whether a temporary file is in `directory`: something is being written.
pub fn writes(directory: &Path) -> bool {
    directory.is_dir() && names(directory).iter().any(|name| name.ends_with(".lopper-tmp"))
}
