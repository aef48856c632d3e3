//! Trainings and recipes: their stages and reports, what a kill leaves, and how they go on.

mod controls;
mod history;
mod killed_exports;
mod nothing_is_lost;
mod recipes;
mod replay;
mod report_again;
mod resume;
mod sensitivity;
mod shrinking_runs;
mod synthesize;
mod training_methods;
mod transfer;

#[path = "../support/mod.rs"]
mod support;
