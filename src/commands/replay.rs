//! `lopper replay REPORT`.

use super::Common;
use super::rerun::recipe_of;
use super::run::Walk;
use crate::keeping::KeepArgs;
use crate::report::{About, ModelHash};
use clap::Args;
use lopper_engine::{Error, Result, input};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Repeat a run from its report, and compare the networks bit by bit.
#[derive(Args)]
pub struct Replay {
    /// The report.json of a run
    report: PathBuf,
    /// Directory with its images, or a table of them [default: those of the run]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Directory for model files and the report [default: replay, beside the report]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Run although the images are not those of the report
    #[arg(long)]
    anyway: bool,
    /// Replace the result of an earlier replay
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    keep: KeepArgs,
}

/// The part of `report.json` that is read.
#[derive(Deserialize)]
struct Origin {
    run: About,
}

/// The comparison of a run with its replay.
#[derive(Serialize)]
struct Compared {
    /// The stages, in order.
    stages: Vec<Stage>,
    /// Conditions that differ.
    differences: Vec<String>,
}

/// A stage in the run and in the replay.
#[derive(Serialize)]
struct Stage {
    stage: String,
    /// SHA-256 of the model file in the run.
    expected: String,
    /// SHA-256 of that in the replay; none if the replay did not come so far.
    found: Option<String>,
}

impl Stage {
    fn is_same(&self) -> bool {
        self.found.as_ref() == Some(&self.expected)
    }
}

impl Replay {
    pub fn run(&self, common: &Common) -> Result<()> {
        let text = input::read_to_string(&self.report)?;
        let Origin { run: about } =
            serde_json::from_str(&text).map_err(|e| Error::file(&self.report, format!("damaged: {e}")))?;
        if about.models.is_empty() {
            let message = "the report has no checksums of models: a run of this version writes them";
            return Err(Error::file(&self.report, message));
        }
        let quick = about.command.iter().any(|argument| argument == "--quick");
        let recipe = recipe_of(&about, false).map_err(|e| Error::file(&self.report, e))?;
        let used = about.data.as_ref().and_then(|data| data.path.as_deref()).map(Path::new);
        let beside = || self.report.with_file_name("replay");
        let out = self.out.clone().unwrap_or_else(beside);
        let walk = Walk {
            quick,
            data: self.data.as_deref().or(used),
            out: &out,
            force: self.force,
            keep: &self.keep,
            repeats: Some((&about.binding, self.anyway)),
        };
        let common = Common { seed: Some(about.seed), ..common.clone() };
        let done = walk.walk(recipe, &common)?;
        let replayed = done.report.run.ok_or_else(|| Error::invalid("the replay has no report"))?;
        let compared = Compared {
            stages: stages(&about.models, &replayed.models),
            differences: crate::binding::differences(&about.binding, &replayed.binding),
        };
        common.print(&compared, || compared.text())?;
        compared.verdict()
    }
}

/// The stages of a run beside those of its replay.
fn stages(expected: &[ModelHash], found: &[ModelHash]) -> Vec<Stage> {
    let stage = |model: &ModelHash| Stage {
        stage: model.stage.clone(),
        expected: model.sha256.clone(),
        found: found.iter().find(|other| other.stage == model.stage).map(|other| other.sha256.clone()),
    };
    expected.iter().map(stage).collect()
}

impl Compared {
    fn text(&self) -> String {
        let line = |stage: &Stage| {
            let verdict = if stage.is_same() { "the same bits" } else { "other bits" };
            format!("{:>14}  {verdict}  {}\n", stage.stage, &stage.expected[..stage.expected.len().min(16)])
        };
        self.stages.iter().map(line).collect()
    }

    /// An error that names the first stage with other bits and what differed, if there is one.
    fn verdict(&self) -> Result<()> {
        let Some(stage) = self.stages.iter().find(|stage| !stage.is_same()) else { return Ok(()) };
        let why = match self.differences.is_empty() {
            true => "everything that is known to matter is the same".to_string(),
            false => self.differences.join("; "),
        };
        let found = stage.found.as_deref().unwrap_or("none");
        Err(Error::invalid(format!(
            "stage `{}`: expected the model {}, found {found} ({why})",
            stage.stage, stage.expected
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stage_with_other_bits_is_named() {
        let model = |stage: &str, sha256: &str| ModelHash { stage: stage.into(), sha256: sha256.into() };
        let expected = [model("a", "aa"), model("b", "bb"), model("c", "cc")];
        let compared = |found: &[ModelHash], differences: &[&str]| Compared {
            stages: stages(&expected, found),
            differences: differences.iter().map(ToString::to_string).collect(),
        };
        assert!(compared(&expected, &[]).verdict().is_ok());
        let other = [model("a", "aa"), model("b", "xx"), model("c", "yy")];
        let message =
            compared(&other, &["device: cpu, avx2 then, cpu, avx512 now"]).verdict().unwrap_err().to_string();
        assert!(
            message.starts_with("stage `b`: expected the model bb, found xx (device: cpu, avx2"),
            "{message}"
        );
        assert!(compared(&expected[..2], &[]).verdict().unwrap_err().to_string().contains("found none"));
    }
}
