//! Prints the running cases if one of them faults. A process killed by a signal prints nothing by itself.

use std::sync::Once;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// The maximum number of tests that run at a time, and the maximum length of a case's description in bytes.
const SLOTS: usize = 64;
const BYTES: usize = 1024;

/// The case of each running test, in memory that a signal handler can read at any time.
static TEXTS: [Text; SLOTS] =
    [const { Text { len: AtomicUsize::new(0), bytes: [const { AtomicU8::new(0) }; BYTES] } }; SLOTS];

struct Text {
    len: AtomicUsize,
    bytes: [AtomicU8; BYTES],
}

impl Text {
    fn read(&self) -> ([u8; BYTES], usize) {
        let mut bytes = [0; BYTES];
        let len = self.len.load(Ordering::Acquire);
        for (to, from) in bytes.iter_mut().zip(&self.bytes).take(len) {
            *to = from.load(Ordering::Relaxed);
        }
        (bytes, len)
    }
}

/// A test's slot in [`TEXTS`].
#[derive(Clone, Copy)]
pub struct Slot(usize);

impl Slot {
    pub fn new() -> Self {
        static INSTALLED: Once = Once::new();
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        INSTALLED.call_once(install);
        Self(NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS)
    }

    pub fn set(self, text: &str) {
        let Text { len, bytes } = &TEXTS[self.0];
        len.store(0, Ordering::Release);
        for (to, from) in bytes.iter().zip(text.bytes()) {
            to.store(from, Ordering::Relaxed);
        }
        len.store(text.len().min(BYTES), Ordering::Release);
    }

    pub fn clear(self) {
        self.set("");
    }

    pub fn text(self) -> String {
        let (bytes, len) = TEXTS[self.0].read();
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }
}

#[cfg(unix)]
fn install() {
    extern "C" fn faulted(_: libc::c_int) {
        let write = |text: &[u8]| {
            // SAFETY: `write` may be called in a signal handler; it reads the bytes of the slice.
            unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
        };
        write(b"\na kernel faulted; these cases were running:\n");
        for text in &TEXTS {
            let (bytes, len) = text.read();
            if len > 0 {
                write(&bytes[..len]);
                write(b"\n");
            }
        }
    }
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // The handler runs only once: the faulting access is then repeated and kills the process as usual.
        // SAFETY: an empty set of flags and signals is all zeros, and the handler calls only async-signal-safe
        // functions.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = faulted as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_RESETHAND;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

#[cfg(not(unix))]
fn install() {}
