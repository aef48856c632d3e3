//! Pruning as a technique: a rewrite whose plan can be saved and replayed.

use super::targets::Reached;
use super::{Constants, PruneConfig, PrunePlan, Pruner, Target, prune};
use crate::criteria::Evidence;
use crate::targets::LINE;
use crate::techniques::{
    Applied, Attached, Clock, Demand, Kind, Listed, Role, Sketch, Technique, stage_keys,
};
use lopper_engine::train::Callback;
use lopper_engine::{About, Error, Graph, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The keys of a recipe's stage that configure pruning. All others require `prune`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PruneStage {
    /// The options.
    pub prune: Option<PruneConfig>,
    /// The plan to replay. It replaces the choice that `prune` would make.
    pub plan: Option<PrunePlan>,
    /// The file to write the plan to, in TOML, for a later `plan`.
    pub save_plan: Option<PathBuf>,
    /// The file to write the scores of channels to, in JSON: a list of [`GroupScores`](super::GroupScores).
    pub save_scores: Option<PathBuf>,
}

stage_keys!(PruneStage { prune, plan, save_plan, save_scores });

impl PruneStage {
    fn options(&self) -> Result<&PruneConfig> {
        self.prune
            .as_ref()
            .ok_or_else(|| Error::invalid("`plan`, `save_plan` and `save_scores` require `prune`"))
    }

    /// The first key that is given of those about one removal of one network.
    fn of_one_removal(&self) -> Option<&'static str> {
        let keys = [
            ("plan", self.plan.is_some()),
            ("save_plan", self.save_plan.is_some()),
            ("save_scores", self.save_scores.is_some()),
        ];
        keys.into_iter().find_map(|(key, given)| given.then_some(key))
    }

    /// Whether channels are removed step by step while the network trains.
    fn is_gradual(&self) -> bool {
        self.prune.as_ref().is_some_and(|options| options.schedule.is_some() || options.steps.is_some())
    }

    /// Whether the removal needs a training. Steps without one follow each other at once.
    fn is_scheduled(&self) -> bool {
        self.prune.as_ref().is_some_and(|options| options.schedule.is_some())
    }

    fn require_training(&self, trains: bool) -> Result<()> {
        match trains {
            true => Ok(()),
            false => Err(Error::invalid("prune schedule: channels are removed while training: add `train`")),
        }
    }

    /// Whether only dead channels are removed.
    fn removes_only_dead(&self) -> bool {
        self.plan.is_none() && self.prune.as_ref().is_some_and(|options| options.criterion.is_none())
    }
}

impl Listed for PruneStage {
    const KIND: Kind = Kind {
        name: "prune",
        role: Role::Rewrite,
        about: About::new(
            "channels with the lowest scores go; b′ = b + Σ_dead c·Σ w for their constants c",
            "Li et al. 2017, Pruning filters for efficient ConvNets",
        ),
    };
}

impl Technique for PruneStage {
    /// A rewrite, unless it follows a schedule.
    fn kind(&self) -> Kind {
        match self.is_gradual() {
            true => Kind { role: Role::Callback, ..Self::KIND },
            false => Self::KIND,
        }
    }

