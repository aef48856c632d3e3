//! Results of live filters go to their places in an output of full width; dead filters get a constant.

use super::Epilogue;
use crate::cpu::Cpu;
use crate::cpu::panels::Panel;
use crate::cpu::scratch::Shared;
use crate::cpu::simd::{Kernel, Simd};
use crate::cpu::tile::{MAX_NR, activate};
use crate::params::Activation;
use rayon::prelude::*;

/// Where the columns of a product belong in rows of `width` floats.
pub(super) struct Scatter {
    /// Output column of each computed column, ascending.
    outputs: Vec<u32>,
    /// `[width]`: the value of columns that are not computed.
    fill: Option<Vec<f32>>,
    width: usize,
}

impl Scatter {
    /// `outputs` ascending and below `width`; columns outside get `fill` or, without one, the bias or zero.
    pub(super) fn new(outputs: Vec<u32>, fill: Option<Vec<f32>>, width: usize) -> Self {
        assert!(outputs.is_sorted_by(|a, b| a < b), "live outputs are listed in ascending order");
        assert!(outputs.last().is_none_or(|&o| (o as usize) < width), "live outputs lie inside the width");
        assert!(fill.as_ref().is_none_or(|fill| fill.len() == width), "the fill has one value an output");
        Self { outputs, fill, width }
    }

    /// Writes the output columns that belong to `panel`: from its first live column (from 0 for the first panel)
    /// up to the first of the next panel, whose first computed column is `next` (to the end for the last).
    /// `computed` holds rows of `MAX_NR` floats, one for each pixel offset in `pixels`.
    pub(super) fn expand(
        &self,
        cpu: &Cpu,
        panel: &Panel,
        next: Option<usize>,
        pixels: &[usize],
        computed: &[f32],
        epilogue: &Epilogue,
        y: Shared,
    ) {
        let live = &self.outputs[panel.start..panel.start + panel.width];
        let start = if panel.start == 0 { 0 } else { live[0] as usize };
        let end = next.map_or(self.width, |column| self.outputs[column] as usize);
        let constant = self.fill.as_deref().or(epilogue.bias).map(|values| &values[start..end]);
        for (&pixel, row) in pixels.iter().zip(computed.chunks_exact(MAX_NR)) {
            // SAFETY: this task alone computes these columns of this pixel.
            let out = unsafe { y.range(pixel + start, end - start) };
            match constant {
                Some(values) => out.copy_from_slice(values),
                None => out.fill(0.0),
            }
            for (&column, &value) in live.iter().zip(row) {
                let bias = epilogue.bias.map_or(0.0, |bias| bias[column as usize]);
                out[column as usize - start] = value + bias;
            }
            let residual = epilogue.residual.map(|residual| &residual[pixel + start..pixel + end]);
            if residual.is_some() || epilogue.activation != Activation::None {
                cpu.dispatch(Finish { residual, activation: epilogue.activation, out });
            }
        }
    }

    /// The output where no filter is live.
    pub(super) fn fill_all(&self, cpu: &Cpu, epilogue: &Epilogue, y: Shared) {
        // SAFETY: the caller computes nothing else, and rows are divided among the threads below.
        let y = unsafe { y.all() };
        let constant = self.fill.as_deref().or(epilogue.bias);
        cpu.run(|| {
            y.par_chunks_mut(self.width).enumerate().for_each(|(row, out)| {
                match constant {
                    Some(values) => out.copy_from_slice(values),
                    None => out.fill(0.0),
                }
                let residual = epilogue.residual.map(|r| &r[row * self.width..][..self.width]);
                cpu.dispatch(Finish { residual, activation: epilogue.activation, out });
            });
        });
    }
}

/// `out = activation(out + residual)`.
struct Finish<'a> {
    residual: Option<&'a [f32]>,
    activation: Activation,
    out: &'a mut [f32],
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (i, out) in self.out.chunks_mut(S::LANES).enumerate() {
            let mut v = s.get(out);
            if let Some(residual) = self.residual {
                v = s.add(v, s.get(&residual[i * S::LANES..]));
            }
            s.put(out, activate(s, self.activation, v));
        }
    }
}
