//! Which channels are tied, constant or dead, and their removal.

mod channel_flow;
mod channels_of_gates;

#[path = "../support/mod.rs"]
mod support;
