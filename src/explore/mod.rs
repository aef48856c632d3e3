//! Exploring what accuracy is left at what latency: many ways to make a network smaller, tried one after another.
//!
//! ```text
//!   candidates ─► stage: rewrite, train, measure ─► explore.json ─► front.csv, front.svg
//!                   │ the next, while there is time      ▲
//!                   └─► networks/, plans/                └─ a later run continues from it
//! ```

mod candidate;
mod front;
mod state;

pub use candidate::{By, Candidate, candidates};
pub use front::{on_front, table};
pub use state::{State, Tried};
