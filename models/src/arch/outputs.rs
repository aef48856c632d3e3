//! Restricting a classifier to some of its classes.

use super::new_head::last_layers;
use lopper_engine::{Error, Graph, Layer, Result};

/// Keeps only the `outputs` of the last layer, in this order, and the names of their classes: a network of a thousand
/// classes then tells these apart. The others do not compete, so this is not the accuracy among all classes.
///
/// # Errors
/// If no single linear layer or convolution makes the classes, or `outputs` is empty, repeats an output or names one
/// that does not exist. `graph` is then unchanged.
pub fn keep_outputs(graph: &mut Graph, outputs: &[usize]) -> Result<()> {
    let last = last_layers(graph)?;
    let id = last[0];
    let name = graph.nodes()[id].name.clone();
    let count = match &graph.nodes()[id].layer {
        Layer::Linear(linear) if last.len() == 1 => linear.out_features(),
        Layer::Conv2d(conv) if last.len() == 1 && conv.groups == 1 => conv.out_channels(),
        _ => {
            let problem =
                "expected a linear layer or a convolution in one group, without a batch norm behind it";
            return Err(Error::invalid(problem).in_node(&name));
        }
    };
    let mut sorted = outputs.to_vec();
    sorted.sort_unstable();
    let problem = match sorted[..] {
        [] => Some("expected at least one output to keep".to_string()),
        [.., last] if last >= count => {
            Some(format!("output {last} does not exist: there are {count}, from 0 on"))
        }
        _ => sorted
            .windows(2)
            .find(|pair| pair[0] == pair[1])
            .map(|pair| format!("output {} is kept twice", pair[0])),
    };
    if let Some(problem) = problem {
        return Err(Error::invalid(problem).in_node(&name));
    }
    for (_, param) in graph.layer_mut(id).params_mut() {
        let mask = param.mask().map(|mask| mask.select(0, outputs));
        let value = param.value().select(0, outputs);
        param.replace(value, mask)?;
    }
    for names in [&mut graph.info.classes, &mut graph.info.folders] {
        if names.len() == count {
            *names = outputs.iter().map(|&output| names[output].clone()).collect();
        }
    }
    Ok(())
}
