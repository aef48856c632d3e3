//! Pruning as a technique: a rewrite whose plan can be saved and replayed.

use super::{Constants, PruneConfig, PrunePlan, prune};
use crate::criteria::Evidence;
use crate::techniques::{Applied, Demand, Kind, Listed, Role, Sketch, Technique, stage_keys};
use lopper_engine::{Error, Graph, Result};
use std::path::{Path, PathBuf};

/// The keys of a recipe's stage that configure pruning. `plan` and `save_plan` require `prune`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PruneStage {
    /// The options.
    pub prune: Option<PruneConfig>,
    /// The plan to replay. It replaces the choice that `prune` would make.
    pub plan: Option<PrunePlan>,
    /// The file to write the plan to, in TOML, for a later `plan`.
    pub save_plan: Option<PathBuf>,
}

stage_keys!(PruneStage { prune, plan, save_plan });

impl PruneStage {
    fn options(&self) -> Result<&PruneConfig> {
        self.prune.as_ref().ok_or_else(|| Error::invalid("`plan` and `save_plan` require `prune`"))
    }

    /// Whether only dead channels are removed.
    fn removes_only_dead(&self) -> bool {
        self.plan.is_none() && self.prune.as_ref().is_some_and(|options| options.criterion.is_none())
    }
}

impl Listed for PruneStage {
    const KIND: Kind = Kind { name: "prune", role: Role::Rewrite };
}

impl Technique for PruneStage {
    fn kind(&self) -> Kind {
        Self::KIND
    }

    fn check(&self) -> Result<()> {
        self.options()?.check()
    }

    /// Layer names stay. Widths are unknown unless a plan specifies them.
    fn rehearse(&self, sketch: Sketch, _trains: bool, _teacher: Option<&Sketch>) -> Result<Sketch> {
        let options = self.options()?;
        // Without a criterion nothing is scored: this only resolves the names.
        PruneConfig { criterion: None, fraction: None, ..options.clone() }.plan(&sketch.graph, None)?;
        if self.plan.is_none() {
            options.check_sites(&sketch.graph)?;
        }
        match &self.plan {
            Some(plan) if sketch.widths => {
                Ok(Sketch { graph: prune(&sketch.graph, plan, options.constants)?.graph, ..sketch })
            }
            _ => Ok(Sketch { widths: false, ..sketch }),
        }
    }

    /// The file that the plan is written to does not affect the result.
    fn identity(&self) -> String {
        format!("{:?}", Self { save_plan: None, ..self.clone() })
    }

    fn outputs(&self) -> Vec<(&'static str, &Path)> {
        self.save_plan.iter().map(|path| ("save_plan", path.as_path())).collect()
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
        let plan = match &self.plan {
            Some(plan) => plan.clone(),
            None => options.plan(graph, evidence)?,
        };
        let mut applied = Applied::from(prune(graph, &plan, options.constants)?);
        if let Some(path) = &self.save_plan {
            let text = toml::to_string(&plan).map_err(|e| Error::file(path, e))?;
            applied.files.push((path.clone(), text));
        }
        Ok(applied)
    }
}
