//! Signals that stop training cleanly: the first requests a checkpoint and a stop, the second ends the process.

use lopper_engine::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Flags that the handlers set: whether a signal arrived, and which came last.
#[derive(Default)]
struct Flags {
    came: Arc<AtomicBool>,
    which: Arc<AtomicUsize>,
}

static FLAGS: OnceLock<Flags> = OnceLock::new();

/// Handled signals and their names.
const SIGNALS: &[(i32, &str)] = &[
    (SIGINT, "SIGINT"),
    (SIGTERM, "SIGTERM"),
    #[cfg(unix)]
    (signal_hook::consts::SIGHUP, "SIGHUP"),
];

/// Installs the handlers. A first SIGINT, SIGTERM or SIGHUP is recorded for [`received`]; a second one ends the process
/// immediately with status 128 + its number. Signals that were ignored when the process started (SIGHUP under `nohup`,
/// SIGINT in a script's background job) stay ignored.
pub fn listen() -> Result<()> {
    if FLAGS.get().is_some() {
        return Ok(());
    }
    let (flags, ignored) = (Flags::default(), ignored());
    for &(signal, name) in SIGNALS.iter().filter(|(signal, _)| ignored >> (signal - 1) & 1 == 0) {
        // The order matters: the first signal finds the flag unset, then sets it.
        flag::register_conditional_shutdown(signal, 128 + signal, flags.came.clone())
            .and_then(|_| flag::register_usize(signal, flags.which.clone(), signal as usize))
            .and_then(|_| flag::register(signal, flags.came.clone()))
            .map_err(|e| Error::invalid(format!("cannot handle {name}: {e}")))?;
    }
    let _ = FLAGS.set(flags);
    Ok(())
}

/// Returns the number and name of the signal that requested a stop.
pub fn received() -> Option<(i32, &'static str)> {
    let flags = FLAGS.get().filter(|flags| flags.came.load(Ordering::SeqCst))?;
    let which = flags.which.load(Ordering::SeqCst);
    SIGNALS.iter().copied().find(|&(signal, _)| signal as usize == which)
}

/// Returns [`Error::Stopped`] if a signal requested a stop.
pub fn check() -> Result<()> {
    received().map_or(Ok(()), |_| Err(Error::Stopped))
}

/// Makes a write beyond the file size limit (`ulimit -f`) fail with an error instead of ending the process.
pub fn survive_file_size_limit() {
    #[cfg(unix)]
    {
        // The handler does nothing that matters; its presence is enough. If it cannot be installed, the signal ends the
        // process as before.
        let _ = flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    }
}

/// Returns a bit mask of the signals that the process ignores, as reported by Linux; 0 if that is unknown.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use signal_hook::low_level::raise;
    use std::process::Command;

    const ALONE: &str = "LOPPER_TEST_TWO_SIGNALS";

    /// Helper of the test below, which runs it in a separate process because it ends the process.
    #[test]
    #[ignore = "ends its process"]
    fn two_signals() {
        if std::env::var_os(ALONE).is_none() {
            return; // `--include-ignored`
        }
        listen().unwrap();
        listen().unwrap(); // a second call has no effect
        assert_eq!((received(), check().is_ok()), (None, true));
        raise(SIGINT).unwrap();
        assert_eq!(received(), Some((SIGINT, "SIGINT")));
        assert!(matches!(check(), Err(Error::Stopped)));
        raise(SIGTERM).unwrap();
        unreachable!("the second signal ends the process");
    }

    #[test]
    fn the_first_signal_requests_a_stop_and_the_second_ends_the_process() {
        let program = std::env::current_exe().unwrap();
        // The parent process may ignore SIGINT: `env` resets that if it supports it.
        let resets =
            Command::new("env").args(["--default-signal", "true"]).status().is_ok_and(|s| s.success());
        if !resets && ignored() != 0 {
            return eprintln!("skipped: signals are ignored here");
        }
        let mut command = Command::new(if resets { "env".into() } else { program.clone() });
        if resets {
            command.arg("--default-signal").arg(program);
        }
        command.env(ALONE, "1");
        let ended = command.args(["--exact", "signals::tests::two_signals", "--ignored"]).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert_eq!(ended.status.code(), Some(128 + SIGTERM), "{said}");
    }
}
