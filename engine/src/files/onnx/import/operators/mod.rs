//! The operators that are understood, by what they do.

mod activations;
mod arithmetic;
mod conv;
mod lists;
mod norm;
mod parts;
mod pools;
mod products;
mod shapes;
mod table;

pub(super) use table::import;
