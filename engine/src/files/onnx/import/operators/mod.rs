//! The operators that are understood, by what they do.

mod activations;
mod arithmetic;
mod clamps;
mod conv;
mod folding;
mod gathers;
mod group_norm;
mod lists;
mod norm;
mod parts;
mod pools;
mod products;
mod quantized;
mod resizes;
mod shapes;
mod softmax;
mod table;
mod terms;

pub(super) use table::import;
