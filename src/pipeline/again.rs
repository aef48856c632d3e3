//! Describing the stages of a finished run again, from its model files.

use super::Pipeline;
use crate::details::{Details, changes, spectra};
use crate::evaluation::evaluate;
use crate::latency::ROUNDS;
use crate::progress::note;
use crate::recipe::Stage;
use crate::report::Row;
use crate::run_directory::Finished;
use lopper_compress::StageKeys;
use lopper_compress::techniques::Role;
use lopper_engine::{Graph, Result, file};
use std::path::Path;

impl Pipeline<'_> {
    /// Returns the rows of the stages `finished` in `directory`, with their details: those that are stored, and those that
    /// the model files and the images give. `stages` are those of the recipe, as far as it can be read.
    pub fn again(mut self, directory: &Path, finished: &[Finished], stages: &[Stage]) -> Result<Vec<Row>> {
        let mut rows: Vec<Row> = Vec::new();
        for done in finished {
            let graph = file::load(directory.join(&done.file))?;
            let mut row = done.row.clone();
            let stage = stages.iter().find(|stage| stage.name == row.stage);
            row.from = row.from.or_else(|| stage.and_then(|stage| self.origin(stage)));
            let mut details = row.details.take().unwrap_or_default();
            details.epochs = done.epochs.clone();
            self.complete(&mut row, stage, &graph, &mut details)?;
            if let Some(stage) = stage {
                self.evaluate_again(&mut row, stage, &graph)?;
            }
            row.details = Some(details);
            let others = stage.map_or(&[][..], |stage| &stage.reporting.against);
            let others: Vec<String> = row.from.iter().chain(others).cloned().collect();
            row.set_against(&rows, others.iter().map(String::as_str));
            row.hide_pictures_of(&rows);
            note(format_args!("{:>14}  described", row.stage));
            rows.push(row);
            self.done.push((done.row.stage.clone(), graph));
        }
        let networks: Vec<&Graph> = self.done.iter().map(|(_, graph)| graph).collect();
        self.compare(&mut rows, &networks, ROUNDS);
        self.report_skipped();
        Ok(rows)
    }

    /// Adds to `details` what can be found out about the stage of `row`, whose network is `graph`.
    fn complete(
        &mut self,
        row: &mut Row,
        stage: Option<&Stage>,
        graph: &Graph,
        details: &mut Details,
    ) -> Result<()> {
        let before = row.from.as_ref().and_then(|name| self.done.iter().find(|(stage, _)| stage == name));
        let before = before.map(|(_, graph)| graph.clone());
        if details.techniques.is_empty() {
            details.techniques = techniques_in(&row.what);
        }
        if let (Some(stage), Some(before), true) = (stage, &before, details.changes.is_empty()) {
            rewrite_again(stage, before, details);
        }
        let rewrites = rewrites(&details.techniques);
        self.describe(before.as_ref(), graph, rewrites, details);
        if let Some((accuracy, scores)) = self.scores(graph)? {
            match row.top1 {
                Some(top1) if top1 != accuracy.top1() => note(format_args!(
                    "{:>14}  top-1 was {:.2} % in the run and is {:.2} % on these images: they are not those of the run, so \
                     its scores stay as they were",
                    row.stage,
                    100.0 * top1,
                    100.0 * accuracy.top1()
                )),
                _ => {
                    row.set_accuracy(&accuracy);
                    (details.metrics, details.right) = (scores.metrics, scores.right);
                }
            }
        }
        Ok(())
    }

    /// Scores `graph` again on the images that `stage` is evaluated on, if they are at hand and still those of the run.
    fn evaluate_again(&self, row: &mut Row, stage: &Stage, graph: &Graph) -> Result<()> {
        let (Some(config), Some(own)) = (&stage.reporting.evaluate, &self.data) else { return Ok(()) };
        let splits = self.other.scored(config.split).unwrap_or(own);
        let found = evaluate(config, graph, splits, &own.train, self.device)?;
        match &mut row.findings.evaluation {
            Some(before) if (before.images, before.top1) != (found.images, found.top1) => note(format_args!(
                "{:>14}  top-1 on {} {} images was {:.2} % in the run and is {:.2} % on these {}: the evaluation stays as it \
                 was",
                row.stage,
                before.images,
                before.images_of,
                100.0 * before.top1,
                100.0 * found.top1,
                found.images
            )),
            evaluation => *evaluation = Some(found),
        }
        Ok(())
    }
}

/// Adds to `details` what the rewrites of `stage` report about `before`, unless they need evidence from images.
fn rewrite_again(stage: &Stage, before: &Graph, details: &mut Details) {
    let mut graph = before.clone();
    for technique in stage.rewrites() {
        let applied = match technique.demand(&graph) {
            Ok(None) => technique.apply(&graph, None),
            _ => return,
        };
        let Ok(applied) = applied else { return };
        details.changes.extend(changes(&applied.rewrite.report));
        details.spectra.extend(applied.spectra.iter().map(spectra));
        graph = applied.rewrite.graph;
    }
}

/// The techniques that the summary of a stage names, and `train` if it names epochs.
fn techniques_in(what: &str) -> Vec<String> {
    let known = |part: &&str| StageKeys::KINDS.iter().any(|kind| kind.name == *part);
    let techniques = what.split(", ").filter(known).map(str::to_string);
    let train = what.split(", ").any(|part| part.ends_with(" epoch") || part.ends_with(" epochs"));
    techniques.chain(train.then(|| "train".to_string())).collect()
}

/// Whether one of these techniques rewrites a network, rather than acting on its training.
fn rewrites(techniques: &[String]) -> bool {
    let trains = techniques.iter().any(|name| name == "train");
    let role = |name: &String| StageKeys::KINDS.iter().find(|kind| kind.name == name).map(|kind| kind.role);
    techniques.iter().filter_map(role).any(|role| match role {
        Role::Rewrite => true,
        Role::Callback => !trains,
        Role::Objective => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_its_techniques() {
        assert_eq!(techniques_in("vgg8_bn, distill, 8 epochs"), ["distill", "train"]);
        assert_eq!(techniques_in("prune"), ["prune"]);
        assert!(techniques_in("resnet8").is_empty());
        let role = |what: &str| rewrites(&techniques_in(what));
        let found = ["prune, 1 epoch", "sparsify, 2 epochs", "sparsify", "distill, 1 epoch"].map(role);
        assert_eq!(found, [true, false, true, false]);
    }
}
