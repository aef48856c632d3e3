//! The margins of a teacher's channels, from the statistics of batch norms.

use super::losses::margin;
use lopper_engine::layer::BatchNorm;
use lopper_engine::{Graph, Layer, NodeId};

/// The margin of each channel of node `id`: what its values are on average where they are negative. None if no batch norm
/// makes them.
///
/// A batch norm makes values of mean β and deviation |γ|. A sum adds the means and the variances of the batch norms among
/// its inputs. An identity shortcut is left out, as in the authors' code: its values have passed an activation, and their
/// statistics are not known.
pub(super) fn margins(graph: &Graph, id: NodeId) -> Option<Vec<f64>> {
    let node = &graph.nodes()[id];
    let norms: Vec<&BatchNorm> = match &node.layer {
        Layer::BatchNorm(norm) => vec![norm],
        Layer::Add => node.inputs.iter().filter_map(|&input| norm(graph, input)).collect(),
        _ => Vec::new(),
    };
    let channels = norms.first()?.channels();
    let sum = |f: &dyn Fn(&BatchNorm) -> f64| norms.iter().map(|norm| f(norm)).sum::<f64>();
    let margin_of = |c: usize| {
        let mean = sum(&|norm| norm.bias.value().data()[c].into());
        let variance = sum(&|norm| f64::from(norm.weight.value().data()[c]).powi(2));
        margin(mean, variance.sqrt())
    };
    Some((0..channels).map(margin_of).collect())
}

/// The batch norm at node `id`, if it is one.
fn norm(graph: &Graph, id: NodeId) -> Option<&BatchNorm> {
    match &graph.nodes()[id].layer {
        Layer::BatchNorm(norm) => Some(norm),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_engine::layer::Activation;
    use lopper_engine::{Param, Tensor};

    fn normalized(beta: [f32; 2], gamma: [f32; 2]) -> Layer {
        let of = |values: [f32; 2]| Param::new(Tensor::from_slice(&[2], &values).unwrap());
        Layer::BatchNorm(BatchNorm { weight: of(gamma), bias: of(beta), ..BatchNorm::new(2) })
    }

    /// A projection and a shortcut: means add up, and so do variances (3² + 4² = 5²).
    #[test]
    fn a_sum_has_the_margins_of_the_sum_of_normal_values() {
        let mut graph = Graph::new(2);
        let a = graph.push("a", normalized([1.0, -1.0], [3.0, -0.5]), &[0]).unwrap();
        let b = graph.push("b", normalized([-2.0, 0.0], [4.0, 0.0]), &[0]).unwrap();
        let both = graph.push("both", Layer::Add, &[a, b]).unwrap();
        let relu = graph.push("relu", Layer::Activation(Activation::Relu), &[both]).unwrap();
        let shortcut = graph.push("shortcut", Layer::Add, &[relu, b]).unwrap();
        let pictures = graph.push("pictures", Layer::Add, &[relu, 0]).unwrap();
        let expected = vec![margin(-1.0, 5.0), margin(-1.0, 0.5)];
        assert_eq!(margins(&graph, both), Some(expected));
        assert_eq!(margins(&graph, a), Some(vec![margin(1.0, 3.0), margin(-1.0, 0.5)]));
        assert_eq!(margins(&graph, shortcut), margins(&graph, b));
        assert_eq!((margins(&graph, relu), margins(&graph, pictures)), (None, None));
    }
}
