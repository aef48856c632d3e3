//! A graph as a module of PyTorch: a readable file of Python, and a file of weights beside it.

mod export;
mod forward;
mod names;
mod resizes;
mod source;

pub use export::{Exported, export};
pub use names::weights_of;