    fn check(&self) -> Result<()> {
        let options = self.options()?;
        options.check()?;
        match self.of_one_removal() {
            Some(key) if self.is_gradual() => Err(Error::invalid(format!(
                "`{key}`: a plan is one removal, but `prune` has a schedule or steps with several"
            ))),
            _ if self.save_scores.is_some() && (self.plan.is_some() || options.criterion.is_none()) => {
                Err(Error::invalid(
                    "`save_scores`: only a criterion scores channels: expected one, and no `plan`",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Layer names stay. Widths are unknown if they depend on weights, or if exact constants may keep carriers.
    fn rehearse(&self, sketch: Sketch, trains: bool, _teacher: Option<&Sketch>) -> Result<Sketch> {
        let options = self.options()?;
        let unknown = |sketch: Sketch| Ok(Sketch { widths: false, ..sketch });
        options.check_lists(&sketch.graph)?;
        if self.plan.is_none() {
            options.check_sites(&sketch.graph)?;
        }
        if options.relative_to.is_some() {
            return unknown(sketch);
        }
        if self.is_scheduled() {
            self.require_training(trains)?;
        }
        options.check_reachable(&sketch.graph)?;
        if self.is_gradual() && trains {
            let mut pruner = Pruner::new(options.without_target())?;
            pruner.on_begin(&mut sketch.graph.clone())?;
            return unknown(sketch);
        }
        let known = |plan: &PrunePlan, sketch: Sketch| {
            Ok(Sketch { graph: prune(&sketch.graph, plan, options.constants)?.graph, ..sketch })
        };
        match &self.plan {
            Some(plan) if sketch.widths => known(plan, sketch),
            None if sketch.widths => match options.outline(&sketch.graph)? {
                Some(plan) if options.constants == Constants::Drop => known(&plan, sketch),
                _ => unknown(sketch),
            },
            _ => unknown(sketch),
        }
    }

    fn reference(&self) -> Option<&str> {
        self.prune.as_ref().and_then(|options| options.relative_to.as_deref())
    }

    fn resolve(&self, reference: &Graph) -> Result<Arc<dyn Technique>> {
        Ok(Arc::new(Self { prune: Some(self.options()?.resolve(reference)?), ..self.clone() }))
    }

    /// Widths multiply: round k keeps `int(widthᵏ · n)` of the n channels that the network `start` has.
    fn repeated(&self, round: usize, start: &str) -> Result<Option<Arc<dyn Technique>>> {
        let options = self.options()?;
        if let Some(key) = self.of_one_removal() {
            return Err(Error::invalid(format!("`{key}`: a plan is for one network, but the stage repeats")));
        }
        if !options.widths.is_empty() {
            return Err(Error::invalid(
                "prune widths: all rounds would keep the same numbers: expected a width",
            ));
        }
        let Some(width) = options.width else { return Ok(None) };
        // Multiplied one by one, as a loop would.
        let width = (1..round).fold(width, |product, _| product * width);
        let relative_to = options.relative_to.clone().unwrap_or_else(|| start.to_string());
        let prune = PruneConfig { width: Some(width), relative_to: Some(relative_to), ..options.clone() };
        Ok(Some(Arc::new(Self { prune: Some(prune), ..self.clone() })))
    }

    fn needs_training(&self) -> bool {
        self.is_scheduled()
    }

    fn promises_latency(&self) -> Option<usize> {
        let target = self.prune.as_ref().and_then(|options| options.target.as_ref());
        target.filter(|target| target.latency.is_some()).map(Target::batch)
    }

    fn timed(&self, clock: &Arc<dyn Clock>) -> Option<Arc<dyn Technique>> {
        let options = self.prune.as_ref().filter(|options| options.target.is_some())?;
        let prune = Some(PruneConfig { clock: Attached::new(clock), ..options.clone() });
        Some(Arc::new(Self { prune, ..self.clone() }))
    }

    fn gradual(&self) -> bool {
        self.is_gradual()
    }

    fn shrinks(&self) -> bool {
        self.is_gradual()
    }

    fn callback(&self) -> Result<Option<Box<dyn Callback>>> {
        match self.is_gradual() {
            true => Ok(Some(Box::new(Pruner::new(self.options()?.clone())?))),
            false => Ok(None),
        }
    }

    /// The files that plan and scores are written to do not affect the result.
    fn identity(&self) -> String {
        format!("{:?}", Self { save_plan: None, save_scores: None, ..self.clone() })
    }

    fn outputs(&self) -> Vec<(&'static str, &Path)> {
        let files = [("save_plan", &self.save_plan), ("save_scores", &self.save_scores)];
        files.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?))).collect()
    }

    /// Removing live channels changes the function, and so does dropping constants.
    fn keeps_function(&self) -> bool {
        let exact = self.prune.as_ref().is_some_and(|options| options.constants == Constants::Exact);
        exact && self.removes_only_dead()
    }

    fn demand(&self, graph: &Graph) -> Result<Option<Demand>> {
        match (&self.options()?.criterion, &self.plan) {
            (Some(criterion), None) => {
                Ok(Some(Demand { criterion: criterion.clone(), sites: self.options()?.sites(graph)? }))
            }
            _ => Ok(None),
        }
    }

    fn apply(&self, graph: &Graph, evidence: Option<&Evidence>) -> Result<Applied> {
        let options = self.options()?;
        self.require_training(!self.is_scheduled())?;
        if options.steps.is_some() {
            return Pruner::at_once(options, graph, evidence).map(Applied::from);
        }
        let Reached { plan, note } = match &self.plan {
            Some(plan) => Reached { plan: plan.clone(), note: None },
            None => options.reached(graph, evidence)?,
        };
        let mut rewrite = prune(graph, &plan, options.constants)?;
        note.into_iter().for_each(|note| rewrite.report.changed(LINE, note));
        let mut applied = Applied::from(rewrite);
        if let Some(path) = &self.save_plan {
            let text = toml::to_string(&plan).map_err(|e| Error::file(path, e))?;
            applied.files.push((path.clone(), text));
        }
        if let Some(path) = &self.save_scores {
            let scores = options.scores(graph, evidence)?;
            let text = serde_json::to_string_pretty(&scores).map_err(|e| Error::file(path, e))?;
            applied.files.push((path.clone(), text + "\n"));
        }
        Ok(applied)
    }
}
