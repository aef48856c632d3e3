//! Networks in memory: rewrites keep the function they claim to keep, on random networks and on published ones.

mod efficientnet_lite0;
mod equivalence;
mod every_architecture;
mod gradients;
mod granularities;
mod live_plans;
mod old_formats;
mod plans_by_hand;
mod pruning;
mod pruning_targets;
mod pytorch_fixtures;
mod random_graphs;
mod resnet20;
mod shrinking;
mod targets;
mod techniques;
mod transposed_convolutions;

#[path = "../support/mod.rs"]
mod support;
