//! Measuring the network of a stage: its costs, its scores, and what the stage did to it.

use super::Pipeline;
use crate::details::{Details, Metrics, data_uri, dead_channels, layers, right, steps};
use crate::latency::{FEW_ROUNDS, in_turn, test_images};
use crate::progress::note;
use crate::recipe::Stage;
use crate::report::Row;
use crate::training::Stoppable;
use lopper_engine::data::Batches;
use lopper_engine::train::metrics::{Accuracy, score};
use lopper_engine::{Error, Graph, Result};
use std::path::Path;

/// Images with the largest losses that the details of a stage show.
const TOP_LOSSES: usize = 12;

/// Longest side of their pictures in pixels.
const PICTURE: u32 = 64;

impl Pipeline<'_> {
    /// Measures a network that is stored in the file `path` and returns its row, whose only details are scores. Costs,
    /// latency and accuracy are those of the images at hand, or else of the images that the network is made for.
    pub fn measure(&mut self, name: &str, graph: &Graph, path: &Path) -> Result<Row> {
        let image = self.image_of(graph);
        let mut row = Row {
            stage: name.to_string(),
            params: graph.param_count(),
            macs: graph.costs(image)?.iter().map(|c| c.macs).sum(),
            bytes: std::fs::metadata(path).map_err(|e| Error::file(path, e))?.len(),
            ..Row::default()
        };
        let latency = in_turn(&[(graph, image)], FEW_ROUNDS, self.device)?[0];
        (row.latency_ms, row.latency_quartiles_ms) = (latency.median, latency.quartiles);
        if let Some((accuracy, scores)) = self.scores(graph)? {
            row.set_accuracy(&accuracy);
            row.details = Some(scores);
        }
        Ok(row)
    }

    /// Scores `graph` on the validation images, if there are any. Only what is scored is set in the details.
    pub(super) fn scores(&mut self, graph: &Graph) -> Result<Option<(Accuracy, Details)>> {
        let Some(data) = &mut self.data else { return Ok(None) };
        let scores = score(graph, &mut Stoppable(&mut data.val), self.device)?;
        let (names, confusion) = (data.val.names(), scores.confusion());
        let mut metrics = Metrics::new(&scores, &confusion, data.val.classes(), &names, TOP_LOSSES);
        let pictures = data.val.thumbnails(&scores.top_losses(TOP_LOSSES), PICTURE);
        for (loss, picture) in metrics.top_losses.iter_mut().zip(pictures) {
            loss.picture = picture.map(|bytes| data_uri(&bytes));
        }
        let right = Some(right(scores.outcomes()));
        Ok(Some((scores.top(1), Details { metrics: Some(metrics), right, ..Details::default() })))
    }

    /// Measures the latencies of `networks` in turn, in up to `rounds` rounds, and enters them in their `rows`. If that
    /// fails, the rows keep the latencies that they have.
    pub fn compare(&self, rows: &mut [Row], networks: &[&Graph], rounds: usize) {
        let networks: Vec<_> = networks.iter().map(|&graph| (graph, self.image_of(graph))).collect();
        match in_turn(&networks, rounds, self.device) {
            Ok(found) => rows.iter_mut().zip(found).for_each(|(row, latency)| {
                (row.latency_ms, row.latency_quartiles_ms) = (latency.median, latency.quartiles);
            }),
            Err(error) => note(format_args!("latencies were not measured in turn: {error}")),
        }
    }

    /// Notes the latencies of a stage's network before and after, measured in turn, if the stage promises one. The network is
    /// finished by now.
    pub(super) fn measure_promise(&self, stage: &Stage, networks: [&Graph; 2]) {
        let batches = stage.techniques.iter().filter_map(|technique| technique.promises_latency());
        for batch in batches {
            match self.clock.measure(&networks, batch).as_deref() {
                Ok([before, after]) => note(format_args!(
                    "{:>14}  latency of {batch} images {after}, {:.3} of {before}",
                    stage.name,
                    after.median / before.median
                )),
                Ok(_) => {}
                Err(error) => note(format_args!("the latency was not measured: {error}")),
            }
        }
    }

    /// Adds to `details` what became of the network `before`, if there was one. `rewrites` is whether a technique rewrote it.
    /// The network `after` is finished by now: what cannot be described is left out.
    pub(super) fn describe(
        &self,
        before: Option<&Graph>,
        after: &Graph,
        rewrites: bool,
        details: &mut Details,
    ) {
        details.layers = layers(before, after);
        // A rewrite may remove the dead channels of the network before; a training makes those of the network after.
        let dying = before.filter(|_| rewrites).unwrap_or(after);
        match dead_channels(dying) {
            Ok(channels) => details.channels = channels,
            Err(error) => note(format_args!("dead channels are not known: {error}")),
        }
        let image = self.image_of(after);
        match steps(before, after, image, &test_images(image.iter().product()), self.device) {
            Ok(steps) => details.steps = steps,
            Err(error) => note(format_args!("the time of each layer is not known: {error}")),
        }
    }

    /// The shape `[H, W, C]` of an image of the data at hand, or else of one that `graph` is made for.
    fn image_of(&self, graph: &Graph) -> [usize; 3] {
        self.data.as_ref().map_or(graph.info.input, |data| data.val.image_shape())
    }
}
