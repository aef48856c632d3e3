//! Activations as ONNX's nodes.

use super::document::{Document, Value};
use crate::graph::layer::Activation;

/// Writes `activation` of the value `x` as the value `name`.
pub(super) fn write(document: &mut Document, activation: Activation, opset: u32, [x, name]: [&str; 2]) {
    let sixth = Value::Float(1.0 / 6.0);
    match activation {
        Activation::None => document.node("Identity", &[x], name, &[]),
        Activation::Relu => document.node("Relu", &[x], name, &[]),
        Activation::Relu6 => clip(document, [0.0, 6.0], x, name),
        Activation::Clamp { low, high } => clip(document, [low, high], x, name),
        Activation::Sigmoid => document.node("Sigmoid", &[x], name, &[]),
        Activation::Silu => {
            let gate = document.step("Sigmoid", &[x], &format!("{name}.sigmoid"), &[]);
            document.node("Mul", &[x, &gate], name, &[]);
        }
        Activation::HardSigmoid => document.node("HardSigmoid", &[x], name, &[("alpha", sixth)]),
        Activation::HardSwish if opset >= 14 => document.node("HardSwish", &[x], name, &[]),
        Activation::HardSwish => {
            let gate = document.step("HardSigmoid", &[x], &format!("{name}.gate"), &[("alpha", sixth)]);
            document.node("Mul", &[x, &gate], name, &[]);
        }
        Activation::Tanh => document.node("Tanh", &[x], name, &[]),
        Activation::Elu { alpha } => document.node("Elu", &[x], name, &[("alpha", Value::Float(alpha))]),
        Activation::LeakyRelu { slope } => {
            document.node("LeakyRelu", &[x], name, &[("alpha", Value::Float(slope))]);
        }
        Activation::Gelu if opset >= 20 => document.node("Gelu", &[x], name, &[]),
        Activation::GeluTanh if opset >= 20 => {
            document.node("Gelu", &[x], name, &[("approximate", Value::Text("tanh"))]);
        }
        Activation::Gelu => Gelu { document, name }.by_erf(x),
        Activation::GeluTanh => Gelu { document, name }.by_tanh(x),
    }
}

fn clip(document: &mut Document, [low, high]: [f32; 2], x: &str, name: &str) {
    let low = document.float(&format!("{name}.low"), low);
    let high = document.float(&format!("{name}.high"), high);
    document.node("Clip", &[x, &low, &high], name, &[]);
}

/// GELU as PyTorch writes it before ONNX has an operator for it.
struct Gelu<'d> {
    document: &'d mut Document,
    name: &'d str,
}

impl Gelu<'_> {
    /// `x·(1 + erf(x/√2))·½`.
    fn by_erf(mut self, x: &str) {
        let scaled = self.with("Div", x, std::f32::consts::SQRT_2, "scaled");
        let erf = self.step("Erf", &[&scaled], "erf");
        self.finish(x, &erf);
    }

    /// `x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))·½`.
    fn by_tanh(mut self, x: &str) {
        let cube = self.with("Pow", x, 3.0, "cube");
        let cube = self.with("Mul", &cube, 0.044_715, "cubic");
        let sum = self.step("Add", &[x, &cube], "sum");
        let scaled = self.with("Mul", &sum, (2.0 / std::f32::consts::PI).sqrt(), "scaled");
        let tanh = self.step("Tanh", &[&scaled], "tanh");
        self.finish(x, &tanh);
    }

    /// `x·(1 + bell)·½`.
    fn finish(mut self, x: &str, bell: &str) {
        let shifted = self.with("Add", bell, 1.0, "shifted");
        let twice = self.step("Mul", &[x, &shifted], "twice");
        let half = self.document.float(&format!("{}.half", self.name), 0.5);
        self.document.node("Mul", &[&twice, &half], self.name, &[]);
    }

    fn with(&mut self, op: &str, x: &str, number: f32, what: &str) -> String {
        let number = self.document.float(&format!("{}.{what}.by", self.name), number);
        self.step(op, &[x, &number], what)
    }

    fn step(&mut self, op: &str, inputs: &[&str], what: &str) -> String {
        self.document.step(op, inputs, &format!("{}.{what}", self.name), &[])
    }
}
