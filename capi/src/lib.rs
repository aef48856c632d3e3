//! The C interface of lopper, `liblopper`: load a model file, plan its network for a number of images, run it.
//!
//! `ffi` has the functions of the header and is, with `pointers`, the only place outside the kernels with unsafe code: they
//! turn the caller's pointers into references, each with the bound that the header states. All else works on references.

#![deny(unsafe_code)]

#[allow(unsafe_code, reason = "the functions of the header take pointers")]
mod ffi;
mod handles;
#[allow(unsafe_code, reason = "turns the caller's pointers into references")]
mod pointers;
mod status;

pub use handles::{lopper_info, lopper_model, lopper_plan};
pub use status::lopper_status;
