//! The commands, one file each. Those that turn one network into another share `step`.

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
use clap::builder::{PathBufValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use lopper_engine::{Device, Error, Graph, Result, file, memory, number};
use lopper_kernels::cuda::{Cuda, CudaError, cache};
use lopper_kernels::params::Dtype;
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

/// A parser that accepts the names of these types, with a line of help for each.
fn dtypes(accepted: &'static [(Dtype, &'static str)]) -> impl TypedValueParser<Value = Dtype> {
    let value = |(dtype, help): &(Dtype, &'static str)| {
        let value = PossibleValue::new(dtype.name());
        if help.is_empty() { value } else { value.help(*help) }
    };
    PossibleValuesParser::new(accepted.iter().map(value)).try_map(|name| name.parse::<Dtype>())
}

/// The precisions of matrix products on the command line.
const PRECISIONS: [(Dtype, &str); 4] = [
    (Dtype::F32, "Single precision"),
    (Dtype::Tf32, "Single precision in memory, rounded to ten mantissa bits for tensor cores"),
    (Dtype::Bf16, "16-bit activations with the range of f32; weights stay in f32"),
    (
        Dtype::F16,
        "16-bit activations with more mantissa bits than bf16; weights stay in f32, and the loss is scaled",
    ),
];

/// The types of linear layers' weights on the command line.
const LINEAR_WEIGHTS: [(Dtype, &str); 2] = [(Dtype::F32, ""), (Dtype::Bf16, "")];

/// Options that all commands share.
#[derive(Args, Clone)]
pub struct Common {
    /// Device: cpu, cuda (the first GPU), cuda:1 (the second) and so on, or cuda-on-cpu, which runs the CUDA kernels on
    /// the CPU, slowly, to check them
    #[arg(long, global = true, default_value = "cpu")]
    device: String,
    /// Precision of matrix products on a GPU
    #[arg(long, global = true, default_value = "f32", value_parser = dtypes(&PRECISIONS))]
    precision: Dtype,
    /// Seed of weights, augmentation and dropout [default: the recipe's, or 0]
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// Threads [default: one per core]
    #[arg(long, global = true)]
    threads: Option<usize>,
    /// Memory limit, such as 4GB or 512MiB [default: what is available on the machine or in its control group]
    #[arg(long, global = true, value_name = "SIZE", value_parser = memory_size)]
    max_memory: Option<u64>,
    /// Compute convolutions directly, so that each output depends only on the pixels in its window, and refuse images
    /// that are not finite
    #[arg(long, global = true)]
    strict: bool,
    /// Print one JSON object on standard output
    #[arg(long, global = true)]
    json: bool,
}

impl Common {
    fn device(&self) -> Result<Device> {
        let mut device = Device::open(&self.device, self.threads)?.with_precision(self.precision)?;
        if self.strict {
            device = device.strict()?;
        }
        if let Device::Cuda(gpu) = &device {
            compile(gpu)?;
        }
        Ok(device)
    }

    /// Prints `value` as JSON with `--json`, otherwise the result of `text`.
    fn print(&self, value: &impl serde::Serialize, text: impl FnOnce() -> String) -> Result<()> {
        use std::io::Write;
        let json = || serde_json::to_string(value).map_err(|e| Error::invalid(format!("printing JSON: {e}")));
        let mut shown = if self.json { json()? } else { text() };
        if !shown.ends_with('\n') {
            shown.push('\n');
        }
        let mut stdout = std::io::stdout();
        match stdout.write_all(shown.as_bytes()).and_then(|()| stdout.flush()) {
            // A reader that closes the pipe early (`| head`) is not a failure.
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::file("standard output", e)),
            _ => Ok(()),
        }
    }
}

