//! `lopper sensitivity MODEL --data DIR`.

use super::parsers::percent;
use super::{Common, DataArgs};
use crate::binding::computes;
use crate::digest;
use crate::images::report_skipped;
use crate::latency::test_images;
use crate::output_file::refuse_existing;
use crate::pipeline::EVIDENCE_BATCHES;
use crate::progress::note;
use crate::signals;
use crate::tables::{put, put_csv};
use crate::training::Stoppable;
use clap::Args;
use lopper::machine::{MachineClock, NetworkClock};
use lopper::page::sensitivity_page;
use lopper::sensitivity::{Cuts, Following, Options, Point, Prefix, Sensitivity, Sweep, Tally, Way};
use lopper::sensitivity::{images_for, stratified};
use lopper_compress::criteria::{Criterion, Evidence, Site};
use lopper_engine::data::Batches;
use lopper_engine::{Device, Error, Graph, Result, atomic, file, input};
use lopper_kernels::cuda::cache;
use lopper_models::data::{DataConfig, Loader};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Shortest time between two writes of the points so far.
const BETWEEN_WRITES: Duration = Duration::from_secs(1);

/// Measure what each cut costs: accuracy and estimated time as each group of channels and each layer is cut deeper.
#[derive(Args)]
pub struct MeasureCuts {
    /// A model file
    model: PathBuf,
    /// Techniques: prune, factorize, or the granularity of a sparsification, such as weight or block:4, separated by
    /// commas
    #[arg(long, value_delimiter = ',', default_value = "prune,weight,factorize")]
    ways: Vec<Way>,
    /// Fractions to cut, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "0.125,0.25,0.5,0.75", value_parser = fraction)]
    fractions: Vec<f64>,
    #[arg(long, default_value_t, help = format!("How to score what is cut: {}", Criterion::names()))]
    criterion: Criterion,
    /// Half width of the 95 % interval of an accuracy, which decides how many validation images are scored: a sample with
    /// the share of each class
    #[arg(long, value_name = "PERCENT", default_value = "2%", value_parser = percent)]
    interval: f64,
    /// With --write-plan: largest loss of accuracy of a single cut
    #[arg(long, value_name = "PERCENT", default_value = "1%", value_parser = percent)]
    tolerance: f64,
    /// Write the pruning plan that follows to this TOML file, for `lopper prune --plan` [default: none]
    #[arg(long, value_name = "FILE")]
    write_plan: Option<PathBuf>,
    /// Directory for sensitivity.html, .csv and .json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Overwrite the files if they exist
    #[arg(long)]
    force: bool,
    /// Go on with the points of an earlier call in the directory
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    #[command(flatten)]
    data: DataArgs,
}

/// The network, and the images that it is scored on.
struct Subject {
    graph: Graph,
    device: Device,
    train: Loader,
    sample: Loader,
    of_images: usize,
    binding: BTreeMap<String, String>,
}

impl MeasureCuts {
    pub fn run(&self, common: &Common) -> Result<()> {
        signals::listen()?;
        let _lock = self.claim()?;
        let subject = self.subject(common)?;
        let Subject { graph, device, .. } = &subject;
        let mut train = subject.train.clone();
        let mut evidences = |criterion: &Criterion, sites: &[Site]| match criterion.needs_data() {
            false => Ok(None),
            true => Evidence::measure(
                criterion,
                graph,
                sites,
                &mut Stoppable(&mut train),
                EVIDENCE_BATCHES,
                device,
            )
            .map(Some),
        };
        let wanted = (self.ways.as_slice(), sorted(&self.fractions));
        let seed = common.seed.unwrap_or(0);
        let cuts = Cuts::new(graph, (wanted.0, &wanted.1), &self.criterion, seed, &mut evidences)?;
        if cuts.list().is_empty() {
            return Err(Error::file(
                &self.model,
                "nothing to cut: the ways apply to no layer of this network",
            ));
        }
        let found = self.sweep(&subject, &cuts)?;
        report_skipped(&[&subject.sample]);
        self.write(&found)?;
        if let (Some(path), Some(plan)) = (&self.write_plan, &found.plan) {
            let text = toml::to_string(&plan.plan(&cuts)?).map_err(|e| Error::file(path, e))?;
            let rule = format!("# Made by lopper sensitivity: {}.\n", plan.rule());
            put(path, (rule + &text).as_bytes())?;
        }
        common.print(&found, || found.text())
    }

