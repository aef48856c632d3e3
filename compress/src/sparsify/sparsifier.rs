//! Sparsification while training: a callback that follows a schedule.

use super::SparsifyConfig;
use super::apply::{Masks, mask, report};
use super::layers;
use super::record::Record;
use super::remembered::Remembered;
use super::rewind::Rewind;
use crate::criteria::{Evidence, Need, Site};
use crate::granularity::Granularity;
use crate::squared_weights;
use lopper_engine::certificate::{Certificate, Claim};
use lopper_engine::rewrite::RewriteReport;
use lopper_engine::train::{Callback, Flow, Progress, Shrunk, State, Step};
use lopper_engine::{Graph, Result};

/// Follows a schedule while a network trains. After a step it drops as many groups as the schedule asks for, scored by
/// the weights at that moment and by the evidence of all steps so far that the criterion needs. Dropped weights stay
/// zero whatever the optimizer's momentum writes, because [`lopper_engine::Param`] applies its mask to every write.
/// Dropped groups return only if the schedule falls, with weights of zero.
#[derive(Debug)]
pub struct Sparsifier {
    config: SparsifyConfig,
    evidence: Evidence,
    /// The masks before the training: what they drop never returns.
    before: Masks,
    history: Vec<Record>,
    /// The share of the squared weights that masks left, multiplied over the updates.
    left: f64,
    /// The weights to return to.
    rewind: Rewind,
}

impl Sparsifier {
    /// A callback for one training. Fails on invalid options, and on a criterion that
    /// needs evidence that training does not provide.
    pub fn new(config: SparsifyConfig) -> Result<Self> {
        config.check()?;
        config.criterion.check_in_training("sparsify at once, without training")?;
        let (evidence, before) = (Evidence::default(), Masks::default());
        Ok(Self { config, evidence, before, history: Vec::new(), left: 1.0, rewind: Rewind::default() })
    }

    /// Every update of the masks, in order.
    pub fn history(&self) -> &[Record] {
        &self.history
    }

    /// Reports how many groups the masks of `graph` keep in each convolution and linear layer, or why it was skipped.
    pub fn report(&self, graph: &Graph) -> Result<RewriteReport> {
        report(graph, &self.config)
    }

    /// The target after the step of `progress`, if it updates the masks.
    fn due(&self, progress: Progress) -> Result<Option<f64>> {
        let Progress { step, steps, .. } = progress;
        let its_turn = (step + 1) % self.config.every == 0 || step + 1 == steps;
        let target = self.config.sparsity_at(progress.end_of_step())?;
        Ok((its_turn && target != self.reached()).then_some(target))
    }

    /// Sets the masks of `graph` to the target after the step of `progress`, if they are due.
    fn update(&mut self, graph: &mut Graph, progress: Progress) -> Result<()> {
        let Some(target) = self.due(progress)? else { return Ok(()) };
        let evidence = Some(&self.evidence);
        let grew = target > self.reached();
        let squares = if grew { squared_weights(graph) } else { 0.0 };
        let sparsity = match grew {
            true => mask(graph, &self.config, target, evidence)?,
            false => self.before.release(graph, &self.config, target, evidence)?,
        };
        if squares > 0.0 {
            self.left *= (squared_weights(graph) / squares).min(1.0);
        }
        let sites = self.config.sites(graph)?;
        self.evidence.updated(&self.config.criterion, graph, &sites);
        let Progress { epoch, step, steps, .. } = progress;
        // Behind the last step there is no training that the weights could return for.
        if grew && self.rewind.is_known() && step + 1 < steps {
            self.rewind.apply(graph)?;
        }
        self.history.push(Record { epoch, step, target, sparsity });
        Ok(())
    }

    /// The target of the last update of the masks.
    fn reached(&self) -> f64 {
        self.history.last().map_or(0.0, |record| record.target)
    }
}

impl Callback for Sparsifier {
    fn on_begin(&mut self, graph: &mut Graph) -> Result<()> {
        let sites: Vec<Site> =
            layers::some_targets(graph, &self.config)?.into_iter().map(|target| target.site).collect();
        self.evidence = Evidence::start(&self.config.criterion, graph, &sites);
        self.before = Masks::of(graph, &self.config)?;
        Ok(())
    }

    fn reads_masked_gradients(&self) -> bool {
        self.config.criterion.needs().contains(&Need::Gradients)
    }

    fn before_step(&mut self, step: &mut Step) -> Result<()> {
        let first = self.config.rewind.is_some_and(|first| step.progress.step >= first);
        if first && !self.rewind.is_known() {
            self.rewind = Rewind::remember(step.graph)?;
        }
        let criterion = &self.config.criterion;
        match criterion.needs_data() {
            true => {
                let sites = self.config.sites(step.graph)?;
                self.evidence.observe(criterion, step.graph, &sites, step.gradients)
            }
            false => Ok(()),
        }
    }

    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        self.update(step.graph, step.progress)?;
        Ok(Flow::Continue)
    }

    fn on_steps_over(&mut self, graph: &mut Graph, progress: Progress) -> Result<()> {
        self.update(graph, progress)
    }

    fn on_end(&mut self, graph: &mut Graph) -> Result<()> {
        if self.config.reset_end { self.rewind.apply(graph) } else { Ok(()) }
    }

    fn on_shrunk(&mut self, before: &Graph, shrunk: &Shrunk) -> Result<()> {
        self.evidence.shrink(&shrunk.slices, self.config.granularity == Granularity::FILTER);
        self.before.shrink(before, &shrunk.slices);
        self.rewind.shrink(&shrunk.slices);
        Ok(())
    }

    fn certificates(&self, _trained: &Graph) -> Vec<Certificate> {
        vec![Certificate {
            technique: "sparsify while training".into(),
            claim: Claim::Approximate {
                what: format!(
                    "share of the squared weights that went at granularity {}",
                    self.config.granularity
                ),
                predicted: 1.0 - self.left,
            },
            logit_difference: None,
            images: 0,
        }]
    }

    fn state(&self) -> State {
        let (history, evidence) = (self.history.clone(), self.evidence.clone());
        let (before, left, rewind) = (self.before.parts(), self.left, self.rewind.parts());
        Remembered { history, evidence, before, left, rewind }.into_state()
    }

    fn restore(&mut self, state: State) -> Result<()> {
        let Remembered { history, evidence, before, left, rewind } = Remembered::from_state(state)?;
        (self.history, self.evidence, self.left) = (history, evidence, left);
        self.before = Masks::from_parts(before)?;
        self.rewind = Rewind::from_parts(rewind);
        Ok(())
    }
}
