//! A stage of a recipe and its checks.

use super::{Reporting, TrainConfig};
use lopper_compress::StageKeys;
use lopper_compress::techniques::{Clock, Kind, Role, Technique};
use lopper_engine::{Error, Graph, Result};
use lopper_models::Head;
use lopper_models::data::Trained;
use std::path::Path;
use std::sync::Arc;

/// A stage: the source of its network, techniques that change it, and its training.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    /// Name of the stage, its row and its model file.
    pub name: String,
    /// Architecture to build.
    pub arch: Option<String>,
    /// Width multiplier of `arch`.
    pub width: Option<f64>,
    /// Classifier of `arch`, or the new head: its `own` or `fastai`'s.
    pub head: Head,
    /// Earlier stage or model file to start from. Without this and `arch`, the previous stage.
    pub from: Option<String>,
    /// Whether all weights are drawn anew.
    pub fresh: bool,
    /// Whether the network gets a new head for the classes of the images.
    pub new_head: bool,
    /// Techniques, in the order of their table. At most one is a rewrite and at most one an objective.
    pub techniques: Vec<Arc<dyn Technique>>,
    /// Training after the rewrite.
    pub train: Option<TrainConfig>,
    /// The images to train on, if not those of the recipe.
    pub train_on: Option<Trained>,
    /// What the stage reports besides its network.
    pub reporting: Reporting,
    /// Number of rounds, each of which becomes a stage of its own when the recipe is read.
    pub repeat: Option<usize>,
    /// The number of its generation, from 1, if rounds build `arch` anew; each draws other weights. 0 for all other stages.
    pub generation: u64,
}

/// Maximum length of a stage's name, which names a file and heads a row of the table.
const LONGEST_NAME: usize = 64;

impl Stage {
    /// Returns a stage that applies `technique` and then trains, if `train` is given. Returns an error if an option of
    /// the technique is invalid.
    pub fn of(technique: impl Technique + 'static, train: Option<TrainConfig>) -> Result<Self> {
        technique.check()?;
        Ok(Self { techniques: vec![Arc::new(technique)], train, ..Self::default() })
    }

