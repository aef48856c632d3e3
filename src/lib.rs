//! lopper makes convolutional networks smaller and faster, and shows exactly what each cut buys.

pub use {compress, engine, kernels, models};
