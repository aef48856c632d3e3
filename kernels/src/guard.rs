//! Memory that faults if a kernel reads or writes outside it, for tests.
//!
//! ```text
//!               Guard::After                                    Guard::Before
//!   ┌────────┬───────────────────────┬────────┐   ┌────────┬───────────────────────┬────────┐
//!   │ faults │  slack │ the floats   │ faults │   │ faults │ the floats   │ slack  │ faults │
//!   └────────┴───────────────────────┴────────┘   └────────┴───────────────────────┴────────┘
//! ```
//!
//! A processor protects whole pages, so only one end of a buffer can touch a protected page: its end, where most
//! mistakes occur, or its start. With [`Guard::After`], floats are aligned to only four bytes. Kernels need alignment
//! for speed, not for correctness.
//!
//! While guarding is on, buffers to be written ([`Buffer::unspecified`]), recycled or not, are filled with NaN instead
//! of zeros, so that code that reads them first propagates the NaN. No buffer is larger than requested either;
//! otherwise its end would not touch a protected page.
//!
//! [`Buffer::unspecified`]: crate::buffer::Buffer::unspecified

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// The end of each buffer that touches a page that faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Neither end: buffers are aligned to cache lines, and large ones lie in huge pages.
    Off,
    /// Reading or writing the element after the last one faults.
    After,
    /// Reading or writing the element before the first one faults.
    Before,
}

/// The environment variable that turns on guarding in any program: `after` or `before`.
const VARIABLE: &str = "LOPPER_GUARD";

impl Guard {
    /// Reads `LOPPER_GUARD`; anything but the two words means off.
    fn of_environment() -> Self {
        match std::env::var(VARIABLE).as_deref() {
            Ok("after") => Self::After,
            Ok("before") => Self::Before,
            _ => Self::Off,
        }
    }

    /// The guard of buffers created from now on.
    pub fn current() -> Self {
        match state().load(Ordering::Relaxed) {
            after if after == Self::After as u8 => Self::After,
            before if before == Self::Before as u8 => Self::Before,
            _ => Self::Off,
        }
    }

    /// Sets the guard of buffers that the process creates from now on. It has no effect if pages cannot be protected.
    pub fn set(self) {
        state().store(self as u8, Ordering::Relaxed);
    }

    /// Whether buffers are guarded.
    pub(crate) fn is_on() -> bool {
        Self::current() != Self::Off
    }
}

/// The guard of the process, initially that of its environment.
fn state() -> &'static AtomicU8 {
    static STATE: OnceLock<AtomicU8> = OnceLock::new();
    STATE.get_or_init(|| AtomicU8::new(Guard::of_environment() as u8))
}

pub(crate) use pages::GuardedPages;

#[cfg(all(unix, not(miri)))]
mod pages {
    use super::Guard;
    use std::ptr::{NonNull, null_mut};

    /// `len` zeros in pages with a faulting page on either side.
    pub(crate) struct GuardedPages {
        /// The first page, which faults.
        map: NonNull<u8>,
        /// The size of all pages in bytes.
        bytes: usize,
        floats: NonNull<f32>,
        len: usize,
    }

    // SAFETY: it owns its memory, like a vector.
    unsafe impl Send for GuardedPages {}
    // SAFETY: a shared reference does not allow writes.
    unsafe impl Sync for GuardedPages {}

    impl GuardedPages {
        /// Returns `None` if `len` is 0, if guarding is off, or if the system cannot map pages.
        pub fn new(len: usize) -> Option<Self> {
            let guard = Guard::current();
            if guard == Guard::Off || len == 0 {
                return None;
            }
            // SAFETY: the call takes no pointers and only queries a value.
            let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
            let body = len.checked_mul(size_of::<f32>())?.next_multiple_of(page);
            let bytes = body.checked_add(2 * page)?;
            // All of the mapping faults at first.
            // SAFETY: this is a new private mapping that replaces no other; `drop` unmaps it once.
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
            // SAFETY: the floats take `4 · len ≤ body` bytes from `skip` on, which is `body − 4 · len` or 0. They are
            // aligned because pages are, and because `body` and `skip` are multiples of four.
            let floats = unsafe { start.add(skip) }.cast();
            let pages = Self { map, bytes, floats, len };
            // SAFETY: these `body` bytes belong to the mapping, and nothing else refers to them yet.
            let opened = unsafe {
                libc::mprotect(start.as_ptr().cast(), body, libc::PROT_READ | libc::PROT_WRITE) == 0
            };
            opened.then_some(pages)
        }

        pub fn floats(&self) -> &[f32] {
            // SAFETY: the `len` floats lie between the two pages that fault; they are zeros from the system or written
            // since.
            unsafe { std::slice::from_raw_parts(self.floats.as_ptr(), self.len) }
        }

        pub fn floats_mut(&mut self) -> &mut [f32] {
            // SAFETY: as above, and `self` is borrowed exclusively.
            unsafe { std::slice::from_raw_parts_mut(self.floats.as_ptr(), self.len) }
        }
    }

    impl Drop for GuardedPages {
        fn drop(&mut self) {
            // SAFETY: `new` created this mapping of `bytes` bytes; its floats are borrowed from `self`, which is
            // dropped here.
            unsafe { libc::munmap(self.map.as_ptr().cast(), self.bytes) };
        }
    }
}

#[cfg(any(not(unix), miri))]
mod pages {
    /// Never created: these systems cannot protect pages, and Miri itself checks every access.
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

    /// Runs this test again in a separate process, which `access` is expected to kill.
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
        // If this is built with AddressSanitizer, the system handles the signal.
        again.env("ASAN_OPTIONS", "handle_segv=0:handle_sigbus=0");
        let output = again.output().unwrap();
        let signal = output.status.signal();
        assert!(matches!(signal, Some(libc::SIGSEGV | libc::SIGBUS)), "{}: {output:?}", output.status);
    }

    #[test]
    fn reading_after_a_buffer_faults() {
        // SAFETY: none. The read is deliberately outside the buffer and must fault.
        let access = |p: *mut f32| unsafe {
            p.add(37).read_volatile();
        };
        faults("reading_after_a_buffer_faults", Guard::After, 37, access);
    }

    #[test]
    fn writing_before_a_buffer_faults() {
        // SAFETY: none. The write is deliberately outside the buffer and must fault.
        let access = |p: *mut f32| unsafe { p.sub(1).write_volatile(1.0) };
        faults("writing_before_a_buffer_faults", Guard::Before, 5, access);
    }
}
