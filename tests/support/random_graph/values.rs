//! Weights and statistics of a random network.

use lopper_engine::layer::BatchNorm;
use lopper_engine::{Graph, Layer};
use lopper_models::init;

/// Draws every weight and statistic of `graph`: scales of both signs, some of them zero, and variances that are tiny or
/// zero for some channels. Activations stay within a few units, so that absolute errors are meaningful.
pub fn randomize(graph: &mut Graph, seed: u64) {
    for id in 1..graph.nodes().len() {
        let name = graph.nodes()[id].name.clone();
        let layer = graph.layer_mut(id);
        if let Layer::BatchNorm(bn) = layer {
            randomize_norm(bn, seed, &name);
            continue;
        }
        for (slot, param) in layer.params_mut() {
            let shape = param.value().shape().to_vec();
            let fan_in: usize = shape[1..].iter().product();
            let std = if slot == "weight" { (1.5 / fan_in as f32).sqrt() } else { 0.3 };
            let value = init::normal(seed, &format!("{name}.{slot}"), &shape, std);
            param.set_value(value).expect("of its own shape");
        }
    }
}

fn randomize_norm(bn: &mut BatchNorm, seed: u64, name: &str) {
    let shape = [bn.channels()];
    let draw = |slot: &str, bound| init::uniform(seed, &format!("{name}.{slot}"), &shape, bound);
    let (kind, mut gamma, mut var) = (draw("kind", 1.0), draw("weight", 1.4), draw("running_var", 0.9));
    for ((kind, gamma), var) in kind.data().iter().zip(gamma.data_mut()).zip(var.data_mut()) {
        *var += 1.0;
        match *kind {
            ..-0.9 => *gamma = 0.0,
            // A nearly constant channel: γ is as small as its standard deviation, so their ratio is not.
            ..-0.8 => {
                *var *= 1e-7;
                *gamma *= (*var + bn.eps).sqrt();
            }
            ..-0.7 => {
                *var = 0.0;
                *gamma *= bn.eps.sqrt();
            }
            _ => {}
        }
    }
    bn.weight.set_value(gamma).expect("of its own shape");
    bn.bias.set_value(draw("bias", 1.0)).expect("of its own shape");
    bn.running_mean = draw("running_mean", 0.8);
    bn.running_var = var;
}
