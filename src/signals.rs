//! Signals that end a training in order: the first one asks for a checkpoint and the end, the second one is the end.

use lopper_engine::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// What the handlers write: whether a signal came, and which was the last.
#[derive(Default)]
struct Flags {
    came: Arc<AtomicBool>,
    which: Arc<AtomicUsize>,
}

static FLAGS: OnceLock<Flags> = OnceLock::new();

/// The signals that are listened to, with their names.
const SIGNALS: &[(i32, &str)] = &[
    (SIGINT, "SIGINT"),
    (SIGTERM, "SIGTERM"),
    #[cfg(unix)]
    (signal_hook::consts::SIGHUP, "SIGHUP"),
];

/// From here on a first SIGINT, SIGTERM or SIGHUP is remembered, for [`received`], and a second one ends the process at
/// once, with status 128 + its number. What was ignored when the process began (SIGHUP under `nohup`, SIGINT of a
/// script's background job) stays ignored.
pub fn listen() -> Result<()> {
    if FLAGS.get().is_some() {
        return Ok(());
    }
    let (flags, ignored) = (Flags::default(), ignored());
    for &(signal, name) in SIGNALS.iter().filter(|(signal, _)| ignored >> (signal - 1) & 1 == 0) {
        // In this order: the first signal finds the flag unset, and sets it.
        flag::register_conditional_shutdown(signal, 128 + signal, flags.came.clone())
            .and_then(|_| flag::register_usize(signal, flags.which.clone(), signal as usize))
            .and_then(|_| flag::register(signal, flags.came.clone()))
            .map_err(|e| Error::invalid(format!("cannot listen to {name}: {e}")))?;
    }
    let _ = FLAGS.set(flags);
    Ok(())
}

/// The signal that asks for the end, its number and name.
pub fn received() -> Option<(i32, &'static str)> {
    let flags = FLAGS.get().filter(|flags| flags.came.load(Ordering::SeqCst))?;
    let which = flags.which.load(Ordering::SeqCst);
    SIGNALS.iter().copied().find(|&(signal, _)| signal as usize == which)
}

/// [`Error::Stopped`] where a signal asks for the end.
pub fn check() -> Result<()> {
    received().map_or(Ok(()), |_| Err(Error::Stopped))
}

/// Makes a write beyond the limit on file sizes (`ulimit -f`) an error of that write rather than the end of the process.
pub fn survive_file_size_limit() {
    #[cfg(unix)]
    {
        // The handler does nothing of consequence; that there is one is enough. Without it there is a signal, no worse.
        let _ = flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    }
}

/// A bit for each signal that the process ignores, as Linux tells; none where it cannot be known.
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

    /// What the test below runs in a process of its own, because it is the end of it.
    #[test]
    #[ignore = "ends its process"]
    fn two_signals() {
        if std::env::var_os(ALONE).is_none() {
            return; // `--include-ignored`
        }
        listen().unwrap();
        listen().unwrap(); // again changes nothing
        assert_eq!((received(), check().is_ok()), (None, true));
        raise(SIGINT).unwrap();
        assert_eq!(received(), Some((SIGINT, "SIGINT")));
        assert!(matches!(check(), Err(Error::Stopped)));
        raise(SIGTERM).unwrap();
        unreachable!("the second signal is the end");
    }

    #[test]
    fn the_first_signal_asks_and_the_second_one_ends() {
        let program = std::env::current_exe().unwrap();
        // Whoever started this test may ignore SIGINT: `env` resets that where it can.
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
