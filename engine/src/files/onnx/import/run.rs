//! Imports the nodes of a graph one after the other.

use super::importer::Importer;
use super::model::{OnnxGraph, OnnxNode};
use super::operators;
use super::tensor::MOST_RANK;
use super::value::Value;

/// Imports every node of `graph`, and returns what is not understood.
pub(super) fn run<'a>(importer: &mut Importer<'_, 'a>, graph: &OnnxGraph<'a>) -> Vec<String> {
    let mut problems = Vec::new();
    for node in &graph.nodes {
        let values = match values_of(importer, node) {
            Ok(values) => values,
            Err(reason) => {
                problems.push(format!("node `{}` ({}) {reason}", node.label(), node.op));
                Vec::new()
            }
        };
        for (i, &output) in node.outputs.iter().enumerate().filter(|(_, output)| !output.is_empty()) {
            let value = values.get(i).cloned().unwrap_or(Value::Unknown);
            if !importer.define(output, value) {
                problems.push(format!("node `{}` makes `{output}`, which exists already", node.label()));
            }
        }
    }
    problems
}

/// The outputs of `node` that are understood, or the reason why it is not.
fn values_of<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Vec<Value>, String> {
    if !node.domain.is_empty() && node.domain != "ai.onnx" {
        return Err(format!("belongs to the operators of `{}`, which are not read", node.domain));
    }
    for name in node.inputs.iter().filter(|name| !name.is_empty()) {
        match importer.known(name) {
            // Its own maker is in the list.
            Some(Value::Unknown) => return Ok(Vec::new()),
            None if !importer.is_constant(name) => {
                return Err(format!("reads `{name}`, which no earlier node makes"));
            }
            _ => {}
        }
    }
    let values = operators::import(importer, node)?;
    for value in &values {
        if let Value::Computed(view) = value {
            view.bounded().map_err(|e| format!("makes {e}"))?;
        }
        if let Value::Constant(array) = value
            && array.dims().len() > MOST_RANK
        {
            return Err(format!(
                "makes a constant of {} axes, expected at most {MOST_RANK}",
                array.dims().len()
            ));
        }
    }
    Ok(values)
}
