//! Factorization: a linear layer becomes two, by singular value decomposition (Denton et al. 2014; Xue et al. 2013).
//!
//! ```text
//!   before   fc   [OUT, IN], bias                         y = W x + b
//!   after    fc.0 [RANK, IN]  ─ fc.1 [OUT, RANK], bias    y = B (A x) + b,    B·A the best approximation of W of that rank
//! ```
//!
//! `‖W − BA‖ / ‖W‖ = √(Σ_{i > rank} σ_i² / Σ σ_i²)`: the error is the tail of the singular values, and zero at full
//! rank. Two layers are smaller than one if `rank · (IN + OUT) < IN · OUT`. Otherwise the layer is skipped unless
//! forced.

mod config;
mod rewrite;
mod spectrum;
mod svd;
mod technique;

pub use config::{FactorizeConfig, factor_params};
pub use rewrite::factorize;
pub use spectrum::Spectrum;
