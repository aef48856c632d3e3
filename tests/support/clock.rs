//! A clock that needs no machine, and does not agree with its own estimates.

use lopper_compress::techniques::{Attached, Clock, Measured};
use lopper_engine::plan::{Amount, Plan};
use lopper_engine::{Device, Graph, Result};
use std::sync::Arc;

/// Estimates without a machine, and measures one on which the steps of a plan take a power of their estimates.
#[derive(Debug)]
pub struct Distorted {
    device: Device,
    power: f64,
}

impl Distorted {
    pub fn new(threads: usize, power: f64) -> Self {
        Self { device: Device::open("cpu", Some(threads)).unwrap(), power }
    }

    pub fn attached(self) -> Attached {
        let clock: Arc<dyn Clock> = Arc::new(self);
        Attached::new(&clock)
    }

    /// The milliseconds of `graph` for `batch` images.
    pub fn time(&self, graph: &Graph, batch: usize) -> f64 {
        let [h, w, c] = graph.info.input;
        let plan = Plan::new(graph, [batch, h, w, c], &self.device).unwrap();
        1e-6 * plan.steps().iter().map(|step| step.amount().macs().powf(self.power)).sum::<f64>()
    }
}

impl Clock for Distorted {
    fn device(&self) -> &Device {
        &self.device
    }

    fn estimate(&self, amount: &Amount) -> f64 {
        1e-6 * amount.macs()
    }

    fn measure(&self, networks: &[&Graph], batch: usize) -> Result<Vec<Measured>> {
        let measured = |graph: &&Graph| {
            let median = self.time(graph, batch);
            Measured { median, quartiles: (median, median) }
        };
        Ok(networks.iter().map(measured).collect())
    }
}
