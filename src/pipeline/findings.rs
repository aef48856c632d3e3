//! What a stage reports besides its row: the range test, scores on other images, the comparison with published figures.

use super::{Outcome, Pipeline};
use crate::details::Valued;
use crate::evaluation::evaluate;
use crate::findings::{Findings, Found, Measured, trainable};
use crate::progress::note;
use crate::range::RangeRun;
use crate::recipe::{RangeConfig, Stage, TrainConfig};
use lopper_engine::train::Freezing;
use lopper_engine::{Error, Graph, Result};

impl Pipeline<'_> {
    /// Adds to the row of `outcome` what `stage` reports besides. `lr_find` is the range test before its training.
    pub(super) fn report_findings(
        &self,
        stage: &Stage,
        outcome: &mut Outcome,
        lr_find: Option<Found>,
    ) -> Result<()> {
        let reporting = &stage.reporting;
        let missing = |key: &str| Error::invalid(format!("{key}: expected images, found none"));
        let evaluation = reporting.evaluate.as_ref().map(|config| {
            let own = self.data.as_ref().ok_or_else(|| missing("evaluate"))?;
            let splits = self.other.scored(config.split).unwrap_or(own);
            let found = evaluate(config, &outcome.graph, splits, &own.train, self.device)?;
            note(format_args!("{:>14}  {}", stage.name, found.text()));
            Ok::<_, Error>(found)
        });
        let mut findings = Findings {
            control: reporting.control.clone(),
            lr_find,
            evaluation: evaluation.transpose()?,
            against: Vec::new(),
            published: None,
        };
        if let Some(published) = &reporting.published {
            let data = self.data.as_ref().ok_or_else(|| missing("published"))?;
            let evaluation = findings.evaluation.as_ref();
            let split = reporting.evaluate.as_ref().and_then(|evaluate| evaluate.split);
            let row = &outcome.row;
            let own = row.top1.zip(row.interval).map(|(value, interval)| Valued { value, interval });
            let other = evaluation.map(|found| Valued { value: found.top1, interval: found.interval });
            let mut trained = outcome.graph.clone();
            if let Some(train) = &stage.train {
                let _ = train.freezing().freeze_at_start(&mut trained)?;
            }
            let measured = Measured {
                graph: &outcome.graph,
                trainable: trainable(&trained),
                epochs: &outcome.epochs,
                top1: if self.other.scored(split).is_some() { other } else { own },
                evaluation,
                classes: data.classes.len(),
                images: [data.summary.train as u64, data.summary.scored as u64],
            };
            findings.published = Some(measured.compare(published));
        }
        outcome.row.findings = findings;
        Ok(())
    }

    /// Runs the range test of a stage before it trains `graph`. If its training is `resumed`, the test starts from the
    /// same network as before the interruption, and finds the same.
    pub(super) fn range_test_before(
        &mut self,
        stage: &Stage,
        config: &TrainConfig,
        graph: &Graph,
        resumed: bool,
    ) -> Result<Option<Found>> {
        match (stage.reporting.lr_find, resumed) {
            (None, _) => Ok(None),
            (Some(range), false) => self.range_test(stage, range, config, graph),
            (Some(range), true) => {
                let start = self.start(stage)?;
                let (graph, ..) = self.rewritten(stage, start)?;
                self.range_test(stage, range, config, &graph)
            }
        }
    }

    /// Runs the range test of a stage on a copy of `graph`, the network that it will train. The result says what the test
    /// would suggest; the rate stays the recipe's.
    fn range_test(
        &mut self,
        stage: &Stage,
        range: RangeConfig,
        config: &TrainConfig,
        graph: &Graph,
    ) -> Result<Option<Found>> {
        let mut objective = self.objective(stage, config, graph)?;
        let missing = || Error::invalid("lr_find: expected images, found none");
        let data = self.data.as_mut().ok_or_else(missing)?;
        let run = RangeRun {
            // The shares of the training at which layers are unfrozen are not those of the test.
            optimizer: config
                .optimizer(graph)?
                .with_freezing(Freezing::new(config.freeze.clone(), Vec::new())),
            objective: objective.as_mut(),
            seed: stage.seed(self.seed),
            device: self.device,
        };
        let test = run.test(range.test()?, graph.clone(), &mut data.train)?;
        let found = Found::of(&test);
        match &found {
            Some(Found { valley, steepest, minimum_tenth, .. }) => note(format_args!(
                "{:>14}  range test: valley {valley:.1e}, steepest {steepest:.1e}, minimum / 10 {minimum_tenth:.1e}; the \
                 recipe's largest rate is {:.1e}",
                stage.name,
                config.largest_rate()?
            )),
            None => note(format_args!(
                "{:>14}  range test: the loss diverged after {} steps, too early for a suggestion",
                stage.name,
                test.tested().len()
            )),
        }
        Ok(found)
    }

    /// Exchanges the images to train on for those that `stage` asks for, if they are others. A second call changes them
    /// back.
    pub(super) fn exchange_training_images(&mut self, stage: &Stage) {
        let Self { data, other, .. } = self;
        if let (Some(data), Some(all)) = (data, other.trained(stage)) {
            std::mem::swap(&mut data.train, all);
        }
    }
}
