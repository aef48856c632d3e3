//! The atlas of sparsity: what each way of being sparse costs, against the best dense kernel, layer by layer.
//!
//! ```text
//!   layers × batch × threads × sparsity          a cell: all its ways are checked, then timed in turn
//!        │
//!        ▼
//!   problem (patterns) ─► computation (cpu, cuda) ─► check ─► timing ─► record: one row a way
//!                                                                         │
//!                                       crossovers ◄──────────────────────┼──► page (HTML)
//! ```
//!
//! `lopper atlas` and `cargo bench --bench atlas` run a [`Sweep`]. Its [`Row`]s are a result file; [`crossovers`] and
//! [`page`] are made from rows and measure nothing.

mod check;
mod computation;
mod cpu;
mod crossover;
mod cuda;
mod layer;
mod machine;
mod page;
mod pattern;
mod problem;
mod random;
mod record;
mod sweep;
mod table;
mod timing;
mod way;

pub use check::{Element, compare};
pub use crossover::{Crossing, Crossover, crossovers};
pub use layer::{Layer, Operation, of_graph};
pub use machine::cpu_model;
pub use page::page;
pub use pattern::Kind;
pub use record::{Recorded, Row, read, round, write};
pub use sweep::{Limits, Progress, Sweep};
pub use table::{LEGEND, Table, markdown};
pub use way::{Packed, Way};
