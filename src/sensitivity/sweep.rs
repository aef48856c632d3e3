//! The sweep over all cuts.

use super::{Cut, Cuts, Point, Prefix, Sensitivity, Tally};
use crate::machine::NetworkClock;
use lopper_engine::train::metrics::Outcome;
use lopper_engine::{Device, Error, Graph, NodeId, Result};

/// What to measure with.
pub struct Options<'a> {
    /// Estimates milliseconds.
    pub clock: &'a NetworkClock,
    /// Shape of an image, `[H, W, C]`.
    pub image: [usize; 3],
    /// Device to compute on.
    pub device: &'a Device,
}

/// A sweep in progress.
pub struct Sweep<'a> {
    prefix: Prefix<'a>,
    options: Options<'a>,
    /// Which images the uncut network gets right.
    right: Vec<bool>,
}

/// A check between batches, which may stop the sweep.
type Check<'c> = &'c mut dyn FnMut() -> Result<()>;

impl<'a> Sweep<'a> {
    /// A sweep over the images of `prefix`, of which nothing is computed yet, and the tally of the uncut network.
    ///
    /// # Errors
    /// Those of the network and of `check`.
    pub fn begin(prefix: Prefix<'a>, options: Options<'a>, check: Check) -> Result<(Self, Tally)> {
        let right = right(&prefix.outcomes(prefix.graph(), check)?);
        let sweep = Self { prefix, options, right };
        let tally = sweep.tally(sweep.prefix.graph(), &sweep.right)?;
        Ok((sweep, tally))
    }

    /// Adds the points of `cuts` that `found` lacks, in the order of the layers, and passes it to `done` after each.
    ///
    /// # Errors
    /// Those of the techniques, the networks, `check` and `done`.
    pub fn run(
        &mut self,
        cuts: &Cuts,
        found: &mut Sensitivity,
        check: Check,
        done: &mut dyn FnMut(&Sensitivity) -> Result<()>,
    ) -> Result<()> {
        for cut in cuts.list() {
            let way = cut.way.to_string();
            let missing = |fraction: &&f64| found.find(&way, &cut.layers, **fraction).is_none();
            let fractions: Vec<f64> = cut.fractions.iter().filter(missing).copied().collect();
            if !fractions.is_empty() {
                self.prefix.advance(cut.node)?;
            }
            for fraction in fractions {
                let point = self.point(cuts, cut, fraction, check)?;
                found.points.push(point);
                done(found)?;
            }
        }
        Ok(())
    }

    fn point(&self, cuts: &Cuts, cut: &Cut, fraction: f64, check: Check) -> Result<Point> {
        let named = |e: Error| match e {
            Error::Stopped => e,
            other => {
                Error::invalid(format!("{} of {} by {fraction}: {other}", cut.way, cut.layers.join(", ")))
            }
        };
        let graph = cuts.apply(cut, fraction).map_err(named)?;
        let right = right(&self.prefix.outcomes(&graph, check).map_err(named)?);
        let tally = self.tally(&graph, &right).map_err(named)?;
        let pairs = pairs(&self.right, &right);
        Ok(Point::new(cut.way.to_string(), cut.layers.clone(), fraction, tally, pairs))
    }

    /// The point of a network with several cuts at once, called `way`, which starts from the images: so it comes before
    /// [`Self::run`], or of a sweep of its own.
    ///
    /// # Errors
    /// Those of the network and of `check`.
    pub fn of_network(&self, way: &str, graph: &Graph, check: Check) -> Result<Point> {
        let right = right(&self.prefix.outcomes(graph, check)?);
        let tally = self.tally(graph, &right)?;
        Ok(Point::new(way.to_string(), Vec::new(), 0.0, tally, pairs(&self.right, &right)))
    }

    /// The point of `graph`, which is like the uncut network before `node`, under the name of some of its `layers`. Points
    /// come in the order of nodes.
    ///
    /// # Errors
    /// Those of the network and of `check`.
    pub fn changed(
        &mut self,
        node: NodeId,
        (layers, graph): (&[String], &Graph),
        check: Check,
    ) -> Result<Point> {
        self.prefix.advance(node)?;
        let point = self.of_network("undone", graph, check)?;
        Ok(Point { layers: layers.to_vec(), ..point })
    }

    fn tally(&self, graph: &Graph, right: &[bool]) -> Result<Tally> {
        let Options { clock, image, device } = self.options;
        let correct = right.iter().filter(|&&right| right).count();
        let macs = graph.costs(image)?.iter().map(|cost| cost.macs).sum();
        let ms = clock.ms(graph, image, device)?;
        Ok(Tally::new(correct, right.len(), [graph.param_count(), macs], ms))
    }
}

/// Which images are classified correctly.
fn right(outcomes: &[Outcome]) -> Vec<bool> {
    outcomes.iter().map(|outcome| outcome.is_among(1)).collect()
}

/// Images that are right only before, and only after.
fn pairs(before: &[bool], after: &[bool]) -> [u32; 2] {
    let count = |wanted: (bool, bool)| {
        before.iter().zip(after).filter(|(before, after)| (**before, **after) == wanted).count() as u32
    };
    [count((true, false)), count((false, true))]
}
