//! Refused geometries.

/// An invalid geometry, with a message the user can act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(pub String);

pub(super) fn refuse<T>(message: String) -> Result<T, ShapeError> {
    Err(ShapeError(message))
}
