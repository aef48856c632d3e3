//! The sections of a report, a file each.

mod changes;
mod confusion;
mod constants;
mod filters;
mod findings;
mod latency;
mod opening;
mod origin;
mod pruned;
mod published;
mod recipe;
mod result;
mod seeds;
mod sparsity;
mod spectra;
mod training;
mod worst;

pub use changes::changes;
pub use confusion::confusion;
pub use constants::constants;
pub use filters::filters;
pub use findings::findings;
pub use latency::latency;
pub use opening::opening;
pub use origin::origin;
pub use pruned::pruned;
pub use published::published;
pub use recipe::recipe;
pub use result::result;
pub use seeds::seeds;
pub use sparsity::sparsity;
pub use spectra::spectra;
pub use training::training;
pub use worst::worst;
