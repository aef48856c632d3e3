//! The memory of a linear layer, computed from its shape and its pattern before anything is packed.

use super::choice::{LinearChoice, LinearLayout};
use super::{bits, lists};
use crate::cpu::Cpu;
use crate::cpu::conv2d::Footprint;
use crate::dtype::Dtype;
use crate::pattern::Pattern;
use crate::shapes::Linear;

impl Footprint {
    /// Computes the footprint of a linear layer whose weight, of type `dtype`, has the zeros of `pattern` `[O, 1, I]`.
    pub fn linear(cpu: &Cpu, g: &Linear, pattern: &Pattern, dtype: Dtype) -> Self {
        let layout = LinearChoice::fastest(cpu, g, pattern, dtype).layout;
        if let Some(packing) = layout.over_pixels() {
            return Self::stored(cpu, &g.over_pixels(), pattern, packing, dtype);
        }
        let packed = match layout {
            LinearLayout::Lists => lists::bytes(pattern, dtype),
            _ => bits::bytes(cpu, pattern, dtype),
        };
        Self { packed: packed as u64, ..Self::default() }
    }
}
