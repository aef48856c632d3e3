//! The commands, one file each; those that make one network from another share `step`.

mod bench;
mod compact;
mod demo;
mod diff;
mod distill;
mod eval;
mod factorize;
mod fold;
mod prune;
mod run;
mod selftest;
mod sparsify;
mod step;
mod summary;
mod train;
mod weights;

use crate::pipeline::check_images;
use crate::progress::note;
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use lopper_engine::{Device, Error, Graph, Result, file, memory, number};
use lopper_kernels::cuda::{Cuda, CudaError, cache};
use lopper_kernels::params::{self, Storage};
use lopper_models::data::{DataConfig, DataName, Splits};
use std::path::{Path, PathBuf};
use std::sync::Once;

/// Makes convolutional networks smaller and faster, and shows what each cut buys.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// [`params::Precision`] on the command line.
#[derive(Clone, Copy, Default, clap::ValueEnum)]
enum Precision {
    /// Single precision
    #[default]
    F32,
    /// Single precision in memory, rounded to ten bits of mantissa for tensor cores
    Tf32,
    /// Activations of 16 bits with the range of f32; weights are kept in f32
    Bf16,
    /// Activations of 16 bits with more digits; weights are kept in f32, and the loss is scaled
    F16,
}

impl Precision {
    fn of_products(self) -> params::Precision {
        match self {
            Self::F32 => params::Precision::F32,
            Self::Tf32 => params::Precision::Tf32,
            Self::Bf16 => params::Precision::Bf16,
            Self::F16 => params::Precision::F16,
        }
    }
}

/// Options that mean the same in every command.
#[derive(Args, Clone)]
pub struct Common {
    /// Where to compute: cpu, cuda, or cuda-on-cpu, which runs the CUDA kernels slowly on the CPU to check them
    #[arg(long, global = true, default_value = "cpu")]
    device: String,
    /// Precision of matrix products on a GPU
    #[arg(long, global = true, value_enum, default_value_t)]
    precision: Precision,
    /// Seed of weights, augmentation and dropout [default: the recipe's, or 0]
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// Threads [default: one per core]
    #[arg(long, global = true)]
    threads: Option<usize>,
    /// Memory that may be used, such as 4GB or 512MiB [default: what the machine or its control group has available]
    #[arg(long, global = true, value_name = "SIZE", value_parser = memory_size)]
    max_memory: Option<u64>,
    /// Compute convolutions directly, whose outputs depend on nothing but the pixels that they read, and refuse images that
    /// are not finite
    #[arg(long, global = true)]
    strict: bool,
    /// Print one JSON object on standard output
    #[arg(long, global = true)]
    json: bool,
}

impl Common {
    fn device(&self) -> Result<Device> {
        let mut device =
            Device::open(&self.device, self.threads)?.with_precision(self.precision.of_products())?;
        if self.strict {
            device = device.strict()?;
        }
        if let Device::Cuda(gpu) = &device {
            compile(gpu)?;
        }
        Ok(device)
    }

    /// Prints `value` as JSON where that was asked for, otherwise what `text` makes.
    fn print(&self, value: &impl serde::Serialize, text: impl FnOnce() -> String) -> Result<()> {
        use std::io::Write;
        let json = || serde_json::to_string(value).map_err(|e| Error::invalid(format!("printing JSON: {e}")));
        let mut shown = if self.json { json()? } else { text() };
        if !shown.ends_with('\n') {
            shown.push('\n');
        }
        let mut stdout = std::io::stdout();
        match stdout.write_all(shown.as_bytes()).and_then(|()| stdout.flush()) {
            // A reader that has seen enough (`| head`) is no failure.
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::file("standard output", e)),
            _ => Ok(()),
        }
    }
}

