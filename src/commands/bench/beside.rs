//! `lopper bench MODEL --beside OTHER`: networks timed in turn.

use crate::latency::{ROUNDS, in_turn_by_batch};
use lopper_engine::{Device, Graph, Result};
use serde::Serialize;
use std::time::Duration;

/// Networks, in the order in which they were named.
#[derive(Serialize)]
pub struct Beside {
    batch: usize,
    hardware: String,
    networks: Vec<Timed>,
}

/// A network; the ratio is to the first one.
#[derive(Serialize)]
struct Timed {
    network: String,
    size: usize,
    median_ms: f64,
    quartiles_ms: [f64; 2],
    time_ratio: f64,
}

impl Beside {
    /// Times `networks` with their names, on images of shape `[N, H, W, C]`, in at least `time` for each.
    ///
    /// # Errors
    /// Those of planning and running.
    pub fn measure(
        networks: &[(String, Graph, [usize; 4])],
        time: Duration,
        device: &Device,
    ) -> Result<Self> {
        let graphs: Vec<_> = networks.iter().map(|(_, graph, shape)| (graph, *shape)).collect();
        let found = in_turn_by_batch(&graphs, ROUNDS, time / ROUNDS as u32, device)?;
        let first = found.first().map_or(1.0, |first| first.median);
        let rows = networks.iter().zip(&found).map(|((network, _, shape), rounds)| Timed {
            network: network.clone(),
            size: shape[1],
            median_ms: rounds.median,
            quartiles_ms: [rounds.quartiles.0, rounds.quartiles.1],
            time_ratio: rounds.median / first,
        });
        let batch = networks.first().map_or(0, |(_, _, shape)| shape[0]);
        Ok(Self { batch, hardware: device.hardware(), networks: rows.collect() })
    }

    pub fn text(&self) -> String {
        let width = self.networks.iter().map(|row| row.network.chars().count()).max().unwrap_or(0).max(7);
        let mut text = format!(
            "batch {}, {}, in turn\n{:width$}   px  median ms        quartiles  ratio\n",
            self.batch, self.hardware, "network"
        );
        for Timed { network, size, median_ms, quartiles_ms: [low, high], time_ratio } in &self.networks {
            let quartiles = format!("{low:.3}–{high:.3}");
            text += &format!(
                "{network:width$}  {size:>3}  {median_ms:>9.3}  {quartiles:>15}  {time_ratio:>5.3}\n"
            );
        }
        text
    }
}
