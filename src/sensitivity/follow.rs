//! The pruning plan that follows from the prices of single cuts.

use super::{Cuts, Followed, Following, Point, Sensitivity, Way};
use lopper_compress::prune::{Constants, PrunePlan, prune};
use lopper_engine::{Error, Graph, Result};

impl Following {
    /// Of each group, the largest fraction such that neither it nor a smaller one loses more than `tolerance`.
    pub fn new(found: &Sensitivity, tolerance: f64) -> Self {
        let prune = Way::Prune.to_string();
        let groups = found.rows().into_iter().filter(|(way, ..)| *way == prune);
        let deepest = groups.filter_map(|(_, layers, points)| {
            let bearable = points.iter().take_while(|point| point.loss <= tolerance).last()?;
            Some(Followed { layers: layers.to_vec(), fraction: bearable.fraction, loss: bearable.loss })
        });
        Self { tolerance, cuts: deepest.collect(), together: None }
    }

    /// The plan, as `lopper prune --plan` replays it.
    ///
    /// # Errors
    /// If `cuts` are not those of the sweep.
    pub fn plan(&self, cuts: &Cuts) -> Result<PrunePlan> {
        let group = |followed: &Followed| {
            let groups = cuts.plan(followed.fraction).map(|plan| &plan.groups);
            let group = groups.and_then(|groups| groups.iter().find(|group| group.layers == followed.layers));
            group.cloned().ok_or_else(|| {
                let (layers, fraction) = (followed.layers.join(", "), followed.fraction);
                Error::invalid(format!("sensitivity: {layers} has no plan for the fraction {fraction}"))
            })
        };
        Ok(PrunePlan { groups: self.cuts.iter().map(group).collect::<Result<_>>()? })
    }

    /// `graph` with all cuts of the plan.
    ///
    /// # Errors
    /// Those of the plan and of pruning.
    pub fn apply(&self, graph: &Graph, cuts: &Cuts) -> Result<Graph> {
        Ok(prune(graph, &self.plan(cuts)?, Constants::Exact)?.graph)
    }

    /// How the plan was chosen, in a sentence.
    pub fn rule(&self) -> String {
        format!(
            "of each group of channels, the largest fraction such that neither it nor a smaller one alone loses more than {} % \
             of the images",
            100.0 * self.tolerance
        )
    }

    /// The rule, and what the cuts cost together.
    pub fn text(&self, found: &Sensitivity) -> String {
        let groups = if self.cuts.len() == 1 { "group is" } else { "groups are" };
        let mut text = format!("plan: {}; {} {groups} cut\n", self.rule(), self.cuts.len());
        if let Some(Point { tally, loss, loss_interval: (low, high), .. }) = &self.together {
            text += &format!(
                "together: top-1 {:.2} %, {:.2} points lost ({:.2} to {:.2}), {:.3} instead of {:.3} ms\n",
                100.0 * tally.top1,
                100.0 * loss,
                100.0 * low,
                100.0 * high,
                tally.ms,
                found.uncut.ms
            );
        }
        text
    }
}
