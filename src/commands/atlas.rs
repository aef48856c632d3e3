//! `lopper atlas`.

use super::{Common, open_network};
use crate::clock::utc;
use crate::output_file::refuse_existing;
use crate::progress::note;
use crate::signals;
use clap::Args;
use lopper::atlas::{self, Crossover, Layer, Limits, Progress, Row, Sweep, Table, Way};
use lopper_engine::{Device, Error, Result, atomic, memory};
use lopper_kernels::params::Dtype;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Measure each way of being sparse against the best dense kernel, by layer, batch, threads and sparsity.
#[derive(Args)]
pub struct Atlas {
    /// Architectures or model files, whose layers are measured with random weights and zeros
    networks: Vec<String>,
    /// A layer by shape, INPUTSxFILTERS@SIDE:KERNEL[/STRIDE][gGROUPS] such as 128x128@16:3, or INPUTSxOUTPUTS for a
    /// linear layer; may be repeated
    #[arg(long = "layer", value_name = "SHAPE")]
    layers: Vec<Layer>,
    /// Side of the square images of the networks in pixels [default: the model's, or 128]
    #[arg(long, value_parser = super::image_side)]
    size: Option<usize>,
    /// Batch sizes
    #[arg(long, value_delimiter = ',', default_value = "1,16", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Vec<u16>,
    /// Numbers of threads on the CPU [default: --threads, or one, and one per core]
    #[arg(long, value_delimiter = ',', value_name = "N", conflicts_with = "threads")]
    thread_counts: Vec<usize>,
    /// Shares of zero weights, in percent
    #[arg(long, value_delimiter = ',', value_name = "PERCENT", default_value = "0,25,50,60,70,80,90,95,98",
        value_parser = clap::value_parser!(u32).range(..100))]
    sparsity: Vec<u32>,
    #[arg(long, value_delimiter = ',', value_name = "WAY",
        help = format!("Only these ways, besides the dense ones: {}", Way::names()))]
    ways: Vec<Way>,
    /// Seconds for each way of each cell, over five rounds
    #[arg(long, default_value_t = 0.1)]
    seconds: f64,
    /// Time for the whole sweep, such as 90s, 10m or 2h, which shortens --seconds; every way still runs ten times
    #[arg(long, value_parser = budget)]
    budget: Option<Duration>,
    /// Directory for atlas.csv, crossovers.md and atlas.html
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    /// Overwrite these files if they exist
    #[arg(long)]
    force: bool,
    /// Go on with a sweep that was interrupted: the cells that atlas.csv has are not measured again
    #[arg(long, requires = "out", conflicts_with = "force")]
    resume: bool,
}

#[derive(Serialize)]
struct Output<'a> {
    rows: &'a [Row],
    crossovers: &'a [Crossover],
}

/// Shortest time between two writes of the rows so far.
const BETWEEN_WRITES: Duration = Duration::from_secs(5);

/// What must not change between the parts of a sweep, in the header of the result file.
const BINDING: [&str; 5] = ["lopper", "cpu", "cores", "isa", "command"];

/// The files of an atlas, in the order in which they are written.
const FILES: [&str; 3] = ["atlas.csv", "crossovers.md", "atlas.html"];

impl Atlas {
    pub fn run(&self, common: &Common) -> Result<()> {
        let sweep = self.sweep()?;
        let devices = self.devices(common)?;
        if let Some(directory) = &self.out {
            self.claim(directory)?;
        }
        let head = self.head(&devices[0]);
        let known = self.earlier(&head)?;
        signals::listen()?;
        let (begin, mut first, mut written) = (Instant::now(), None, Instant::now());
        let rows = sweep.run(&devices, known, |progress| {
            if let Err(error) = signals::check() {
                return self.keep(&head, progress).and(Err(error));
            }
            if written.elapsed() >= BETWEEN_WRITES {
                self.save(&head, progress)?;
                written = Instant::now();
            }
            note(line(progress, *first.get_or_insert(progress.cell), begin.elapsed()));
            Ok(())
        })?;
        let crossovers = atlas::crossovers(&rows);
        if let Some(directory) = &self.out {
            write(directory, &head, &rows, &crossovers)?;
        }
        common.print(&Output { rows: &rows, crossovers: &crossovers }, || text(&crossovers))
    }

