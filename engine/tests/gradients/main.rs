//! The tape and its gradients.

mod class_weights;
mod masked_gradients;
mod tape;
mod tape_gradients;

#[path = "../support/mod.rs"]
mod support;
