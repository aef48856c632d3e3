//! Parsers of option values.

use clap::Args;
use clap::builder::{PathBufValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use lopper_engine::{memory, number};
use lopper_kernels::params::Dtype;
use std::path::PathBuf;

/// A parser that accepts the names of these types, with a line of help for each.
pub(super) fn dtypes(accepted: &'static [(Dtype, &'static str)]) -> impl TypedValueParser<Value = Dtype> {
    let value = |(dtype, help): &(Dtype, &'static str)| {
        let value = PossibleValue::new(dtype.name());
        if help.is_empty() { value } else { value.help(*help) }
    };
    PossibleValuesParser::new(accepted.iter().map(value)).try_map(|name| name.parse::<Dtype>())
}

/// The precisions of matrix products on the command line.
pub(super) const PRECISIONS: [(Dtype, &str); 4] = [
    (Dtype::F32, "Single precision"),
    (Dtype::Tf32, "Single precision in memory, rounded to ten mantissa bits for tensor cores"),
    (Dtype::Bf16, "16-bit activations with the range of f32; weights stay in f32"),
    (
        Dtype::F16,
        "16-bit activations with more mantissa bits than bf16; weights stay in f32, and the loss is scaled",
    ),
];

/// The types of linear layers' weights on the command line.
pub(super) const LINEAR_WEIGHTS: [(Dtype, &str); 2] = [(Dtype::F32, ""), (Dtype::Bf16, "")];

/// The type of linear layers' weights in memory.
#[derive(Args)]
pub struct LinearWeights {
    /// Storage of the weights of linear layers: f32, or bf16, which rounds them to half the bytes
    #[arg(long, value_name = "STORAGE", default_value = "f32", value_parser = dtypes(&LINEAR_WEIGHTS))]
    pub(super) linear_weights: Dtype,
}

/// Parser of `--classes`. The bound prevents a typo from requesting terabytes.
pub(super) fn classes() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=65_536)
}

/// Parser of `--out` for safetensors files: rejects a name with the extension of another format.
pub(super) fn safetensors_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path.extension() {
        Some(extension) if !extension.eq_ignore_ascii_case("safetensors") => Err(format!(
            "expected a name that ends in .safetensors, the only format that is written; found .{}",
            extension.display()
        )),
        _ => Ok(path),
    })
}

/// Parses the side of an image in pixels.
pub(super) fn image_side(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(side) if (1..=16_384).contains(&side) => Ok(side),
        _ => Err("expected a number of pixels, 1 to 16384".into()),
    }
}

/// Parses a number of bytes.
pub(super) fn memory_size(text: &str) -> Result<u64, String> {
    memory::parse(text).map_err(|e| e.to_string())
}

/// Parses a single-precision number.
pub(super) fn single(text: &str) -> Result<f32, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number")?;
    number::narrowed(value).map_err(|note| format!("the number {note}"))
}

/// Parses a share.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

/// Parses a share above 0 and up to 1, such as `2%` or `0.02`.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number.trim_end(), 100.0));
    match number.parse::<f64>().map(|value| value / scale) {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("expected a percentage above 0 and up to 100, such as 2%".into()),
    }
}

/// Lists `options` for a help text: "a, b or c".
pub(super) fn one_of(options: &[impl ToString]) -> String {
    let names: Vec<String> = options.iter().map(ToString::to_string).collect();
    match names.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => names.concat(),
    }
}

/// Parses a tolerance.
pub(super) fn tolerance(text: &str) -> Result<f32, String> {
    match single(text)? {
        value if value >= 0.0 => Ok(value),
        _ => Err("expected a number of at least 0".into()),
    }
}
