//! The weights of layers that absorb `s·x + t`.

use lopper_engine::channels::{Filters, filters_mut, overwrite, set_bias};
use lopper_engine::layer::BatchNorm;
use lopper_engine::{Graph, NodeId};

/// For each channel, s and t.
pub(super) type Affine = Vec<(f64, f64)>;

/// The scale and shift of each channel. [`BatchNorm::affine`] rounds to f32, and a product with it would round again.
pub(super) fn affine(bn: &BatchNorm) -> Affine {
    let term = |c: usize| {
        let [gamma, beta, mean, var] =
            [bn.weight.value(), bn.bias.value(), &bn.running_mean, &bn.running_var]
                .map(|t| f64::from(t.data()[c]));
        let scale = gamma / (var + f64::from(bn.eps)).sqrt();
        (scale, beta - scale * mean)
    };
    (0..bn.channels()).map(term).collect()
}

/// A layer that absorbs a batch norm, or a part of one.
pub(super) struct Target {
    pub node: NodeId,
    /// Of its outputs or of its inputs.
    pub affine: Affine,
    pub side: Side,
}

/// Where a batch norm lies, seen from the layer that absorbs it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Behind it: outputs are scaled.
    Outputs,
    /// Before it: inputs are scaled.
    Inputs,
}

/// How many results were too small for a normal number, and became zero.
#[derive(Clone, Copy, Default)]
pub(super) struct Flushed {
    weights: usize,
    biases: usize,
}

impl Flushed {
    /// A note on the numbers, for the report.
    pub fn note(self) -> String {
        match self {
            Self { weights: 0, biases: 0 } => String::new(),
            Self { weights, biases } => {
                format!(", {weights} subnormal weights and {biases} biases set to zero")
            }
        }
    }
}

impl std::ops::AddAssign for Flushed {
    fn add_assign(&mut self, other: Self) {
        self.weights += other.weights;
        self.biases += other.biases;
    }
}

impl Target {
    /// Changes the weights of the layer in `graph`.
    pub fn absorb(&self, graph: &mut Graph) -> Flushed {
        let Some(filters) = Filters::of(&graph.nodes()[self.node].layer) else { return Flushed::default() };
        let (mut weights, mut biases) = match self.side {
            Side::Outputs => (self.scaled_outputs(&filters), self.shifted_outputs(&filters)),
            Side::Inputs => (self.scaled_inputs(&filters), self.shifted_inputs(&filters)),
        };
        let flush = |flushed: usize, small: bool| flushed + usize::from(small);
        let flushed = Flushed {
            weights: weights.iter_mut().fold(0, |count, w| flush(count, flush_f32(w))),
            biases: biases.iter_mut().fold(0, |count, b| flush(count, flush_f64(b))),
        };
        if let Some((weight, _)) = filters_mut(graph.layer_mut(self.node)) {
            overwrite(weight, weights);
        }
        set_bias(graph, self.node, &biases);
        flushed
    }

    fn scaled_outputs(&self, filters: &Filters) -> Vec<f32> {
        let scaled = |(o, (s, _)): (usize, &(f64, f64))| {
            let s = *s;
            filters.filter(o).iter().map(move |&w| (s * f64::from(w)) as f32)
        };
        self.affine.iter().enumerate().flat_map(scaled).collect()
    }

    fn shifted_outputs(&self, filters: &Filters) -> Vec<f64> {
        self.affine.iter().enumerate().map(|(o, (s, t))| s * filters.bias_of(o) + t).collect()
    }

    fn scaled_inputs(&self, filters: &Filters) -> Vec<f32> {
        let affine = self.of_inputs(filters);
        let scaled = |o: usize| {
            let scales = affine[filters.first_input(o)..][..filters.depth()].iter().cycle();
            filters.filter(o).iter().zip(scales).map(|(&w, (s, _))| (s * f64::from(w)) as f32)
        };
        (0..filters.outputs()).flat_map(scaled).collect()
    }

    fn shifted_inputs(&self, filters: &Filters) -> Vec<f64> {
        let shifts: Vec<f64> = self.of_inputs(filters).into_iter().map(|(_, t)| t).collect();
        let response = |o: usize| filters.response(o, &shifts).into_iter().sum::<f64>();
        (0..filters.outputs()).map(|o| filters.bias_of(o) + response(o)).collect()
    }

    /// s and t of each input: after a flatten, feature (h·W + w)·C + c is channel c.
    fn of_inputs(&self, filters: &Filters) -> Affine {
        of_inputs(&self.affine, filters)
    }
}

/// `affine` for each input of the layer with `filters`.
pub(super) fn of_inputs(affine: &[(f64, f64)], filters: &Filters) -> Affine {
    affine.repeat(filters.depth() * filters.groups / affine.len().max(1))
}

/// Sets a subnormal number to zero, and returns whether it was one.
fn flush_f32(value: &mut f32) -> bool {
    let small = value.is_subnormal();
    if small {
        *value = 0.0;
    }
    small
}

/// The same for a number that will be rounded to f32.
fn flush_f64(value: &mut f64) -> bool {
    let small = (*value as f32).is_subnormal();
    if small {
        *value = 0.0;
    }
    small
}
