//! Memory that faults when a kernel reads or writes outside it, for tests.
//!
//! ```text
//!               Guard::After                                    Guard::Before
//!   ┌────────┬───────────────────────┬────────┐   ┌────────┬───────────────────────┬────────┐
//!   │ faults │  slack │ the floats   │ faults │   │ faults │ the floats   │ slack  │ faults │
//!   └────────┴───────────────────────┴────────┘   └────────┴───────────────────────┴────────┘
//! ```
//!
//! A processor protects whole pages, so only one end of a buffer can touch one: after it, where most mistakes go, or
//! before it. With [`Guard::After`] floats are aligned to four bytes only: alignment is speed, no kernel relies on it.
//!
//! While guarding is on, nothing that a kernel writes is zero beforehand ([`Buffer::unspecified`]), recycled or not: it
//! is NaN, and whoever reads it passes the NaN on. Nothing larger than what was asked for is lent either, or its end
//! would not touch a page.
//!
//! [`Buffer::unspecified`]: crate::buffer::Buffer::unspecified

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// Which end of each buffer touches a page that faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Neither: buffers are aligned to cache lines, large ones lie in huge pages.
    Off,
    /// Reading or writing the element behind the last one faults.
    After,
    /// Reading or writing the element before the first one faults.
    Before,
}

/// The environment variable that guards the buffers of any program: `after` or `before`.
const VARIABLE: &str = "LOPPER_GUARD";

impl Guard {
    /// The value of `LOPPER_GUARD`; anything but the two words is off.
    fn of_environment() -> Self {
        match std::env::var(VARIABLE).as_deref() {
            Ok("after") => Self::After,
            Ok("before") => Self::Before,
            _ => Self::Off,
        }
    }

    /// How buffers are guarded that are made from now on.
    pub fn current() -> Self {
        match state().load(Ordering::Relaxed) {
            after if after == Self::After as u8 => Self::After,
            before if before == Self::Before as u8 => Self::Before,
            _ => Self::Off,
        }
    }

    /// Guards the buffers that the process makes from now on. Where pages cannot be protected it has no effect.
    pub fn set(self) {
        state().store(self as u8, Ordering::Relaxed);
    }

    /// Whether buffers are guarded.
    pub(crate) fn is_on() -> bool {
        Self::current() != Self::Off
    }
}

/// The process's guard, at first that of its environment.
fn state() -> &'static AtomicU8 {
    static STATE: OnceLock<AtomicU8> = OnceLock::new();
    STATE.get_or_init(|| AtomicU8::new(Guard::of_environment() as u8))
}

pub(crate) use pages::GuardedPages;

#[cfg(all(unix, not(miri)))]
mod pages {
    use super::Guard;
    use std::ptr::{NonNull, null_mut};

    /// `len` zeros, with a page that faults on either side of their pages.
    pub(crate) struct GuardedPages {
        /// The first page, which faults.
        map: NonNull<u8>,
        /// Bytes of all pages.
        bytes: usize,
        floats: NonNull<f32>,
        len: usize,
    }

    // SAFETY: it owns its memory, as a vector does.
    unsafe impl Send for GuardedPages {}
    // SAFETY: a shared reference gives no way to write.
    unsafe impl Sync for GuardedPages {}

