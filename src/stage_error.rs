//! Errors of a stage.

use crate::recipe::Stage;
use lopper_engine::Error;

/// Adds the name of `stage` to `error`, except to [`Error::Stopped`], which does not concern the stage.
pub fn in_stage(stage: &Stage, error: Error) -> Error {
    match error {
        Error::Stopped => error,
        other => Error::invalid(format!("stage `{}`: {other}", stage.name)),
    }
}
