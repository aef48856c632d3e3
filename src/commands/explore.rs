//! `lopper explore MODEL`.

use super::{Common, DataArgs};
use crate::binding::Binding;
use crate::explore::{By, Candidate, State, Tried, candidates, on_front, table};
use crate::latency::ROUNDS;
use crate::pipeline::Pipeline;
use crate::progress::note;
use crate::recipe::{Stage, TrainConfig};
use crate::report::{Report, Row, short};
use crate::signals;
use crate::tables::{put, put_csv};
use clap::Args;
use lopper::page;
use lopper_compress::Criterion;
use lopper_engine::number::{self, Range};
use lopper_engine::{Error, Graph, Result, file};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Find out what accuracy is left at what latency, by many ways to make a network smaller.
#[derive(Args)]
pub struct Explore {
    /// A model file
    model: PathBuf,
    /// Folder for front.svg, front.csv, explore.json, networks/ and plans/. A later call with the same options continues
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Time for all candidates, such as 90s, 30m or 2h. One that would probably take longer than what is left is not begun
    #[arg(long, default_value = "30m", value_parser = super::atlas::budget)]
    budget: Duration,
    /// Criteria by which channels are removed, separated by commas
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "large_final,taylor,geometric_median,random",
        value_name = "CRITERIA"
    )]
    criteria: Vec<Criterion>,
    /// Shares of the latency, or of what --by says, to prune to, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "0.75,0.6,0.5,0.4,0.3", value_name = "SHARES")]
    shares: Vec<f64>,
    /// What these are shares of
    #[arg(long, value_enum, default_value = "latency")]
    by: By,
    /// Passes over the training images behind each cut; 0 for none
    #[arg(long, default_value_t = 1)]
    epochs: usize,
    /// Largest learning rate of the one-cycle schedule
    #[arg(long, default_value_t = 1e-3, value_name = "RATE")]
    learning_rate: f64,
    /// Start over, although the folder has an exploration
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    data: DataArgs,
}

impl Explore {
    pub fn run(&self, common: &Common) -> Result<()> {
        self.check()?;
        let (device, seed) = (common.device()?, common.seed.unwrap_or(0));
        let graph = file::load(&self.model)?;
        let missing = || Error::invalid("--data is missing: accuracies are those on validation images");
        let config = self.data.config(Some(&graph))?.ok_or_else(missing)?;
        let data = super::open_data(&config, &graph, common)?;
        let stages = self.stages(seed)?;
        let only: Vec<Stage> = stages.iter().map(|(_, stage)| stage.clone()).collect();
        let binding = Binding::new(&only, Some((&config, &data)), seed, &device)?;
        let mut pipeline = Pipeline::new(&device, Some(data), seed);
        pipeline.files.insert(self.model.display().to_string(), graph.clone());
        for folder in ["networks", "plans"] {
            let folder = self.out.join(folder);
            std::fs::create_dir_all(&folder).map_err(|e| Error::file(&folder, e))?;
        }
        let path = self.out.join("explore.json");
        let found = if self.force { None } else { State::read(&path, &binding)? };
        let mut state = match found {
            Some(state) => state,
            None => State {
                binding,
                before: pipeline.measure("before", &graph, &self.model)?.brief(),
                tried: Vec::new(),
            },
        };
        signals::listen()?;
        self.try_all(&stages, &mut state, &mut pipeline)?;
        self.compare(&graph, &mut state, &pipeline)?;
        pipeline.report_skipped();
        self.write(&state)?;
        let rows = state.rows();
        let front = on_front(&rows);
        let best: Vec<Row> =
            rows.into_iter().zip(front).filter_map(|(row, front)| front.then_some(row)).collect();
        let written = self.out.display();
        common
            .print(&Report::brief(&best), || format!("the front:\n{}wrote {written}/front.svg", short(&best)))
    }

    fn check(&self) -> Result<()> {
        number::single("--learning-rate", self.learning_rate, Range::AboveZero)?;
        match self.shares.iter().find(|share| !(**share > 0.0 && **share < 1.0)) {
            Some(share) => {
                Err(Error::invalid(format!("--shares: expected numbers in (0, 1), found {share}")))
            }
            None => Ok(()),
        }
    }

