//! Self-test of a GPU: every kernel against the CPU, whole networks, the demo, and timings.
//!
//! ```text
//!   supervisor ──starts──▶ a process for each part ──▶ lines, one after another ──▶ report
//! ```
//!
//! A kernel that never ends or that breaks the device's context takes down only its own process: the supervisor ends
//! that process, records the failure in the report, and goes on with the next part.

mod case;
mod checks;
mod grades;
mod line;
mod networks;
mod parts;
mod report;
mod rig;
mod supervisor;
mod timings;
mod walkthrough;

pub use parts::{PARTS, Part};
pub use report::{SelftestReport, driver_version};
pub use rig::Rig;
pub use supervisor::{Supervisor, serve};
