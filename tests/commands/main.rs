//! Single commands from a user's point of view: what they print, write, refuse and keep.

mod atlas;
mod cli;
mod cuda_bench;
mod diff;
mod exports;
mod features;
mod help;
mod hostile_numbers;
mod images;
mod import;
mod import_bodies;
mod json_schema;
mod memory_budget;
mod metrics;
mod numerics;
mod overwriting;
mod pruning_commands;
mod selftest;
mod sparsity_report;
mod steered_training;
mod teachers;
mod transfer_errors;

#[path = "../support/schema.rs"]
mod schema;
#[path = "../support/mod.rs"]
mod support;
