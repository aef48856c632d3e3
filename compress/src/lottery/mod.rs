//! Lottery tickets: a trained network says which weights matter, and these train again from where they started (Frankle &
//! Carbin 2019, "The lottery ticket hypothesis: finding sparse, trainable neural networks").
//!
//! ```text
//!   w₀ ── train ──► w_T          before   w_T, mask m
//!    └───────────────┐           after    m′ ⊙ w_k,  m′ = m without the lowest fraction of what it keeps, scored at w_T
//!   w_k ◄─ rewind ───┘
//! ```
//!
//! `fraction` of the groups that are left is masked at once, and every parameter and statistic returns to its value in the
//! network `rewind`: an untrained one (k = 0), or one that a training gave after a few of its steps (Frankle et al. 2020,
//! "Linear mode connectivity and the lottery ticket hypothesis": late rewinding). After n rounds `1 − (1 − fraction)ⁿ` of
//! the groups are masked: iterative magnitude pruning.
//!
//! ```toml
//! [[stage]]                       # w₀, or w_k with train = { …, stop_after = 2 }
//! name = "start"
//! arch = "resnet20"
//! [[stage]]
//! name = "dense"
//! train = { epochs = 100, learning_rate = 0.1 }
//! [[stage]]                       # tickets 1 to 5; without `train`, the file of the stage is the ticket itself
//! name = "ticket"
//! repeat = 5
//! lottery = { fraction = 0.2, rewind = "start" }
//! train = { epochs = 100, learning_rate = 0.1 }
//! ```
//!
//! Conditions: both networks have the same layers and widths.

mod config;
mod rewrite;
mod technique;

pub use config::{LotteryConfig, Start};
pub use rewrite::{rewind, ticket};
