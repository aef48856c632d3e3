//! The machine at hand: how long its kernels take, measured once and kept.
//!
//! ```text
//!   layers ─ plan, time ─► table: nanoseconds a unit, by class and size ─► clock: estimate of any operation
//!                            │  ▲
//!                            ▼  │ the next time
//!                          a file in the cache folder, by CPU, instruction set and threads
//! ```
//!
//! Every estimate of milliseconds comes from here. [`MachineClock`] knows kernels; [`NetworkClock`] also knows what the steps
//! of one network took, for the many networks that are cut from it.
//!
//! A plan chooses its kernels by estimates that know no machine, so that its bits are the same on every one. A promise of
//! milliseconds has to know it.

mod clock;
mod layers;
mod network;
mod store;
mod table;

pub use clock::MachineClock;
pub use layers::{Layer, fitted, held_out};
pub use network::NetworkClock;
pub use table::Table;