    fn sweep(&self) -> Result<Sweep> {
        let mut layers = Vec::new();
        for name in &self.networks {
            let graph = open_network(name, None, self.size.unwrap_or(128), None)?;
            let [h, w, _] = graph.info.input;
            let name = Path::new(name).file_stem().map_or(name.clone(), |stem| stem.to_string_lossy().into());
            layers.extend(atlas::of_graph(&name, &graph, self.size.map_or([h, w], |side| [side; 2]))?);
        }
        // A layer may be in several networks.
        let mut distinct: Vec<Layer> = Vec::new();
        for layer in layers.into_iter().chain(self.layers.iter().cloned()) {
            if distinct.iter().all(|known| known.operation != layer.operation) {
                distinct.push(layer);
            }
        }
        if distinct.is_empty() {
            return Err(Error::invalid("atlas: expected a network or --layer, found no layer to measure"));
        }
        let way = Duration::try_from_secs_f64(self.seconds).map_err(|e| {
            Error::invalid(format!("--seconds: expected at least 0, found {}: {e}", self.seconds))
        })?;
        let mut sparsities = self.sparsity.clone();
        sparsities.sort_unstable();
        sparsities.dedup();
        Ok(Sweep {
            layers: distinct,
            batches: self.batch.iter().map(|&batch| batch.into()).collect(),
            sparsities,
            ways: if self.ways.is_empty() { Way::SPARSE.to_vec() } else { self.ways.clone() },
            limits: Limits { rounds: 5, way, total: self.budget },
        })
    }

    fn devices(&self, common: &Common) -> Result<Vec<Device>> {
        if common.precision != Dtype::F32 {
            return Err(Error::invalid(format!(
                "--precision {}: the atlas compares kernels in f32",
                common.precision
            )));
        }
        let device = common.device()?;
        match &device {
            Device::Cuda(_) if !self.thread_counts.is_empty() => {
                Err(Error::invalid("--thread-counts: applies to the CPU only"))
            }
            Device::Cuda(_) => Ok(vec![device]),
            Device::Cpu(_) if common.threads.is_some() => Ok(vec![device]),
            Device::Cpu(cpu) => {
                let mut counts = self.thread_counts.clone();
                if counts.is_empty() {
                    counts = vec![1, cpu.thread_count()];
                }
                counts.sort_unstable();
                counts.dedup();
                let open = |count| Ok(Device::Cpu(Device::open_cpu(Some(count))?));
                let strict = |device: Result<Device>| if common.strict { device?.strict() } else { device };
                counts.into_iter().map(open).map(strict).collect()
            }
        }
    }

    /// Checks that the files can be written later.
    fn claim(&self, directory: &Path) -> Result<()> {
        if !directory.exists() {
            std::fs::create_dir(directory)
                .map_err(|e| Error::file(directory, format!("cannot be created: {e}")))?;
        }
        FILES.map(|name| directory.join(name)).iter().try_for_each(|path| {
            atomic::check(path)?;
            refuse_existing(path, self.force || self.resume)
        })
    }

    /// The rows of an earlier call, if there are any and they were measured under the same conditions.
    fn earlier(&self, head: &[(String, String)]) -> Result<Vec<Row>> {
        let path = match &self.out {
            Some(directory) if self.resume => directory.join(FILES[0]),
            _ => return Ok(Vec::new()),
        };
        if !path.exists() {
            return Ok(Vec::new());
        }
        let (found, rows) = atlas::read(&path)?;
        let value = |head: &[(String, String)], name: &str| {
            head.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        };
        match BINDING.iter().find(|name| value(&found, name) != value(head, name)) {
            Some(name) => Err(Error::file(
                &path,
                format!(
                    "was measured under other conditions: its {name} is {}, not {}; --force starts over",
                    value(&found, name).unwrap_or_else(|| "unknown".into()),
                    value(head, name).unwrap_or_default()
                ),
            )),
            None => Ok(rows),
        }
    }

