//! The caller's pointers as references. A pointer that is NULL or not aligned is an error; whether it points to what the
//! header requires is the caller's word, the bound of each unsafe block here.

use super::status::{Failure, lopper_status};
use std::ffi::{CStr, OsStr, c_char};
use std::path::Path;

/// Returns an error if `pointer`, the argument `what`, is NULL or not aligned.
fn check<T>(pointer: *const T, what: &str) -> Result<(), Failure> {
    let problem = match (pointer.is_null(), pointer.is_aligned()) {
        (true, _) => "NULL",
        (false, false) => "not aligned",
        (false, true) => return Ok(()),
    };
    Err(Failure::new(lopper_status::LOPPER_ERROR_POINTER, format!("{what} is {problem}")))
}

/// The object behind a handle.
///
/// # Safety
/// `handle` is NULL, or a handle from [`hand_out`] that is not given to [`take_back`] before `'a` ends.
pub(crate) unsafe fn object<'a, T>(handle: *const T, what: &str) -> Result<&'a T, Failure> {
    check(handle, what)?;
    // SAFETY: it is not NULL, so by the contract it comes from a box that lives for 'a, of which only shared references
    // are made.
    Ok(unsafe { &*handle })
}

/// The path behind a text.
///
/// # Safety
/// `text` is NULL, or points to bytes that end with a zero, all readable and unchanged during `'a`.
pub(crate) unsafe fn path<'a>(text: *const c_char, what: &str) -> Result<&'a Path, Failure> {
    check(text, what)?;
    // SAFETY: it is not NULL, so by the contract every byte up to the zero is readable and stays as it is.
    let text = unsafe { CStr::from_ptr(text) };
    os_str(text)
        .map(Path::new)
        .ok_or_else(|| Failure::argument(format!("{what}: expected a path in UTF-8, found {text:?}")))
}

#[cfg(unix)]
fn os_str(text: &CStr) -> Option<&OsStr> {
    use std::os::unix::ffi::OsStrExt;
    Some(OsStr::from_bytes(text.to_bytes()))
}

#[cfg(not(unix))]
fn os_str(text: &CStr) -> Option<&OsStr> {
    text.to_str().ok().map(OsStr::new)
}

/// The numbers in a buffer of the caller.
///
/// # Safety
/// `numbers` is NULL, or points to `len` initialized numbers, all readable and unchanged during `'a`.
pub(crate) unsafe fn numbers<'a>(numbers: *const f32, len: usize, what: &str) -> Result<&'a [f32], Failure> {
    check(numbers, what)?;
    if len > isize::MAX as usize / size_of::<f32>() {
        return Err(Failure::argument(format!("{what}: {len} numbers are more than memory can hold")));
    }
    // SAFETY: it is aligned, not NULL and no longer than the largest object, and by the contract its numbers are readable
    // and stay as they are.
    Ok(unsafe { std::slice::from_raw_parts(numbers, len) })
}

/// A place of the caller, which need not be initialized, for one or more values.
pub(crate) struct Place<T> {
    to: *mut T,
    len: usize,
}

impl<T: Copy> Place<T> {
    /// The place of `len` values.
    ///
    /// # Safety
    /// `to` is NULL, or points to `len` values that may be written, as long as the place is used.
    pub unsafe fn new(to: *mut T, len: usize, what: &str) -> Result<Self, Failure> {
        check(to, what)?;
        Ok(Self { to, len })
    }

    /// Writes `value` to a place of one.
    pub fn set(&mut self, value: T) {
        self.copy(&[value]);
    }

    /// Copies `values` to the place, which has their number.
    ///
    /// # Panics
    /// Panics if the place has another length.
    pub fn copy(&mut self, values: &[T]) {
        assert_eq!(values.len(), self.len, "values for the place");
        // SAFETY: the place is aligned, not NULL, and by the contract of `new` may be written for `len` values, as many as
        // these; `values` is memory of lopper, which the caller's place does not overlap.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.to, self.len) }
    }
}

/// Gives `object` to the caller.
pub(crate) fn hand_out<T>(object: T) -> *mut T {
    Box::into_raw(Box::new(object))
}

/// Drops the object behind a handle; nothing happens if it is NULL.
///
/// # Safety
/// `handle` is NULL, or a handle from [`hand_out`] that nobody uses any more, and that is taken back once.
pub(crate) unsafe fn take_back<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: it is not NULL, so by the contract it comes from a box, and nothing else refers to it.
        drop(unsafe { Box::from_raw(handle) });
    }
}