    impl GuardedPages {
        /// `None` for no floats, where guarding is off, or where the system has no pages to map.
        pub fn new(len: usize) -> Option<Self> {
            let guard = Guard::current();
            if guard == Guard::Off || len == 0 {
                return None;
            }
            // SAFETY: a question without arguments of ours.
            let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
            let body = len.checked_mul(size_of::<f32>())?.next_multiple_of(page);
            let bytes = body.checked_add(2 * page)?;
            // SAFETY: a new private mapping that replaces none; it is unmapped once, in `drop`. All of it faults at first.
            let map = unsafe {
                libc::mmap(
                    null_mut(),
                    bytes,
                    libc::PROT_NONE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            if map == libc::MAP_FAILED {
                return None;
            }
            let map = NonNull::new(map.cast::<u8>())?;
            // SAFETY: `page + body` lies inside the mapping of `body + 2 · page` bytes.
            let start = unsafe { map.add(page) };
            let skip = if guard == Guard::After { body - size_of::<f32>() * len } else { 0 };
            // SAFETY: the floats take `4 · len ≤ body` bytes from `skip = body − 4 · len` or 0 on; they are aligned, for
            // pages are, and `body` and `skip` are multiples of four.
            let floats = unsafe { start.add(skip) }.cast();
            let pages = Self { map, bytes, floats, len };
            // SAFETY: these `body` bytes belong to the mapping, and nobody else knows them yet.
            let opened = unsafe {
                libc::mprotect(start.as_ptr().cast(), body, libc::PROT_READ | libc::PROT_WRITE) == 0
            };
            opened.then_some(pages)
        }

        pub fn floats(&self) -> &[f32] {
            // SAFETY: `len` floats between the two pages that fault, zeros from the system or written since.
            unsafe { std::slice::from_raw_parts(self.floats.as_ptr(), self.len) }
        }

        pub fn floats_mut(&mut self) -> &mut [f32] {
            // SAFETY: as above, and `self` is borrowed exclusively.
            unsafe { std::slice::from_raw_parts_mut(self.floats.as_ptr(), self.len) }
        }
    }

    impl Drop for GuardedPages {
        fn drop(&mut self) {
            // SAFETY: the mapping of `bytes` bytes that `new` made; its floats are borrowed from `self`, which ends.
            unsafe { libc::munmap(self.map.as_ptr().cast(), self.bytes) };
        }
    }
}

#[cfg(any(not(unix), miri))]
mod pages {
    /// Never made: these systems have no pages to protect, and Miri checks every access itself.
    pub(crate) enum GuardedPages {}

    impl GuardedPages {
        pub fn new(_: usize) -> Option<Self> {
            None
        }

        pub fn floats(&self) -> &[f32] {
            match *self {}
        }

        pub fn floats_mut(&mut self) -> &mut [f32] {
            match *self {}
        }
    }
}

#[cfg(all(test, unix, not(miri)))]
mod tests {
    use super::*;
    use crate::buffer::Buffer;

    /// Runs this test again in a process of its own, which `access` is expected to kill.
    fn faults(name: &str, guard: Guard, len: usize, access: impl Fn(*mut f32)) {
        use std::os::unix::process::ExitStatusExt;
        if std::env::var_os("LOPPER_TEST_FAULT").is_some_and(|test| test == name) {
            guard.set();
            let mut buffer = Buffer::zeros(len);
            buffer.fill(1.0);
            access(buffer.as_mut_ptr());
            std::process::exit(0);
        }
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", &format!("guard::tests::{name}")]).env("LOPPER_TEST_FAULT", name);
        // Whoever built this with AddressSanitizer leaves the signal to the system here.
        again.env("ASAN_OPTIONS", "handle_segv=0:handle_sigbus=0");
        let output = again.output().unwrap();
        let signal = output.status.signal();
        assert!(matches!(signal, Some(libc::SIGSEGV | libc::SIGBUS)), "{}: {output:?}", output.status);
    }

    #[test]
    fn reading_behind_a_buffer_faults() {
        // SAFETY: none: the read is outside the buffer, which is what must fault.
        let access = |p: *mut f32| unsafe {
            p.add(37).read_volatile();
        };
        faults("reading_behind_a_buffer_faults", Guard::After, 37, access);
    }

    #[test]
    fn writing_before_a_buffer_faults() {
        // SAFETY: none: the write is outside the buffer, which is what must fault.
        let access = |p: *mut f32| unsafe { p.sub(1).write_volatile(1.0) };
        faults("writing_before_a_buffer_faults", Guard::Before, 5, access);
    }
}