    /// Writes the rows so far, which `--resume` goes on from.
    fn save(&self, head: &[(String, String)], progress: &Progress) -> Result<()> {
        let Some(directory) = &self.out else { return Ok(()) };
        let state = format!("{} of {} cells", progress.cell, progress.cells);
        let head = [head, &[("incomplete".to_string(), state)]].concat();
        atlas::write(&directory.join(FILES[0]), &head, progress.rows)
    }

    /// Keeps the rows of an interrupted sweep and says where they are.
    fn keep(&self, head: &[(String, String)], progress: &Progress) -> Result<()> {
        self.save(head, progress)?;
        let Progress { cell, cells, .. } = progress;
        match &self.out {
            Some(directory) => note(format_args!(
                "the atlas is incomplete: {cell} of {cells} cells are in {}; --resume measures the others",
                directory.join(FILES[0]).display()
            )),
            None => note("the atlas is incomplete: nothing is written without --out"),
        }
        Ok(())
    }

    fn head(&self, device: &Device) -> Vec<(String, String)> {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let isa = match device {
            Device::Cpu(cpu) => cpu.isa().to_string(),
            Device::Cuda(_) => device.hardware(),
        };
        // A name that is not UTF-8 is written with replacement characters.
        let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
        let command: Vec<String> = arguments.filter(|word| word != "--force" && word != "--resume").collect();
        let pairs = [
            ("date", utc()),
            ("lopper", env!("CARGO_PKG_VERSION").into()),
            ("cpu", atlas::cpu_model()),
            ("cores", cores.to_string()),
            ("isa", isa),
            ("command", format!("lopper {}", command.join(" "))),
        ];
        pairs.map(|(key, value)| (key.to_string(), value)).to_vec()
    }
}

/// Writes the three files, each whole or not at all.
fn write(directory: &Path, head: &[(String, String)], rows: &[Row], crossovers: &[Crossover]) -> Result<()> {
    let [csv, markdown, html] = FILES.map(|name| directory.join(name));
    let page = atlas::page("Atlas of sparse kernels", head, rows);
    memory::require("the atlas: its files", page.len() as u64)?;
    atlas::write(&csv, head, rows)?;
    atomic::write(&markdown, |file| file.write_all(atlas::markdown(crossovers).as_bytes()))?;
    atomic::write(&html, |file| file.write_all(page.as_bytes()))?;
    note(format_args!("wrote {}, {} and {}", csv.display(), markdown.display(), html.display()));
    Ok(())
}

/// The line before a cell; the first cell that was measured is number `first`.
fn line(progress: &Progress, first: usize, elapsed: Duration) -> String {
    let Progress { cell, cells, what, .. } = progress;
    let left = match (*cell - first) as u32 {
        0 => String::new(),
        done => {
            let left = elapsed / done * (*cells - cell) as u32;
            format!(", about {} min left", left.as_secs().div_ceil(60))
        }
    };
    format!("{}/{cells}: {what}{left}", cell + 1)
}

fn text(crossovers: &[Crossover]) -> String {
    let tables: Vec<String> = Table::of_crossovers(crossovers).iter().map(Table::text).collect();
    format!("{}\n\n{}", atlas::LEGEND, tables.join("\n"))
}

/// Parses a time such as `90s`, `10m` or `2h`.
pub(super) fn budget(text: &str) -> std::result::Result<Duration, String> {
    let unit = |end: char| match end {
        's' => Some(1.0),
        'm' => Some(60.0),
        'h' => Some(3600.0),
        _ => None,
    };
    let parsed = text.char_indices().last().and_then(|(at, end)| {
        let seconds = text[..at].parse::<f64>().ok()? * unit(end)?;
        (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).ok())?
    });
    parsed.ok_or_else(|| "expected a number above 0 with a unit, such as 90s, 10m or 2h".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_have_units() {
        assert_eq!(budget("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(budget("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(budget("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "s", "10", "-1m", "0s", "1e99h", "NaNm", "5µ", "1 d"] {
            assert!(budget(wrong).is_err(), "{wrong}");
        }
    }
}
