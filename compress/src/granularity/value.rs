//! A granularity as a value: the extent of a group along each axis of a weight.

use super::Groups;
use lopper_engine::{Error, Layer, Result};
use serde::{Serialize, Serializer};
use std::fmt;

/// How far a group reaches along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// One index: neighbors belong to different groups.
    One,
    /// As many consecutive indices as the granularity's block size.
    Block,
    /// The whole axis.
    All,
}

/// The weights that are kept or dropped together.
///
/// Convolution weights `[O, KH, KW, C / groups]` have three axes here: output channels, kernel positions (KH × KW) and
/// input channels. Linear weights `[OUT, IN]` have two. Granularities with equal names and block sizes are equal.
///
/// ```
/// use lopper_compress::granularity::{Extent, Granularity};
///
/// // Two output channels at a time: not in the table, so recipes cannot name it, but every function takes it.
/// let pairs = Granularity::new("filter_block").conv([Extent::Block, Extent::All, Extent::All]).block(2);
/// assert_eq!(pairs.to_string(), "filter_block:2");
/// assert_eq!("filter".parse::<Granularity>().unwrap(), Granularity::FILTER);
/// ```
#[derive(Clone, Copy, Debug, Eq)]
pub struct Granularity {
    name: &'static str,
    conv: Option<[Extent; 3]>,
    linear: Option<[Extent; 2]>,
    block: usize,
}

impl Granularity {
    /// A granularity that applies to no layer until [`Self::conv`] or [`Self::linear`] says how.
    pub const fn new(name: &'static str) -> Self {
        Self { name, conv: None, linear: None, block: 0 }
    }

    /// Applies to convolutions: the extent of a group in output channels, kernel positions and input channels.
    pub const fn conv(self, extents: [Extent; 3]) -> Self {
        Self { conv: Some(extents), ..self }
    }

    /// Applies to linear layers: the extent of a group in output and input features.
    pub const fn linear(self, extents: [Extent; 2]) -> Self {
        Self { linear: Some(extents), ..self }
    }

    /// The length of [`Extent::Block`].
    pub const fn block(self, block: usize) -> Self {
        Self { block, ..self }
    }

    /// The name, without the block size.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// An error if the granularity needs a block size and has none.
    pub fn check(&self) -> Result<()> {
        match self.takes_block() && self.block == 0 {
            true => Err(Error::invalid(format!(
                "granularity {}: expected a block size of at least 1, as in {0}:4",
                self.name
            ))),
            false => Ok(()),
        }
    }

    /// Divides the weight of `layer` into groups. `Err` says why it does not apply.
    pub fn groups(&self, layer: &Layer) -> std::result::Result<Groups, String> {
        let axes = match (layer, self.conv, self.linear) {
            (Layer::Conv2d(conv), Some(extents), _) => {
                let [kh, kw] = conv.kernel();
                let lengths = [conv.out_channels(), kh * kw, conv.weight.value().dim(3)];
                [0, 1, 2].map(|axis| (lengths[axis], extents[axis]))
            }
            (Layer::Linear(linear), _, Some([out, inp])) => {
                [(linear.out_features(), out), (1, Extent::One), (linear.in_features(), inp)]
            }
            _ => return Err(format!("granularity {self} does not apply to a {} layer", layer.kind())),
        };
        let mut blocks = [1; 3];
        for (block, (length, extent)) in blocks.iter_mut().zip(axes) {
            *block = match extent {
                Extent::One => 1,
                Extent::All => length.max(1),
                Extent::Block => self.block.max(1),
            };
            if length % *block != 0 {
                return Err(format!("granularity {self}: {length} is no multiple of {block}"));
            }
        }
        Ok(Groups::new(axes.map(|(length, _)| length), blocks))
    }

    /// Whether a group of a convolution holds all positions of the kernels that it holds a part of.
    pub(crate) fn takes_whole_kernels(&self) -> bool {
        self.conv.is_some_and(|[_, positions, _]| positions == Extent::All)
    }

    /// Whether it needs a block size.
    pub(super) fn takes_block(&self) -> bool {
        self.conv.is_some_and(|extents| extents.contains(&Extent::Block))
            || self.linear.is_some_and(|extents| extents.contains(&Extent::Block))
    }
}

impl PartialEq for Granularity {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.block) == (other.name, other.block)
    }
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.takes_block() {
            true => write!(f, "{}:{}", self.name, self.block),
            false => f.pad(self.name),
        }
    }
}

impl Serialize for Granularity {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
