//! Orthogonal filters.

use lopper_engine::{Device, Result, Tape, Tensor};

/// The gradient of `½ ‖W·Wᵀ − I‖²` by W `[O, …]`, a matrix `[O, D]` of filters: `2 (W·Wᵀ − I)·W`. If O > D, whose filters
/// cannot all be orthogonal, of `½ ‖Wᵀ·W − I‖²`: `2 W·(Wᵀ·W − I)`.
///
/// The two products take `4·O·D·min(O, D)` operations, about what a batch of `min(O, D) / pixels` images costs the layer.
/// They are in f32, as the network's own.
pub(super) fn orthogonality(weight: &Tensor, device: &Device) -> Result<Vec<f64>> {
    let outputs = weight.dim(0).max(1);
    let depth = weight.len() / outputs;
    let mut tape = Tape::no_grad(device);
    let rows = tape.constant(weight.reshape(&[outputs, depth])?);
    let columns = tape.constant(rows.value().permute(&[1, 0]));
    // `linear` multiplies by a transposed matrix.
    let slopes = match outputs <= depth {
        true => {
            let mut gram = tape.linear(&rows, &rows, None)?.value().clone();
            subtract_identity(&mut gram)?;
            let gram = tape.constant(gram);
            tape.linear(&gram, &columns, None)?
        }
        false => {
            let mut gram = tape.linear(&columns, &columns, None)?.value().clone();
            subtract_identity(&mut gram)?;
            let gram = tape.constant(gram);
            tape.linear(&rows, &gram, None)?
        }
    };
    let slopes = slopes.value();
    slopes.fetch()?;
    Ok(slopes.data().iter().map(|&slope| 2.0 * f64::from(slope)).collect())
}

fn subtract_identity(gram: &mut Tensor) -> Result<()> {
    gram.fetch()?;
    let n = gram.dim(0);
    gram.data_mut().iter_mut().step_by(n + 1).for_each(|diagonal| *diagonal -= 1.0);
    Ok(())
}