/// Compiles the kernels for `gpu` and prints a note if that takes time. A kernel that does not compile is an error only
/// when it is used.
fn compile(gpu: &Cuda) -> Result<()> {
    let said = Once::new();
    let say = || {
        let folder = cache::folder();
        note(format!(
            "compiling CUDA kernels for {} once; they are kept in {}",
            gpu.arch(),
            folder.display()
        ));
    };
    match gpu.compile_all(|| said.call_once(say)) {
        Ok(()) | Err(CudaError::Compile { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole walkthrough on built-in images
    Demo(demo::Demo),
    /// Run a walkthrough on your own recipe and images
    Run(run::Run),
    /// Train a network from scratch, or train an existing one further
    Train(train::Train),
    /// Train a network to imitate a teacher
    Distill(distill::Distill),
    /// Set weights to zero, during training or at once with --epochs 0
    Sparsify(sparsify::Sparsify),
    /// Remove channels, then fine-tune with --epochs
    Prune(prune::Prune),
    /// Fold batch norms into the convolutions and linear layers around them
    Fold(fold::Fold),
    /// Split linear layers in two by singular value decomposition, then fine-tune with --epochs
    Factorize(factorize::Factorize),
    /// Compute only live channels, keeping every outer width
    Compact(compact::Compact),
    /// Measure the accuracy on validation images, with its 95 % interval
    Eval(eval::Eval),
    /// List layers, shapes, parameters, multiply-accumulates and bytes
    Summary(summary::Summary),
    /// Measure the latency of the inference plan
    Bench(bench::Bench),
    /// Find the largest logit difference of two networks, and the layer where it starts
    Diff(diff::Diff),
    /// Check a GPU: every kernel against the CPU, the demo and the benchmarks, in one report
    Selftest(selftest::Selftest),
    /// Write the weights with torchvision's names and layouts
    Export(weights::Export),
    /// Read weights with torchvision's names and layouts into an architecture
    Import(weights::Import),
}

impl Cli {
    /// Runs the command.
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

/// Data set and data loading options.
#[derive(Args)]
pub struct DataArgs {
    /// `fashion-mnist` (built in), or a directory with train/<class>/* and val/<class>/*, or with MNIST's IDX files
    #[arg(long)]
    data: Option<PathBuf>,
    /// Side of the square images in pixels [default: the network's, else 32 built in, 128 from a directory]
    #[arg(long, value_parser = image_side)]
    size: Option<usize>,
    /// Images per batch
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Images per class [default: all]
    #[arg(long)]
    limit: Option<usize>,
    /// Percentage of wrong labels: selects the column of Imagenette's noisy_imagenette.csv to learn from
    #[arg(long)]
    label_noise: Option<u32>,
    /// Skip images that cannot be decoded instead of stopping
    #[arg(long)]
    skip_bad_images: bool,
}

impl DataArgs {
    /// Returns the configuration of the data set, at the image size of `network` unless another is given.
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

/// The type of linear layers' weights in memory.
#[derive(Args)]
pub struct LinearWeights {
    /// Storage of the weights of linear layers: f32, or bf16, which rounds them to half the bytes
    #[arg(long, value_name = "STORAGE", default_value = "f32", value_parser = dtypes(&LINEAR_WEIGHTS))]
    linear_weights: Dtype,
}

/// Returns the kind of data set: built-in `fashion-mnist`, or the kind that a directory's files indicate.
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

/// Parser of `--classes`. The bound prevents a typo from requesting terabytes.
fn classes() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=65_536)
}

/// Returns whether `name` refers to a model file rather than an architecture.
fn is_file(name: &str) -> bool {
    Path::new(name).exists() || name.ends_with(".safetensors")
}

/// Opens the network `name`: a model file, or an architecture at `size` pixels with `classes` classes (10 by default)
/// and weights drawn from `seed`.
fn open_network(name: &str, classes: Option<u32>, size: usize, seed: Option<u64>) -> Result<Graph> {
    if is_file(name) {
        return match classes {
            None => file::load(name),
            Some(_) => Err(Error::file(
                name,
                "--classes applies to architectures only; a model file has its own classes",
            )),
        };
    }
    let classes = lopper_models::numbered_classes(classes.unwrap_or(10) as usize);
    lopper_models::build(
        name,
        &lopper_models::Options { seed, ..lopper_models::Options::new(classes, [size, size, 3]) },
    )
}

/// Opens `config` for `graph`, with the normalization of the graph's images. The classes must match.
fn open_data(config: &DataConfig, graph: &Graph, common: &Common) -> Result<Splits> {
    let mut config = config.clone();
    let channels = |values: &[f32]| <[f32; 3]>::try_from(values).ok();
    config.mean = channels(&graph.info.mean).or(config.mean);
    config.std = channels(&graph.info.std).or(config.std);
    let splits = lopper_models::data::open(&config, None, common.seed.unwrap_or(0))?;
    check_images(graph, &splits)?;
    Ok(splits)
}

/// Parser of `--out` for safetensors files: rejects a name with the extension of another format.
fn safetensors_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path.extension() {
        Some(extension) if !extension.eq_ignore_ascii_case("safetensors") => Err(format!(
            "expected a name that ends in .safetensors, the only format that is written; found .{}",
            extension.display()
        )),
        _ => Ok(path),
    })
}

/// Parses the side of an image in pixels.
fn image_side(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(side) if (1..=16_384).contains(&side) => Ok(side),
        _ => Err("expected a number of pixels, 1 to 16384".into()),
    }
}

/// Parses a number of bytes.
fn memory_size(text: &str) -> std::result::Result<u64, String> {
    memory::parse(text).map_err(|e| e.to_string())
}

/// Parses a single-precision number.
fn single(text: &str) -> std::result::Result<f32, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number")?;
    number::narrowed(value).map_err(|note| format!("the number {note}"))
}

/// Parses a tolerance.
fn tolerance(text: &str) -> std::result::Result<f32, String> {
    match single(text)? {
        value if value >= 0.0 => Ok(value),
        _ => Err("expected a number of at least 0".into()),
    }
}
