//! The weights and running statistics of a network, as the state of a callback.

use super::State;
use crate::{Error, Graph, Result, Tensor, memory};

/// The bytes that a copy of the parameters and running statistics of `graph` takes.
pub(super) fn bytes(graph: &Graph) -> u64 {
    let params: usize = graph.params().map(|(_, param)| param.value().len()).sum();
    let buffers: usize = graph.buffers().map(|(_, buffer)| buffer.len()).sum();
    memory::bytes_of::<f32>([params + buffers])
}

/// Adds the parameters and running statistics of `graph` to `state`, where they are exact.
pub(super) fn save(graph: &Graph, state: &mut State) {
    let values = |tensor: &Tensor| tensor.data().iter().map(|&value| f64::from(value)).collect();
    state.arrays.extend(graph.params().map(|(path, param)| (path, values(param.value()))));
    state.arrays.extend(graph.buffers().map(|(path, buffer)| (path, values(buffer))));
}

/// Takes the parameters and running statistics of a network with the layers of `like` out of `state`.
///
/// # Errors
/// [`Error::Invalid`], with its path, if one is missing or has another size.
pub(super) fn load(like: &Graph, state: &mut State) -> Result<Graph> {
    let mut take = |path: &str, old: &Tensor| -> Result<Tensor> {
        let values = state.arrays.remove(path).filter(|values| values.len() == old.len());
        let values = values.ok_or_else(|| {
            Error::invalid(format!(
                "checkpoint: expected {} values of {path} in a callback's state",
                old.len()
            ))
        })?;
        Ok(Tensor::from_fn(old.shape(), |i| values[i] as f32))
    };
    let mut graph = like.clone();
    for (path, param) in graph.params_mut() {
        let value = take(&path, param.value())?;
        // Without the mask: it may have changed since.
        param.replace(value, None)?;
    }
    for (path, buffer) in graph.buffers_mut() {
        *buffer = take(&path, buffer)?;
    }
    Ok(graph)
}

/// Gives `to` the parameters and running statistics of `from`, which has the same layers. `to` keeps its masks.
pub(super) fn copy(from: &Graph, to: &mut Graph) -> Result<()> {
    for ((_, to), (_, from)) in to.params_mut().zip(from.params()) {
        to.set_value(from.value().clone())?;
    }
    to.buffers_mut().zip(from.buffers()).for_each(|((_, to), (_, from))| *to = from.clone());
    Ok(())
}
