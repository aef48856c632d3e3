//! What a call returns, and the text of the last error.

use lopper_engine::Error;
use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a function returns. Unless it is `LOPPER_OK`, `lopper_last_error` says what happened.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "the name in the header")]
pub enum lopper_status {
    /// The call did what it says.
    LOPPER_OK = 0,
    /// A pointer is NULL, or one to numbers is not aligned.
    LOPPER_ERROR_POINTER = 1,
    /// A number, a length or the network's layers do not fit.
    LOPPER_ERROR_ARGUMENT = 2,
    /// A file cannot be read, or is no model file.
    LOPPER_ERROR_FILE = 3,
    /// More memory is needed than the machine or the control group has.
    LOPPER_ERROR_MEMORY = 4,
    /// A bug in lopper. The plan in use, if any, cannot be run again.
    LOPPER_ERROR_INTERNAL = 5,
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub status: lopper_status,
    pub message: String,
}

impl Failure {
    pub fn new(status: lopper_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// An argument that does not fit.
    pub fn argument(message: impl Into<String>) -> Self {
        Self::new(lopper_status::LOPPER_ERROR_ARGUMENT, message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::File { .. } => lopper_status::LOPPER_ERROR_FILE,
            Error::Memory { .. } => lopper_status::LOPPER_ERROR_MEMORY,
            _ => lopper_status::LOPPER_ERROR_ARGUMENT,
        };
        Self::new(status, error.to_string())
    }
}

thread_local! {
    /// The message of the last call that failed in this thread.
    static LAST: RefCell<CString> = RefCell::default();
}

/// The message of the last call that failed in this thread. It stays in place until another call fails there.
pub(crate) fn last_error() -> *const c_char {
    const NONE: &CStr = c"";
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(NONE.as_ptr())
}

/// Runs the body of a function of the header: no panic leaves it, and a failure is remembered.
pub(crate) fn guarded(body: impl FnOnce() -> Result<(), Failure>) -> lopper_status {
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return lopper_status::LOPPER_OK,
        Ok(Err(failure)) => failure,
        Err(panic) => Failure::new(lopper_status::LOPPER_ERROR_INTERNAL, panicked(&*panic)),
    };
    let text = text(&failure.message);
    // While a thread ends, there is nobody left to ask.
    let _ = LAST.try_with(|last| *last.borrow_mut() = text);
    failure.status
}

/// The message of a panic.
fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown");
    format!("a bug in lopper: {text}")
}

/// `text` for C, where a zero byte would end it.
pub(crate) fn text(text: &str) -> CString {
    let bytes: Vec<u8> = text.bytes().map(|byte| if byte == 0 { b' ' } else { byte }).collect();
    CString::new(bytes).expect("the zeros are gone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_status::{LOPPER_ERROR_ARGUMENT, LOPPER_ERROR_FILE, LOPPER_ERROR_INTERNAL, LOPPER_OK};

    /// The message as text, read from this thread's own place.
    fn message() -> String {
        LAST.with(|last| last.borrow().to_string_lossy().into_owned())
    }

    #[test]
    fn failures_and_panics_become_a_status_and_a_message() {
        assert_eq!(guarded(|| Ok(())), LOPPER_OK);
        assert_eq!(guarded(|| Err(Error::file("x.onnx", "damaged").into())), LOPPER_ERROR_FILE);
        assert_eq!(message(), "x.onnx: damaged");
        assert_eq!(guarded(|| Ok(())), LOPPER_OK);
        assert_eq!(message(), "x.onnx: damaged", "a success leaves the message");
        assert_eq!(guarded(|| Err(Failure::argument("nul\0inside"))), LOPPER_ERROR_ARGUMENT);
        assert_eq!(message(), "nul inside");
        assert_eq!(guarded(|| panic!("plain")), LOPPER_ERROR_INTERNAL);
        assert_eq!(message(), "a bug in lopper: plain");
        assert_eq!(guarded(|| panic!("{}", 7)), LOPPER_ERROR_INTERNAL);
        assert_eq!(message(), "a bug in lopper: 7");
        assert_eq!(guarded(|| std::panic::panic_any(7)), LOPPER_ERROR_INTERNAL);
        assert_eq!(message(), "a bug in lopper: unknown");
    }

    #[test]
    fn each_thread_has_its_own_message() {
        let _ = guarded(|| Err(Failure::argument("here")));
        std::thread::spawn(|| {
            assert_eq!(message(), "");
            let _ = guarded(|| Err(Failure::argument("there")));
        })
        .join()
        .unwrap();
        assert_eq!(message(), "here");
    }
}
