//! Restricting a classifier to some of its classes.

use lopper_engine::{Error, Graph, Layer, Result};

/// Keeps only the `outputs` of the last layer, in this order, and the names of their classes: a network of a thousand
/// classes then tells these apart. The others do not compete, so this is not the accuracy among all classes.
///
/// # Errors
/// If the last layer is not a linear layer, or `outputs` is empty, repeats an output or names one that does not exist.
/// `graph` is then unchanged.
pub fn keep_outputs(graph: &mut Graph, outputs: &[usize]) -> Result<()> {
    let id = graph.output();
    let name = graph.nodes()[id].name.clone();
    let Layer::Linear(linear) = &graph.nodes()[id].layer else {
        return Err(Error::invalid("the last layer is not a linear layer").in_node(&name));
    };
    let count = linear.out_features();
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