    /// Checks that nothing is lost, before the directory is made, and again once it is locked.
    fn claim(&self) -> Result<atomic::Lock> {
        self.refuse_existing()?;
        std::fs::create_dir_all(&self.out).map_err(|e| Error::file(&self.out, e))?;
        let busy = || Error::file(&self.out, "another command is writing here");
        let lock = atomic::lock(self.out.join(".lopper-lock"))?.ok_or_else(busy)?;
        self.refuse_existing()?;
        Ok(lock)
    }

    fn refuse_existing(&self) -> Result<()> {
        let replaces = self.force || self.resume;
        [self.file("html"), self.file("csv"), self.file("json")]
            .iter()
            .chain(&self.write_plan)
            .try_for_each(|path| refuse_existing(path, replaces))
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.out.join("sensitivity").with_extension(extension)
    }

    fn subject(&self, common: &Common) -> Result<Subject> {
        let graph = file::load(&self.model)?;
        let missing = || Error::invalid("--data is missing: prices need images");
        let config = self.data.config(Some(&graph))?.ok_or_else(missing)?;
        let device = common.device()?;
        let splits = super::open_data(&config, &graph, common)?;
        let labels = splits.val.labels();
        let sample = splits.val.only(stratified(&labels, images_for(self.interval)));
        let binding = self.binding(common, &device, &config, &sample)?;
        Ok(Subject { graph, device, train: splits.train, sample, of_images: labels.len(), binding })
    }

    /// Everything that the numbers of a point depend on, but the cut.
    fn binding(
        &self,
        common: &Common,
        device: &Device,
        config: &DataConfig,
        sample: &Loader,
    ) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::from([
            ("version of lopper".to_string(), env!("CARGO_PKG_VERSION").to_string()),
            ("device".into(), computes(device)),
            ("seed".into(), common.seed.unwrap_or(0).to_string()),
            ("model".into(), digest::of_file(&self.model)?),
            ("data options".into(), digest::of_data(config)),
            ("images".into(), digest::of_loader(sample)),
            ("criterion".into(), self.criterion.to_string()),
        ]))
    }

    /// The points of an earlier call, if there are any and they were made under the same conditions.
    fn earlier(&self, subject: &Subject) -> Result<Option<Sensitivity>> {
        let path = self.file("json");
        if !self.resume || !path.exists() {
            return Ok(None);
        }
        let text = input::read_to_string(&path)?;
        let found: Sensitivity =
            serde_json::from_str(&text).map_err(|e| Error::file(&path, format!("damaged: {e}")))?;
        let differs = |(name, value): &(&String, &String)| found.binding.get(*name) != Some(*value);
        match subject.binding.iter().find(differs) {
            Some((name, _)) => Err(Error::file(
                &path,
                format!("was made under other conditions (the {name} changed): --force starts over"),
            )),
            None => Ok(Some(found)),
        }
    }

    /// Measures all points, and writes them as they come.
    fn sweep(&self, subject: &Subject, cuts: &Cuts) -> Result<Sensitivity> {
        let Subject { graph, device, .. } = subject;
        let earlier = self.earlier(subject)?;
        let image = subject.sample.image_shape();
        let clock = match &earlier {
            Some(found) => found.clock.clone(),
            None => {
                let machine = MachineClock::new(device, Some(cache::folder()), |text| note(text));
                NetworkClock::measure(&machine, graph, image, &test_images(image.iter().product()))?
            }
        };
        let options = || Options { clock: &clock, image, device };
        let mut check = signals::check;
        let (mut sweep, uncut) = Sweep::begin(subject.prefix()?, options(), &mut check)?;
        let planned = cuts.list().iter().map(|cut| cut.fractions.len()).sum();
        let mut found = self.found(subject, earlier, uncut, (planned, clock.clone()));
        let mut written = Instant::now();
        let mut done = |found: &Sensitivity| {
            found.points.last().into_iter().for_each(|point| note(line(point, found)));
            if written.elapsed() >= BETWEEN_WRITES {
                self.write_json(found)?;
                written = Instant::now();
            }
            Ok(())
        };
        if let Err(error) = sweep.run(cuts, &mut found, &mut check, &mut done) {
            // The points so far are kept, whatever stopped the others.
            self.write(&found)?;
            return Err(error);
        }
        found.sort(cuts);
        let mut plan = Following::new(&found, self.tolerance);
        if !plan.cuts.is_empty() {
            let pruned = plan.apply(graph, cuts)?;
            let (sweep, _) = Sweep::begin(subject.prefix()?, options(), &mut check)?;
            plan.together = Some(sweep.of_network("together", &pruned, &mut check)?);
        }
        found.plan = Some(plan);
        Ok(found)
    }

    /// The points of an earlier call, or none.
    fn found(
        &self,
        subject: &Subject,
        earlier: Option<Sensitivity>,
        uncut: Tally,
        (planned, clock): (usize, NetworkClock),
    ) -> Sensitivity {
        Sensitivity {
            model: self.model.display().to_string(),
            criterion: self.criterion.to_string(),
            images: uncut.images,
            of_images: subject.of_images,
            binding: subject.binding.clone(),
            clock,
            planned,
            uncut,
            points: earlier.map(|found| found.points).unwrap_or_default(),
            plan: None,
        }
    }

    fn write_json(&self, found: &Sensitivity) -> Result<()> {
        let path = self.file("json");
        let json = serde_json::to_vec(found).map_err(|e| Error::file(&path, e))?;
        put(&path, &json)
    }

    fn write(&self, found: &Sensitivity) -> Result<()> {
        self.write_json(found)?;
        put_csv(&self.file("csv"), |w| {
            found.points.iter().try_for_each(|point| w.serialize(Line::of(point)))
        })?;
        let name = self.model.file_name().map(Path::new).unwrap_or(&self.model).display();
        put(&self.file("html"), sensitivity_page(&format!("Prices of cuts: {name}"), found).as_bytes())
    }
}

