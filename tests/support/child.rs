//! Runs of `lopper` that are interrupted.

use super::command::{LOPPER, Run, finished, names};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Time after which a test counts as hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts `lopper` with `args`.
pub fn start(args: &[&str]) -> Child {
    // A script's background job ignores SIGINT, a process under `nohup` ignores SIGHUP, and their children inherit
    // that.
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

/// Waits for `event` or for the end of `child`. Returns whether the event came first.
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

/// Sends the signal `name` to `child`.
#[cfg(unix)]
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).output();
    drop(sent.expect("kill")); // not a failure if the child has just ended
}

/// Waits for the end of `child` and returns its output and exit status.
pub fn end(child: Child) -> Run {
    finished(child.wait_with_output().expect("a child"))
}

/// Returns whether `directory` contains a temporary file, i.e. a write is in progress or was interrupted.
pub fn writes(directory: &Path) -> bool {
    directory.is_dir() && names(directory).iter().any(|name| name.ends_with(".lopper-tmp"))
}
