//! A slice of which threads write disjoint parts.

use std::marker::PhantomData;

/// A slice of which threads write disjoint parts.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Shared<'a, T = f32> {
    data: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: a `Shared` only hands out a pointer; code that writes through it guarantees disjoint parts.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T: Copy> Shared<'a, T> {
    pub(in crate::cpu) fn new(slice: &'a mut [T]) -> Self {
        Self { data: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// The start of the slice. Writes by different threads must not overlap.
    pub(in crate::cpu) fn as_mut_ptr(self) -> *mut T {
        self.data
    }

    /// The length of the slice.
    pub(in crate::cpu) fn len(self) -> usize {
        self.len
    }

    /// The whole slice.
    ///
    /// # Safety
    /// Nothing else accesses the slice while the result is alive.
    pub(in crate::cpu) unsafe fn all(self) -> &'a mut [T] {
        // SAFETY: guaranteed by the caller.
        unsafe { self.range(0, self.len) }
    }

    /// A part of the slice.
    ///
    /// # Safety
    /// Nothing else accesses this range while the result is alive.
    pub(in crate::cpu) unsafe fn range(self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start + len <= self.len);
        // SAFETY: the range lies inside the slice, and the caller guarantees exclusive access.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), len) }
    }
}