    /// Returns the names of the networks that the stage reads: earlier stages or model files.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        let networks = self.techniques.iter().flat_map(|t| t.teachers().into_iter().chain(t.reference()));
        self.from.as_deref().into_iter().chain(networks)
    }

    /// Returns the seed of its weights and its dropout in a run with `seed`: generations differ from their teachers.
    pub fn seed(&self, seed: u64) -> u64 {
        seed.wrapping_add(self.generation)
    }

    /// Returns the files that the stage writes besides its network, each with the option that names it.
    pub fn outputs(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.techniques.iter().flat_map(|technique| technique.outputs())
    }

    /// Returns the techniques that rewrite the network before it is trained, or instead of training.
    pub fn rewrites(&self) -> impl Iterator<Item = &dyn Technique> {
        let trains = self.train.is_some();
        let rewrites = move |role| match role {
            Role::Rewrite => true,
            Role::Callback => !trains,
            Role::Objective => false,
        };
        self.techniques.iter().map(|t| &**t).filter(move |t| rewrites(t.kind().role))
    }

    /// Returns everything that the bits of the stage's network depend on, as text.
    pub fn identity(&self) -> String {
        // `repeat` is expanded by then.
        let Self {
            name,
            arch,
            width,
            head,
            from,
            fresh,
            new_head,
            techniques,
            train,
            train_on,
            reporting,
            repeat: _,
            generation,
        } = self;
        let techniques: Vec<String> = techniques.iter().map(|technique| technique.identity()).collect();
        // The result of a finished stage holds its scores; those of other options would be missing.
        let Reporting { evaluate, lr_find, .. } = reporting;
        // Only where it is set: runs of stages without it can be resumed.
        let fresh = if *fresh { " fresh" } else { "" };
        let generation = if *generation > 0 { format!(" generation {generation}") } else { String::new() };
        format!(
            "{name:?} {arch:?} {width:?} {head:?} {from:?} {new_head} {techniques:?} {train:?} {train_on:?} {evaluate:?} \
             {lr_find:?}{fresh}{generation}"
        )
    }

    /// Checks the stage, which follows the stages `earlier`.
    pub(super) fn check(&self, earlier: &[Stage]) -> Result<()> {
        let refuse = |message: &str| Err(Error::invalid(message));
        self.check_name(earlier)?;
        self.techniques.iter().try_for_each(|technique| technique.check())?;
        let count = |role| self.techniques.iter().filter(|t| t.kind().role == role).count();
        for role in [Role::Rewrite, Role::Objective] {
            if count(role) > 1 {
                let names = list(role, "and");
                return refuse(&format!("only one of {names} is allowed: give each its own stage"));
            }
        }
        if self.arch.is_some() && self.from.is_some() {
            return refuse("expected either `arch` or `from`, found both");
        }
        if self.arch.is_none() && self.from.is_none() && earlier.is_empty() {
            return refuse("the first stage needs `arch` or `from`");
        }
        if self.fresh && (self.arch.is_some() || self.train.is_none()) {
            return refuse(
                "`fresh` draws the weights of another network anew: expected `from` or an earlier stage, and `train`",
            );
        }
        if self.arch.is_none() && self.width.is_some() {
            return refuse("`width` requires `arch`");
        }
        if self.arch.is_none() && !self.new_head && self.head != Head::Own {
            return refuse("`head` requires `arch` or `new_head = true`");
        }
        if self.arch.is_some() && self.new_head {
            return refuse("`new_head`: the head of `arch` is new; expected `from` or an earlier stage");
        }
        if self.summary().is_empty() && self.from.is_none() {
            let callbacks = names(Role::Callback).join(", ");
            return refuse(&format!(
                "expected something to do: arch, from, new_head, a rewrite, {callbacks} or train"
            ));
        }
        if let (Some(technique), None) = (self.techniques.iter().find(|t| t.needs_training()), &self.train) {
            return refuse(&format!("`{}` acts during training: add `train`", technique.kind().name));
        }
        self.check_training()?;
        if self.train_on.is_some() && self.train.is_none() {
            return refuse("train_on: nothing is trained; expected `train` beside it");
        }
        if let Some(name) =
            self.reporting.against.iter().find(|name| !earlier.iter().any(|s| s.name == **name))
        {
            return refuse(&format!("against: expected earlier stages, found `{name}`"));
        }
        self.reporting.check(self.train.is_some())?;
        self.train.as_ref().map_or(Ok(()), TrainConfig::check)
    }

    /// Returns an error if an option of the training contradicts a technique: the best epoch, if one acts during
    /// training, or the weights of classes, if one has its own loss.
    pub fn check_training(&self) -> Result<()> {
        let objective = self.techniques.iter().map(|t| t.kind()).find(|kind| kind.role == Role::Objective);
        let weighs = self.train.as_ref().is_some_and(|train| train.class_weights.is_some());
        if let (true, Some(Kind { name, .. })) = (weighs, objective) {
            return Err(Error::invalid(format!(
                "`class_weights`: `{name}` has its own loss, without weights"
            )));
        }
        let gradual = self.techniques.iter().find(|technique| technique.gradual()).map(|t| t.kind());
        let freezes = self.train.as_ref().is_some_and(|train| !train.freeze.is_empty());
        if let (true, Some(Kind { name, .. })) = (freezes, gradual) {
            return Err(Error::invalid(format!(
                "`freeze`: `{name}` acts during training, on frozen layers, too: give each its own stage"
            )));
        }
        let asked = self.train.as_ref().and_then(TrainConfig::asks_for_best);
        if let (Some(option), Some(Kind { name, .. })) = (asked, gradual) {
            return Err(Error::invalid(format!(
                "`{option}`: `{name}` acts during training, and the best epoch may be one before it is done: train in a \
                 stage behind it"
            )));
        }
        let compared =
            self.techniques.iter().find_map(|t| Some((t.kind().name, t.compares().first()?.to_string())));
        match (compared, self.techniques.iter().any(|t| t.shrinks())) {
            (Some((name, layer)), true) => Err(Error::invalid(format!(
                "`{name}`: compares the output of layer `{layer}`, whose channels `prune` may remove while training: prune \
                 in a stage behind it"
            ))),
            _ => Ok(()),
        }
    }

    /// Returns the stage with what its techniques take from other networks, which `network` returns by name.
    pub fn resolve(&self, mut network: impl FnMut(&str) -> Result<Graph>) -> Result<Self> {
        let resolve = |technique: &Arc<dyn Technique>| match technique.reference() {
            Some(name) => technique.resolve(&network(name)?),
            None => Ok(technique.clone()),
        };
        let techniques = self.techniques.iter().map(resolve).collect::<Result<_>>()?;
        Ok(Self { techniques, ..self.clone() })
    }

    /// Returns the stage whose techniques reach their latencies by `clock`.
    pub fn timed(self, clock: &Arc<dyn Clock>) -> Self {
        let timed = |technique: Arc<dyn Technique>| technique.timed(clock).unwrap_or(technique);
        Self { techniques: self.techniques.into_iter().map(timed).collect(), ..self }
    }

    fn check_name(&self, earlier: &[Stage]) -> Result<()> {
        let refuse = |message: &str| Err(Error::invalid(message));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return refuse("a name consists of letters, digits, `-` and `_`");
        }
        if self.name.len() > LONGEST_NAME {
            let (found, short) = (self.name.len(), &self.name[..LONGEST_NAME]);
            return refuse(&format!(
                "expected a name of at most {LONGEST_NAME} characters, found {found}: {short}…"
            ));
        }
        match earlier.iter().any(|s| s.name == self.name) {
            true => refuse("an earlier stage has the same name"),
            false => Ok(()),
        }
    }

    /// Summarizes the stage in a few words.
    pub fn summary(&self) -> String {
        let control = self.reporting.control.as_ref().map(|of| format!("control {of}"));
        let mut parts: Vec<String> = control.into_iter().chain(self.arch.clone()).collect();
        parts.extend(self.fresh.then(|| "fresh weights".to_string()));
        parts.extend(self.new_head.then(|| "new head".to_string()));
        let mut kinds: Vec<Kind> = self.techniques.iter().map(|technique| technique.kind()).collect();
        kinds.sort_by_key(|kind| kind.role);
        parts.extend(kinds.iter().map(|kind| kind.name.to_string()));
        if let Some(train) = &self.train {
            parts.push(format!("{} epoch{}", train.epochs, if train.epochs == 1 { "" } else { "s" }));
            if !train.freeze.is_empty() {
                let frozen: Vec<String> = train.freeze.iter().map(ToString::to_string).collect();
                parts.push(format!("{} frozen", frozen.join(" and ")));
            }
        }
        parts.join(", ")
    }
}

/// Returns the names of the techniques of `role`.
fn names(role: Role) -> Vec<&'static str> {
    StageKeys::KINDS.iter().filter(|kind| kind.role == role).map(|kind| kind.name).collect()
}

/// Lists the techniques of `role`, as in "prune, fold and compact".
fn list(role: Role, conjunction: &str) -> String {
    let names = names(role);
    match names.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} {conjunction} {last}", first.join(", ")),
        _ => names.concat(),
    }
}
