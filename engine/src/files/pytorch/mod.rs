//! PyTorch's files (`.pth`, `.pt`, `.bin`), read without Python and without running anything that they hold, and written.
//!
//! ```text
//!   bytes ─ container ─► pickle ─ machine ─► values ─ state dict ─► name → storage, offset, shape, strides ─► f32
//!           zip, or the format before 1.6
//! ```
//!
//! A pickle is a program for a stack machine that can call any function of Python. This machine knows the few calls that
//! describe tensors and refuses every other one by its name.

mod archive;
mod file;
mod globals;
mod legacy;
mod machine;
mod objects;
mod save;
mod state_dict;
mod value;
mod view;

pub(crate) use file::PyTorchFile;
pub(crate) use save::save;
