//! Architectures by name. Each is a body, which outputs an image, and a classifier on top of it.

mod cifar_resnet;
mod head;
mod resnet;
mod small_net;
mod student_net;
mod vgg;

use crate::builder::Builder;
use cifar_resnet::CifarResNet;
use lopper_engine::{Error, Graph, Result};
use resnet::ResNet;
use serde::{Deserialize, Serialize};
use vgg::Vgg;

pub use head::freeze_body;

/// Options for building a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Name of each class.
    pub classes: Vec<String>,
    /// Width multiplier: every layer has `⌊width · channels⌋` channels, at least 1.
    pub width: f64,
    /// `[H, W, C]` of the images.
    pub input: [usize; 3],
    /// Seed of the initial weights. With `None` they are zero, which saves time if they are only counted or
    /// overwritten.
    pub seed: Option<u64>,
    /// Classifier on top of the body.
    pub head: Head,
}

/// Classifier on top of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// The architecture's own classifier.
    #[default]
    Own,
    /// fastai's head: mean and maximum over the image, then two linear layers with batch norm and dropout.
    Fastai,
}

impl Options {
    /// Creates options with full width, seed 0 and the architecture's own classifier, for `classes` and images of
    /// `[H, W, C]`.
    pub fn new(classes: Vec<String>, input: [usize; 3]) -> Self {
        Self { classes, width: 1.0, input, seed: Some(0), head: Head::Own }
    }

    /// Scales a channel count of the paper by the width multiplier.
    fn scaled(&self, channels: usize) -> usize {
        ((channels as f64 * self.width) as usize).max(1)
    }

    fn check(&self) -> Result<()> {
        // The bound exceeds any published multiplier, and keeps a typo from requesting terabytes.
        if !(self.width > 0.0 && self.width <= 16.0) {
            return Err(Error::invalid(format!(
                "width: expected a multiplier above 0, at most 16, found {}",
                self.width
            )));
        }
        if self.classes.is_empty() {
            return Err(Error::invalid("classes: expected at least one"));
        }
        if self.input.contains(&0) {
            return Err(Error::invalid(format!("input: expected [H, W, C] above 0, found {:?}", self.input)));
        }
        Ok(())
    }
}

impl Default for Options {
    /// Creates options for ten numbered classes and color images of 224×224 pixels.
    fn default() -> Self {
        Self::new(numbered_classes(10), [224, 224, 3])
    }
}

/// Returns names for `count` unnamed classes: `0`, `1`, ….
pub fn numbered_classes(count: usize) -> Vec<String> {
    (0..count).map(|class| class.to_string()).collect()
}

#[derive(Clone, Copy, Debug)]
enum Architecture {
    Vgg(Vgg),
    ResNet(ResNet),
    CifarResNet(CifarResNet),
    StudentNet,
    SmallNet,
}

use Architecture as A;

const ARCHITECTURES: &[(&str, Architecture)] = &[
    ("vgg11", A::Vgg(Vgg::vgg11(false))),
    ("vgg11_bn", A::Vgg(Vgg::vgg11(true))),
    ("vgg13", A::Vgg(Vgg::vgg13(false))),
    ("vgg13_bn", A::Vgg(Vgg::vgg13(true))),
    ("vgg16", A::Vgg(Vgg::vgg16(false))),
    ("vgg16_bn", A::Vgg(Vgg::vgg16(true))),
    ("vgg19", A::Vgg(Vgg::vgg19(false))),
    ("vgg19_bn", A::Vgg(Vgg::vgg19(true))),
    ("resnet18", A::ResNet(ResNet::basic(&[2, 2, 2, 2]))),
    ("resnet34", A::ResNet(ResNet::basic(&[3, 4, 6, 3]))),
    ("resnet50", A::ResNet(ResNet::bottleneck(&[3, 4, 6, 3]))),
    ("resnet101", A::ResNet(ResNet::bottleneck(&[3, 4, 23, 3]))),
    ("resnet152", A::ResNet(ResNet::bottleneck(&[3, 8, 36, 3]))),
    ("cifar_resnet20", A::CifarResNet(CifarResNet { blocks: 3 })),
    ("cifar_resnet32", A::CifarResNet(CifarResNet { blocks: 5 })),
    ("cifar_resnet44", A::CifarResNet(CifarResNet { blocks: 7 })),
    ("cifar_resnet56", A::CifarResNet(CifarResNet { blocks: 9 })),
    ("cifar_resnet110", A::CifarResNet(CifarResNet { blocks: 18 })),
    ("student_net", A::StudentNet),
    ("small_net", A::SmallNet),
    ("vgg8_bn", A::Vgg(Vgg::vgg8_bn())),
    ("resnet8", A::ResNet(ResNet::resnet8())),
];

/// Returns the name of every architecture that [`build`] supports.
pub fn names() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|&(name, _)| name)
}

/// Builds the architecture `name` with initial weights. Image channels are not normalized (mean 0, deviation 1 in
/// [`Graph::info`]) until the caller sets the statistics of the data. Returns an error if the name is unknown, an
/// option is out of range, or the image is too small for the layers that halve it.
pub fn build(name: &str, options: &Options) -> Result<Graph> {
    options.check()?;
    let architecture = find(name)?;
    let mut net = Builder::new(options.input, options.seed);
    architecture.body(&mut net, options);
    match options.head {
        Head::Own => architecture.classifier(&mut net, options),
        Head::Fastai => head::fastai(&mut net, options),
    }
    let mut graph = net.finish()?;
    let channels = options.input[2];
    graph.info = lopper_engine::Info {
        arch: name.into(),
        input: options.input,
        classes: options.classes.clone(),
        mean: vec![0.0; channels],
        std: vec![1.0; channels],
    };
    Ok(graph)
}

fn find(name: &str) -> Result<Architecture> {
    if let Some((_, found)) = ARCHITECTURES.iter().find(|(known, _)| *known == name) {
        return Ok(*found);
    }
    let mut near: Vec<&str> = names().collect();
    near.sort_by_key(|known| strsim::damerau_levenshtein(known, name));
    near.truncate(3);
    Err(Error::invalid(format!("unknown architecture `{name}`: did you mean {}?", near.join(", "))))
}

impl Architecture {
    fn body(&self, net: &mut Builder, options: &Options) {
        match self {
            Self::Vgg(vgg) => vgg.body(net, options),
            Self::ResNet(resnet) => resnet.body(net, options),
            Self::CifarResNet(resnet) => resnet.body(net, options),
            Self::StudentNet => student_net::body(net, options),
            Self::SmallNet => small_net::body(net, options),
        }
    }

    fn classifier(&self, net: &mut Builder, options: &Options) {
        match self {
            Self::Vgg(vgg) => vgg.classifier(net, options),
            Self::ResNet(resnet) => resnet.classifier(net, options),
            Self::CifarResNet(resnet) => resnet.classifier(net, options),
            Self::StudentNet => student_net::classifier(net, options),
            Self::SmallNet => small_net::classifier(net, options),
        }
    }
}