    /// The candidates and their stages.
    fn stages(&self, seed: u64) -> Result<Vec<(Candidate, Stage)>> {
        let train: Option<TrainConfig> = match self.epochs {
            0 => None,
            epochs => {
                let text = format!("epochs = {epochs}\nlearning_rate = {:e}", self.learning_rate);
                Some(toml::from_str(&text).map_err(|e| Error::invalid(format!("--learning-rate: {e}")))?)
            }
        };
        let from = Some(self.model.display().to_string());
        let stage = |candidate: Candidate| {
            let plan = self.out.join("plans").join(format!("{}.toml", candidate.name()));
            let stage = candidate.stage(self.by, train.clone(), seed, &plan)?;
            Ok((candidate, Stage { from: from.clone(), ..stage }))
        };
        candidates(&self.criteria, &self.shares, self.by).into_iter().map(stage).collect()
    }

    /// Tries the candidates that `state` does not have yet, while there is time.
    fn try_all(
        &self,
        stages: &[(Candidate, Stage)],
        state: &mut State,
        pipeline: &mut Pipeline,
    ) -> Result<()> {
        let budget = self.budget.as_secs_f64();
        for (number, (candidate, stage)) in stages.iter().enumerate() {
            let name = candidate.name();
            if state.tried.iter().any(|tried| tried.name == name) {
                continue;
            }
            signals::check()?;
            let (spent, longest) = (state.seconds(), state.longest());
            if spent + longest > budget {
                let all = stages.len();
                note(format_args!(
                    "{} of {all} candidates tried; the time of {budget:.0} s is spent",
                    state.tried.len()
                ));
                break;
            }
            note(format_args!(
                "{} of {}: {name}, after {spent:.0} of {budget:.0} s",
                number + 1,
                stages.len()
            ));
            let begin = Instant::now();
            let outcome = match pipeline.stage(stage, &self.network(&name)) {
                Ok(outcome) => Ok(outcome.row.brief()),
                Err(Error::Stopped) => return Err(Error::Stopped),
                Err(error) => {
                    note(format_args!("{name}: {error}"));
                    Err(error.to_string())
                }
            };
            let plan = format!("plans/{name}.toml");
            state.tried.push(Tried {
                plan: self.out.join(&plan).exists().then_some(plan),
                technique: candidate.technique().to_string(),
                outcome,
                seconds: begin.elapsed().as_secs_f64(),
                name,
            });
            self.write(state)?;
        }
        Ok(())
    }

    fn network(&self, name: &str) -> PathBuf {
        self.out.join("networks").join(format!("{name}.safetensors"))
    }

    /// Measures the latencies of all networks in turn: those of single candidates are minutes apart.
    fn compare(&self, graph: &Graph, state: &mut State, pipeline: &Pipeline) -> Result<()> {
        let mut graphs = vec![graph.clone()];
        let mut rows = state.rows();
        for row in &rows[1..] {
            graphs.push(file::load(self.network(&row.stage))?);
        }
        pipeline.compare(&mut rows, &graphs.iter().collect::<Vec<_>>(), ROUNDS);
        let mut rows = rows.into_iter();
        state.before = rows.next().unwrap_or_default();
        let outcomes = state.tried.iter_mut().map(|tried| &mut tried.outcome);
        outcomes.filter_map(|outcome| outcome.as_mut().ok()).zip(rows).for_each(|(row, timed)| *row = timed);
        Ok(())
    }

    /// Writes the state, the table and the picture.
    fn write(&self, state: &State) -> Result<()> {
        let at = |name: &str| -> PathBuf { Path::new(&self.out).join(name) };
        state.write(&at("explore.json"))?;
        put_csv(&at("front.csv"), |w| table(state).iter().try_for_each(|line| w.serialize(line)))?;
        put(&at("front.svg"), page::picture("Accuracy against latency", &state.rows()).as_bytes())
    }
}
