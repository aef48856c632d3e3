//! Dead channels that a compact convolution reads or computes after all, because leaving them out takes longer.
//!
//! ```text
//!   gather    copies the live inputs of every pixel that is read   ↔  zeros among the weights of one wider product
//!   scatter   moves the live outputs to their columns              ↔  filters of zeros, whose bias is the constant
//! ```
//!
//! With few channels, as in the first layers of a network, the product of all channels takes less time than the copies.
//! A carrier is always gathered: no input holds its ones. A strict device multiplies no zeros in the place of dead
//! channels.

use super::algorithm::{Algorithm, Packing, Weights};
use super::choice::Choice;
use super::estimate::{self, FAR, far};
use super::gather;
use super::scatter;
use crate::cpu::Cpu;
use crate::cpu::device::scratch::Scratch;
use crate::params::CompactIndex;
use crate::pattern::Pattern;
use crate::shapes::Conv2d;

/// The time of gathering a lane of a pixel's vectors, in multiply-accumulates: measured on 17 layers of 1 and 16 images,
/// 3 to 384 channels, with 1/2, 1/4 and 1/10 of them live; and with eight lanes, on eleven layers. With AVX-512, it is 6 on one
/// processor and 18 on another. The longer time counts, because a mask must not make a layer slower.
const GATHERED: [f64; 2] = [18.0, 12.0];

/// A pass of its own takes this many times as long as tasks that gather what they multiply: its result goes to memory and back.
const PASS: f64 = 2.0;

/// The channels of `index` and the dead ones that are cheaper to compute than to leave out.
pub(super) fn widened(cpu: &Cpu, g: &Conv2d, index: &CompactIndex, packing: Packing) -> CompactIndex {
    let mut wide = index.clone();
    if cpu.is_strict() || index.outputs.is_empty() {
        return wide;
    }
    let all = |len: usize| (0..len as u32).collect::<Vec<_>>();
    if !index.carrier {
        let (inner, _) = gather::inner(g, index);
        let outer = Conv2d { c: g.c, ..inner };
        let lanes = estimate::lanes(cpu);
        let [n, h, w, c] = gather::read(&outer).x_shape();
        let pass = if gather::in_tasks(g) { 1.0 } else { PASS };
        let time_each = pass * GATHERED[usize::from(lanes <= 8.0)];
        let copied = time_each * (n * h * w) as f64 * (c as f64 / lanes).ceil() * lanes;
        // The wide image is read from where it is in any case.
        let gathered = copied + FAR[1] * (far(&outer) - far(&inner));
        if time(cpu, &outer, packing) <= time(cpu, &inner, packing) + gathered {
            wide.inputs = all(g.c);
        }
    }
    let (inner, _) = gather::inner(g, &wide);
    let computed = Conv2d { o: g.o, ..inner };
    let mut live = vec![false; g.o];
    index.outputs.iter().for_each(|&output| live[output as usize] = true);
    if !scatter::pays(cpu, &computed, &Pattern::of_filters(&live, computed.filters_shape())) {
        wide.outputs = all(g.o);
    }
    wide
}

/// The estimated time of a dense convolution packed as `packing` allows, in multiply-accumulates.
fn time(cpu: &Cpu, g: &Conv2d, packing: Packing) -> f64 {
    let (algorithm, weights) = match packing {
        Packing::By(algorithm) => (Some(algorithm), Weights::Memory),
        Packing::Fastest(weights) | Packing::InLanes(weights) => (None, weights),
    };
    let choice = Choice::fastest(cpu, g, weights);
    let of_direct = choice.of_direct(algorithm.unwrap_or(choice.algorithm));
    // An algorithm without an estimate does not apply, and is replaced by the direct one.
    of_direct.or(choice.of_direct(Algorithm::Direct)).unwrap_or(1.0) * estimate::direct(cpu, g, weights)
}