/// Compiles the kernels for `gpu`, and says so where that takes time. One that does not compile is an error of those who use
/// it.
fn compile(gpu: &Cuda) -> Result<()> {
    let said = Once::new();
    let say = || {
        let folder = cache::folder();
        note(format!("compiling CUDA kernels for {}, once; {} keeps them", gpu.arch(), folder.display()));
    };
    match gpu.compile_all(|| said.call_once(say)) {
        Ok(()) | Err(CudaError::Compile { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[derive(Subcommand)]
enum Command {
    /// The whole walkthrough, on images that are built in
    Demo(demo::Demo),
    /// A walkthrough on a recipe and images of yours
    Run(run::Run),
    /// Train a network from scratch, or an existing one further
    Train(train::Train),
    /// Train a network to imitate a teacher
    Distill(distill::Distill),
    /// Set weights to zero: while training, or at once with --epochs 0
    Sparsify(sparsify::Sparsify),
    /// Remove channels, then fine-tune with --epochs
    Prune(prune::Prune),
    /// Fold batch norms into the convolutions and linear layers around them
    Fold(fold::Fold),
    /// Split linear layers in two by singular value decomposition, then fine-tune with --epochs
    Factorize(factorize::Factorize),
    /// Compute live channels only, keeping every outer width
    Compact(compact::Compact),
    /// Accuracy on validation images, with its 95 % interval
    Eval(eval::Eval),
    /// Layers, shapes, parameters, multiply-accumulates and bytes
    Summary(summary::Summary),
    /// Latency of the inference plan
    Bench(bench::Bench),
    /// Largest difference of two networks' logits, and the layer where it starts
    Diff(diff::Diff),
    /// Check a GPU: every kernel against the CPU, the demo and the benchmarks, in one report
    Selftest(selftest::Selftest),
    /// Write the weights under torchvision's names and layouts
    Export(weights::Export),
    /// Read weights with torchvision's names and layouts into an architecture
    Import(weights::Import),
}

impl Cli {
    /// Does what was asked.
    pub fn run(&self) -> Result<()> {
        let common = &self.common;
        if let Some(bytes) = common.max_memory {
            memory::set_limit(bytes);
        }
        match &self.command {
            Command::Demo(c) => c.run(common),
            Command::Run(c) => c.run(common),
            Command::Train(c) => c.run(common),
            Command::Distill(c) => c.run(common),
            Command::Sparsify(c) => c.run(common),
            Command::Prune(c) => c.run(common),
            Command::Fold(c) => c.run(common),
            Command::Factorize(c) => c.run(common),
            Command::Compact(c) => c.run(common),
            Command::Eval(c) => c.run(common),
            Command::Summary(c) => c.run(common),
            Command::Bench(c) => c.run(common),
            Command::Diff(c) => c.run(common),
            Command::Selftest(c) => c.run(common),
            Command::Export(c) => c.run(common),
            Command::Import(c) => c.run(common),
        }
    }
}

/// Which images, and how they are served.
#[derive(Args)]
pub struct DataArgs {
    /// `fashion-mnist` (built in), or a directory with train/<class>/* and val/<class>/*, or with MNIST's IDX files
    #[arg(long)]
    data: Option<PathBuf>,
    /// Side of the square images, pixels [default: the network's, else 32 built in, 128 from a directory]
    #[arg(long, value_parser = image_side)]
    size: Option<usize>,
    /// Images in a batch
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Images of each class to use [default: all]
    #[arg(long)]
    limit: Option<usize>,
    /// Percent of wrong labels: which column of Imagenette's noisy_imagenette.csv to learn from
    #[arg(long)]
    label_noise: Option<u32>,
    /// Leave out images that cannot be decoded instead of stopping
    #[arg(long)]
    skip_bad_images: bool,
}

impl DataArgs {
    /// The data set that was asked for, served at `network`'s size where no other is given.
    fn config(&self, network: Option<&Graph>) -> Option<DataConfig> {
        let path = self.data.as_ref()?;
        let mut config = DataConfig::new(data_name(path));
        config.path = (config.name != DataName::FashionMnist).then(|| path.clone());
        config.size = self.size.or(network.map(|n| n.info.input[0]).filter(|&size| size > 0));
        config.batch = self.batch;
        config.limit = self.limit;
        config.label_noise = self.label_noise;
        config.skip_bad_images = self.skip_bad_images;
        Some(config)
    }
}

/// How linear layers' weights are stored.
#[derive(Args)]
pub struct LinearWeights {
    /// Weights of linear layers: f32, or bf16, rounded to half the bytes
    #[arg(long, value_name = "STORAGE", default_value = "f32", value_parser = ["f32", "bf16"])]
    linear_weights: String,
}

impl LinearWeights {
    fn storage(&self) -> Storage {
        if self.linear_weights == "bf16" { Storage::Bf16 } else { Storage::F32 }
    }
}

/// `fashion-mnist` is built in; a directory tells by its files what it is.
fn data_name(path: &Path) -> DataName {
    if path.as_os_str() == "fashion-mnist" {
        DataName::FashionMnist
    } else if path.join(lopper_models::data::NOISY_LABELS_FILE).exists() {
        DataName::Imagenette
    } else if ["", ".gz"].iter().any(|end| path.join(format!("train-images-idx3-ubyte{end}")).exists()) {
        DataName::Idx
    } else {
        DataName::Folder
    }
}

/// What `--classes` accepts. The bound keeps a slip of the keyboard from asking for terabytes.
fn classes() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=65_536)
}

/// Whether `name` means a model file and not an architecture.
fn is_file(name: &str) -> bool {
    Path::new(name).exists() || name.ends_with(".safetensors")
}

/// The network that `name` stands for: a model file, or an architecture with ten classes, unless `classes` says
/// otherwise, at `size` pixels. Its weights are drawn from `seed`.
fn open_network(name: &str, classes: Option<u32>, size: usize, seed: Option<u64>) -> Result<Graph> {
    if is_file(name) {
        return match classes {
            None => file::load(name),
            Some(_) => Err(Error::file(name, "--classes is for an architecture, a model file has its own")),
        };
    }
    let classes = lopper_models::numbered_classes(classes.unwrap_or(10) as usize);
    lopper_models::build(
        name,
        &lopper_models::Options { seed, ..lopper_models::Options::new(classes, [size, size, 3]) },
    )
}

/// Opens `config` for `graph`, normalised as the graph's images were; their classes must be the same.
fn open_data(config: &DataConfig, graph: &Graph, common: &Common) -> Result<Splits> {
    let mut config = config.clone();
    let channels = |values: &[f32]| <[f32; 3]>::try_from(values).ok();
    config.mean = channels(&graph.info.mean).or(config.mean);
    config.std = channels(&graph.info.std).or(config.std);
    let splits = lopper_models::data::open(&config, None, common.seed.unwrap_or(0))?;
    check_images(graph, &splits)?;
    Ok(splits)
}

/// What `--out` accepts where a safetensors file is written: a name that does not promise another format.
fn safetensors_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path.extension() {
        Some(extension) if !extension.eq_ignore_ascii_case("safetensors") => Err(format!(
            "expected a name that ends in .safetensors, the format that is written; found .{}",
            extension.display()
        )),
        _ => Ok(path),
    })
}

/// The side of an image in pixels, from the command line.
fn image_side(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(side) if (1..=16_384).contains(&side) => Ok(side),
        _ => Err("expected a number of pixels, 1 to 16384".into()),
    }
}

/// A number of bytes, from the command line.
fn memory_size(text: &str) -> std::result::Result<u64, String> {
    memory::parse(text).map_err(|e| e.to_string())
}

/// A number of single precision, from the command line.
fn single(text: &str) -> std::result::Result<f32, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number")?;
    number::narrowed(value).map_err(|note| format!("the number {note}"))
}

/// A difference that counts as none, from the command line.
fn tolerance(text: &str) -> std::result::Result<f32, String> {
    match single(text)? {
        value if value >= 0.0 => Ok(value),
        _ => Err("expected a number of at least 0".into()),
    }
}
