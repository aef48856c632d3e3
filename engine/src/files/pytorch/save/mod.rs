//! A state dict as `torch.save` writes it since PyTorch 1.6: a pickle and the numbers of each tensor in a zip archive.

mod pickle;
mod state_dict;
mod zip;

pub(crate) use state_dict::save;