/// The weights between the channels of `wide` `[O', KH, KW, C']`, from those between the channels of `index`: zero
/// where a channel is dead.
pub(super) fn weights(g: &Conv2d, index: &CompactIndex, wide: &CompactIndex, w: &[f32]) -> Vec<f32> {
    let width = |index: &CompactIndex| index.inputs.len() + usize::from(index.carrier);
    let (from, to, taps) = (width(index), width(wide), g.kh * g.kw);
    let places = |all: &[u32], some: &[u32]| -> Vec<usize> {
        some.iter().map(|channel| all.binary_search(channel).expect("widening keeps every channel")).collect()
    };
    let (inputs, outputs) = (places(&wide.inputs, &index.inputs), places(&wide.outputs, &index.outputs));
    let mut widened = vec![0.0; wide.outputs.len() * taps * to];
    for (row, &output) in outputs.iter().enumerate() {
        for tap in 0..taps {
            let from = &w[(row * taps + tap) * from..][..from];
            let to = &mut widened[(output * taps + tap) * to..][..to];
            inputs.iter().zip(from).for_each(|(&place, &weight)| to[place] = weight);
            if index.carrier {
                to[wide.inputs.len()] = from[index.inputs.len()];
            }
        }
    }
    widened
}

/// The constants of dead outputs that are computed as filters of zeros.
pub(super) struct Constants {
    /// For each output, its constant if it is dead.
    of: Vec<Option<f32>>,
}

impl Constants {
    /// Creates the constants of the outputs of `wide` that `index` lacks, or returns `None` if it lacks none.
    pub(super) fn new(index: &CompactIndex, wide: &CompactIndex, fill: &[f32]) -> Option<Self> {
        let dead = |output: usize| index.outputs.binary_search(&(output as u32)).is_err();
        let of = || fill.iter().enumerate().map(|(output, &fill)| dead(output).then_some(fill)).collect();
        (wide.outputs.len() > index.outputs.len()).then(|| Self { of: of() })
    }

    /// The bias of every output: `bias` `[O]`, or zero, for the live ones, and the constants of the others.
    pub(super) fn bias<'a>(&self, cpu: &'a Cpu, bias: Option<&[f32]>) -> Scratch<'a> {
        let mut all = cpu.scratch(self.of.len());
        for (output, (all, constant)) in all.iter_mut().zip(&self.of).enumerate() {
            *all = constant.unwrap_or_else(|| bias.map_or(0.0, |bias| bias[output]));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;

    /// Every second channel is live: with few channels all are computed, with many only those.
    #[test]
    fn only_small_layers_are_widened() {
        let Some(cpu) = Cpu::with_isa(Isa::Avx512) else { return };
        for (c, o, all) in [(32, 16, true), (512, 512, false)] {
            let g = Conv2d::square([1, 32, 32, c], o, 1, 1, 0);
            let even = |len: usize| (0..len as u32).step_by(2).collect();
            let index = CompactIndex { inputs: even(c), outputs: even(o), carrier: false };
            let wide = |index: &CompactIndex| widened(&cpu, &g, index, Packing::Fastest(Weights::Cache));
            assert_eq!([wide(&index).inputs.len() == c, wide(&index).outputs.len() == o], [all; 2], "{g:?}");
            let carried = CompactIndex { carrier: true, ..index };
            assert_eq!(wide(&carried).inputs, carried.inputs, "a carrier is gathered");
        }
    }

    #[test]
    fn weights_keep_their_places() {
        let g = Conv2d::square([1, 4, 4, 3], 2, 1, 1, 0);
        let index = CompactIndex { inputs: vec![0, 2], outputs: vec![1], carrier: false };
        let wide = CompactIndex { inputs: vec![0, 1, 2], outputs: vec![0, 1], carrier: false };
        assert_eq!(weights(&g, &index, &wide, &[5.0, 7.0]), [0.0, 0.0, 0.0, 5.0, 0.0, 7.0]);
        let constants = Constants::new(&index, &wide, &[9.0, 0.0]).unwrap();
        let cpu = Cpu::detect();
        assert_eq!(&constants.bias(&cpu, Some(&[1.0, 2.0]))[..], [9.0, 2.0]);
        assert_eq!(&constants.bias(&cpu, None)[..], [9.0, 0.0]);
        assert!(Constants::new(&wide, &wide, &[9.0, 0.0]).is_none());
    }
}
