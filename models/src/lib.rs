//! Networks as graphs, and the data sets they train on.

pub mod data;
