//! The formats that networks are written in, and their options.

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use lopper_engine::onnx::{Batch, CompactForm, Images, OnnxOptions};
use lopper_engine::{Error, Result};
use std::path::{Path, PathBuf};

/// A format that a network is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Weights only, with torchvision's names and layouts
    Safetensors,
    /// The same as torch.save writes them
    Pth,
    /// The network as ONNX
    Onnx,
    /// A module of PyTorch, with its weights in a file beside it
    Pytorch,
    /// A model file of lopper
    #[value(skip)]
    Model,
}

impl Format {
    /// The formats with the endings of their files.
    const ENDINGS: [(Self, &'static str); 5] = [
        (Self::Safetensors, "safetensors"),
        (Self::Pth, "pth"),
        (Self::Pth, "pt"),
        (Self::Onnx, "onnx"),
        (Self::Pytorch, "py"),
    ];

    /// The format of the file `out`: as `given`, which its name must fit, or else as its name ends.
    pub fn of(out: &Path, given: Option<Self>) -> Result<Self> {
        let ending = out.extension().map(|ending| ending.display().to_string());
        let named = |format: Self| {
            Self::ENDINGS.iter().find(|(found, _)| *found == format).map_or("", |(_, end)| end)
        };
        let found = Self::ENDINGS
            .iter()
            .find(|(_, end)| ending.as_ref().is_some_and(|e| e.eq_ignore_ascii_case(end)));
        match (given, found, &ending) {
            (Some(given), Some((found, _)), _) if given == *found => Ok(given),
            // A module is a file of Python, whose name is imported; others may have any name without an ending.
            (Some(given), None, None) if given != Self::Pytorch => Ok(given),
            (Some(given), _, ending) => Err(Error::file(
                out,
                format!(
                    "expected a name that ends in .{} for the format {}, found {}",
                    named(given),
                    given.to_possible_value().map_or(String::new(), |value| value.get_name().to_string()),
                    ending.as_ref().map_or("no ending".into(), |ending| format!(".{ending}")),
                ),
            )),
            (None, Some((found, _)), _) => Ok(*found),
            (None, None, None) => Ok(Self::Safetensors),
            (None, None, Some(ending)) => {
                let endings: Vec<String> = Self::ENDINGS.iter().map(|(_, end)| format!(".{end}")).collect();
                let message = format!("expected a name that ends in {}, found .{ending}", endings.join(", "));
                Err(Error::file(out, message))
            }
        }
    }
}

/// Parser of a file to write, whose name must not end like that of a format that is not written.
pub(super) fn written_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| Format::of(&path, None).map(|_| path))
}

/// Whether `path` is named like an ONNX file.
pub(super) fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("onnx"))
}

/// Options of ONNX files.
#[derive(Args, Clone)]
#[command(next_help_heading = "ONNX")]
pub struct OnnxArgs {
    /// Version of ONNX's operators, 11 to 22 [default: 17]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u32).range(11..=22))]
    opset: Option<u32>,
    /// Number of images in a batch [default: any]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: Option<u32>,
    /// Let the network read bytes, [N, H, W, C], and normalize them itself
    #[arg(long)]
    bytes: bool,
    /// Write compact convolutions with all their channels and zeros, without gathering the live ones
    #[arg(long)]
    dense: bool,
    /// Write weights beside the file, as NAME.onnx.data, even if they fit into its 2 GiB
    #[arg(long)]
    external_data: bool,
}

impl OnnxArgs {
    /// Refuses options of ONNX for another `format`.
    pub fn check(&self, format: Format) -> Result<()> {
        let given = [
            (self.opset.is_some(), "--opset"),
            (self.batch.is_some(), "--batch"),
            (self.bytes, "--bytes"),
            (self.dense, "--dense"),
            (self.external_data, "--external-data"),
        ];
        match given.iter().find(|(given, _)| *given) {
            Some((_, option)) if format != Format::Onnx => {
                Err(Error::invalid(format!("{option}: applies to ONNX files only")))
            }
            _ => Ok(()),
        }
    }

    /// The options.
    pub fn options(&self) -> Result<OnnxOptions> {
        let default = OnnxOptions::default();
        let options = OnnxOptions {
            opset: self.opset.unwrap_or(default.opset),
            batch: self.batch.map_or(Batch::Any, |images| Batch::Fixed(images as usize)),
            compact: if self.dense { CompactForm::Dense } else { CompactForm::Gather },
            images: if self.bytes { Images::Bytes } else { Images::Normalized },
            external_data: self.external_data,
        };
        options.check()?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_formats_fit() {
        let of = |name: &str, given| Format::of(Path::new(name), given).map_err(|e| e.to_string());
        assert_eq!(of("a.onnx", None), Ok(Format::Onnx));
        assert_eq!(of("a.ONNX", Some(Format::Onnx)), Ok(Format::Onnx));
        assert_eq!((of("a", None), of("a", Some(Format::Onnx))), (Ok(Format::Safetensors), Ok(Format::Onnx)));
        let message = of("x.onnx", Some(Format::Safetensors)).unwrap_err();
        assert!(message.contains(".safetensors for the format safetensors, found .onnx"), "{message}");
        assert!(
            of("x", Some(Format::Pytorch))
                .unwrap_err()
                .contains(".py for the format pytorch, found no ending")
        );
        assert_eq!((of("x.pth", None), of("x.PT", Some(Format::Pth))), (Ok(Format::Pth), Ok(Format::Pth)));
        assert!(of("x.h5", None).unwrap_err().contains(".safetensors, .pth, .pt, .onnx, .py, found .h5"));
    }
}
