//! The memory of a linear layer, computed from its shape and its pattern before anything is packed.

use super::choice::{LinearChoice, LinearLayout};
use super::{bits, lists};
use crate::cpu::Cpu;
use crate::cpu::conv2d::{Algorithm, Footprint, Packing};
use crate::dtype::Dtype;
use crate::pattern::Pattern;
use crate::shapes::Linear;

impl Footprint {
    /// Computes the footprint of a linear layer whose weight, of type `dtype`, has the zeros of `pattern` `[O, 1, I]`.
    pub fn linear(cpu: &Cpu, g: &Linear, pattern: &Pattern, dtype: Dtype) -> Self {
        let packed = match LinearChoice::fastest(cpu, g, pattern, dtype).layout {
            LinearLayout::Panels => {
                return Self::stored(cpu, &g.over_pixels(), pattern, Packing::By(Algorithm::Direct), dtype);
            }
            LinearLayout::Bits => bits::bytes(cpu, pattern, dtype),
            LinearLayout::Lists => lists::bytes(pattern, dtype),
        };
        Self { packed: packed as u64, ..Self::default() }
    }
}
