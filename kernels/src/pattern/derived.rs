//! Values that follow from the value that has them.

use std::sync::OnceLock;

/// A value that is derived when it is first needed. It follows from the value that has it, so it does not matter when
/// two of those are compared.
#[derive(Debug, Clone)]
pub(super) struct Derived<T>(OnceLock<Box<T>>);

impl<T> Derived<T> {
    pub fn get_or_init(&self, derive: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(|| Box::new(derive()))
    }
}

impl<T> Default for Derived<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> PartialEq for Derived<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Derived<T> {}
