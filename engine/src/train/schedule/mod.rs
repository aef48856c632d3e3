//! Schedules of the learning rate.

mod curve;
mod rates;
mod schedule;
mod table;

pub use curve::Interpolation;
pub use rates::Rates;
pub use schedule::Schedule;
