//! Singular values of factorized layers, and the error of every rank.

use super::sample::positions;
use lopper_compress::factorize::Spectrum;
use serde::{Deserialize, Serialize};

/// The largest number of singular values that are kept of a layer.
const VALUES: usize = 128;

/// Singular values of a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spectra {
    /// Name of the layer.
    pub layer: String,
    /// Its outputs.
    pub outputs: usize,
    /// Its inputs.
    pub inputs: usize,
    /// The rank that was kept.
    pub rank: usize,
    /// The relative error ‖W − BA‖ / ‖W‖ of that rank.
    pub error: f64,
    /// The singular values, the largest first; a sample of at most 128.
    pub values: Vec<SingularValue>,
}

/// A singular value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SingularValue {
    /// Its number, from 1.
    pub number: usize,
    /// σ.
    pub value: f64,
    /// The relative error if this and all larger ones are kept: the tail behind it.
    pub tail: f64,
}

/// The bounded description of `spectrum`.
pub fn spectra(spectrum: &Spectrum) -> Spectra {
    let squares: Vec<f64> = spectrum.values.iter().map(|value| value * value).collect();
    let total: f64 = squares.iter().sum();
    // From the smallest on, so that small tails keep their digits.
    let mut tails = vec![0.0; squares.len() + 1];
    for i in (0..squares.len()).rev() {
        tails[i] = tails[i + 1] + squares[i];
    }
    let tail = |rank: usize| if total == 0.0 { 0.0 } else { (tails[rank.min(squares.len())] / total).sqrt() };
    let value = |i: usize| SingularValue { number: i + 1, value: spectrum.values[i], tail: tail(i + 1) };
    let &Spectrum { ref layer, outputs, inputs, rank, .. } = spectrum;
    let values = positions(squares.len(), VALUES).into_iter().map(value).collect();
    Spectra { layer: layer.clone(), outputs, inputs, rank, error: tail(rank), values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_what_is_left_out() {
        let values = vec![4.0, 2.0, 2.0, 1.0];
        let spectrum = Spectrum { layer: "fc".into(), outputs: 4, inputs: 9, rank: 2, values };
        let found = spectra(&spectrum);
        assert_eq!(found.error, (5.0_f64 / 25.0).sqrt());
        let tails: Vec<f64> = found.values.iter().map(|value| value.tail).collect();
        assert_eq!(tails, [9.0_f64, 5.0, 1.0, 0.0].map(|square| (square / 25.0).sqrt()));
        let long = Spectrum { values: vec![1.0; 1000], rank: 500, ..spectrum };
        let found = spectra(&long);
        assert_eq!((found.values.len(), found.values[127].number), (VALUES, 1000));
        assert!((found.error - 0.5_f64.sqrt()).abs() < 1e-12);
        let zero = Spectrum { values: vec![0.0; 3], rank: 1, ..long };
        assert_eq!(spectra(&zero).error, 0.0);
    }
}
