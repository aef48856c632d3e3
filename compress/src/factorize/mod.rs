//! Factorization: a layer becomes several smaller ones, whose product is close to it.
//!
//! ```text
//!   before   fc   [OUT, IN], bias                         y = W x + b
//!   after    fc.0 [RANK, IN]  ─ fc.1 [OUT, RANK], bias    y = B (A x) + b,    B·A the best approximation of W of that rank
//! ```
//!
//! A convolution is split as a matrix in one of two views, or as a tensor ([`ConvSplit`]; `split.rs` draws the layers):
//!
//! | `conv` | source | factors |
//! | --- | --- | --- |
//! | `spatial` | Jaderberg et al. 2014 | KH×1, 1×KW |
//! | `channel` | Zhang et al. 2015; Denton et al. 2014 | KH×KW, 1×1 |
//! | `tucker` | Kim et al. 2016 | 1×1, KH×KW, 1×1 |
//! | `cp` | Lebedev et al. 2015 | 1×1, depthwise KH×1, depthwise 1×KW, 1×1 |
//!
//! `‖W − BA‖ / ‖W‖ = √(Σ_{i > rank} σ_i² / Σ σ_i²)` (Eckart & Young 1936): the error of a matrix is the tail of the
//! singular values, and zero at full rank. A layer whose factors would have more weights, take more multiply-accumulates,
//! or more time by the plan's estimate is skipped unless forced. A batch norm behind the layer stays behind the last
//! factor, and its scales weigh the error, so that the network may be folded before or afterwards.

mod budget;
mod config;
mod cost;
mod cp;
mod evidence;
mod latency;
mod layers;
mod rewrite;
mod rule;
mod scales;
mod spectrum;
mod split;
mod svd;
mod technique;
#[cfg(test)]
mod tests;
mod tucker;
mod vbmf;
mod way;
mod whitening;

pub use config::{ConvSplit, FactorizeConfig, Metric, factor_params};
pub use rewrite::{factorize, factorize_by};
pub use spectrum::Spectrum;