impl Subject {
    fn prefix(&self) -> Result<Prefix<'_>> {
        let mut sample = self.sample.clone();
        Prefix::new(&self.graph, Stoppable(&mut sample).epoch(0)?, &self.device)
    }
}

/// A line of the CSV file.
#[derive(Serialize)]
struct Line<'a> {
    way: &'a str,
    layers: String,
    fraction: f64,
    top1: f64,
    low: f64,
    high: f64,
    loss: f64,
    loss_low: f64,
    loss_high: f64,
    lost: u32,
    gained: u32,
    p: f64,
    images: usize,
    estimated_ms: f64,
    params: u64,
    macs: u64,
}

impl<'a> Line<'a> {
    fn of(point: &'a Point) -> Self {
        let Point { way, layers, fraction, tally, loss, loss_interval, lost, gained, p } = point;
        Self {
            way,
            layers: layers.join(" "),
            fraction: *fraction,
            top1: tally.top1,
            low: tally.interval.0,
            high: tally.interval.1,
            loss: *loss,
            loss_low: loss_interval.0,
            loss_high: loss_interval.1,
            lost: *lost,
            gained: *gained,
            p: *p,
            images: tally.images,
            estimated_ms: tally.ms,
            params: tally.params,
            macs: tally.macs,
        }
    }
}

/// A line of progress.
fn line(point: &Point, found: &Sensitivity) -> String {
    format!(
        "{:>4} of {}  {:<18} {:<28} {:>5.1} %: {:>6.2} points lost, {:.3} ms",
        found.points.len(),
        found.planned,
        point.way,
        point.layers.first().map_or("", String::as_str),
        100.0 * point.fraction,
        100.0 * point.loss,
        point.tally.ms
    )
}

/// Parses a fraction to cut.
fn fraction(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        _ => Err("expected a number above 0 and below 1".into()),
    }
}

/// The fractions in order, each once.
fn sorted(fractions: &[f64]) -> Vec<f64> {
    let mut fractions = fractions.to_vec();
    fractions.sort_by(f64::total_cmp);
    fractions.dedup();
    fractions
}
