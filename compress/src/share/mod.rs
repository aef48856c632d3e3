//! Weight sharing: the weights of a layer take few different values (Han et al. 2016, "Deep compression: compressing deep
//! neural networks with pruning, trained quantization and Huffman coding", section 3).
//!
//! ```text
//!   before   w [O, KH, KW, C] of 32 bits each
//!   after    w = values[code],   2^bits values and a code of at most bits bits for each weight
//! ```
//!
//! The values are the means of clusters, found by k-means: they minimize `‖w − values[code]‖²` among those that a step of the
//! algorithm reaches. Masked weights stay zero and belong to no cluster. Nothing runs faster: the file gets smaller, because
//! it holds codes by Huffman's algorithm where weights share values, and reads back to the same bits.
//!
//! While a network trains, [`Sharer`] keeps the clusters: after each step, the weights of a cluster take their mean.

mod clusters;
mod config;
mod rewrite;
mod sharer;
mod technique;

pub use config::ShareConfig;
pub use rewrite::share;
pub use sharer::Sharer;
