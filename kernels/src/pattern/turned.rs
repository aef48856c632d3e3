//! The pattern of the gradient of the input.
//!
//! `dx` of a convolution of stride 1 is a convolution of `dy` with the same weights, turned around:
//!
//! ```text
//!   w  [O, taps, C]     filter o reads channel c by tap k
//!   w' [C, taps, O]     filter c reads channel o by tap taps − 1 − k
//! ```

use super::bits::Bits;
use super::pattern::{Pattern, Structure};

impl Pattern {
    /// The pattern `[C, taps, O]` of the weight, turned around, with which a convolution of `dy` with stride 1 and one
    /// group gives the gradient of the input. It is derived once.
    pub fn turned(&self) -> &Self {
        self.turned.get_or_init(|| self.turn())
    }

    fn turn(&self) -> Self {
        let [o, taps, c] = self.shape();
        let dense = Self::dense([c, taps, o]);
        let (structure, live) = match self.structure() {
            Structure::Dense => (Structure::Dense, Bits::default()),
            _ => (Structure::Weights, self.turn_bits()),
        };
        let (filters, inputs) = (self.inputs().to_vec(), self.filters().to_vec());
        Self { filters, inputs, structure, live, nonzeros: self.nonzeros(), ..dense }
    }

    fn turn_bits(&self) -> Bits {
        let [o, taps, c] = self.shape();
        let mut live = Bits::zeros(o * taps * c);
        for filter in 0..o {
            for (tap, first) in (0..taps).flat_map(|tap| (0..c).step_by(32).map(move |first| (tap, first))) {
                let mut bits = self.live_bits(filter, tap * c + first, 32.min(c - first));
                while bits != 0 {
                    let channel = first + bits.trailing_zeros() as usize;
                    live.set((channel * taps + taps - 1 - tap) * o + filter);
                    bits &= bits - 1;
                }
            }
        }
        live
    }
}
