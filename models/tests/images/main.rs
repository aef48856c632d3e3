//! Images: random steps by their properties, and torchvision's pixels.

mod steps;
mod torchvision;
