//! Folding: a batch norm with running statistics computes `s·x + t` for each channel, where s = γ/√(σ² + ε) and
//! t = β − s·μ, so it can be merged into adjacent weights (Jacob et al. 2018, section 3.2).
//!
//! ```text
//!   before   conv (w, b) ─ bn ─ …               after   conv (s·w, s·b + t) ─ …                    backward
//!   before   bn ─ conv (w, b) ─ …               after   conv (w·s, b + Σ w·t) ─ …                  forward
//!
//!   before   conv a ─┬─ concat ─ bn             after   conv a (s₁, t₁) ─┬─ concat                 a slice for each
//!            conv b ─┘                                  conv b (s₂, t₂) ─┘
//!   before   conv a ─┬─ add ─ bn                after   conv a (s, t) ─┬─ add                      the scale for both,
//!            conv b ─┘                                  conv b (s, 0) ─┘                           the shift for one
//! ```
//!
//! Backward, filter o becomes `w'[o] = s[o]·w[o]`, `b'[o] = s[o]·b[o] + t[o]`. This is exact for linear layers and for
//! convolutions with any number of groups, if nothing else reads what lies in between: dropout, pools of means that read no
//! padding, pools of maxima if no s is negative, concatenations and sums. Forward, which works through dropout, flattening,
//! the same pools and concatenations, `w'[o, ·, c] = w[o, ·, c]·s[c]`, `b'[o] = b[o] + Σ_c t[c] Σ_taps w[o, ·, c]`. This is
//! exact if every layer that reads the batch norm absorbs it, and if no padding, which is 0 and not t, meets a channel with
//! t ≠ 0.
//!
//! Everything is computed in f64 and rounded once; results that are subnormal become zero, because many processors take a
//! hundred times longer to multiply them. A masked filter stays zero, but gets a bias.

mod destination;
mod folding;
mod technique;
#[cfg(test)]
mod tests;
mod weights;

pub use folding::fold;
pub use technique::FoldConfig;
