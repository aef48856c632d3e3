//! A granularity as a value: the extent of a group along each axis of a weight.

use super::{Groups, Quota};
use lopper_engine::{About, Error, Layer, Result};
use serde::{Serialize, Serializer};
use std::fmt;

/// How far a group reaches along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// One index: neighbors belong to different groups.
    One,
    /// As many consecutive indices as the granularity's block size; the last block of an axis may have fewer.
    Block,
    /// The whole axis.
    All,
}

/// How far a group of a convolution reaches: along three axes, positions in order, or along four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conv {
    Positions([Extent; 3]),
    Taps([Extent; 4]),
}

impl Conv {
    /// The lengths `[OUT, KH, KW, IN]` as three or four axes, with the extent along each.
    fn axes(self, [out, kh, kw, ins]: [usize; 4]) -> [(usize, Extent); 4] {
        match self {
            Self::Positions([o, p, c]) => [(out, o), (kh * kw, p), (1, Extent::One), (ins, c)],
            Self::Taps([o, h, w, c]) => [(out, o), (kh, h), (kw, w), (ins, c)],
        }
    }

    fn takes_block(self) -> bool {
        match self {
            Self::Positions(extents) => extents.contains(&Extent::Block),
            Self::Taps(extents) => extents.contains(&Extent::Block),
        }
    }

    fn takes_whole_kernels(self) -> bool {
        match self {
            Self::Positions([_, positions, _]) => positions == Extent::All,
            Self::Taps([_, h, w, _]) => h == Extent::All && w == Extent::All,
        }
    }
}

/// The weights that are kept or dropped together.
///
/// Convolution weights `[O, KH, KW, C / groups]` have three axes here: output channels, kernel positions (KH × KW) and
/// input channels. Linear weights `[OUT, IN]` have two. With a [`Quota`], the groups compete in small runs, each of
/// which keeps the same number. Granularities with equal names, block sizes and quotas are equal.
///
/// ```
/// use lopper_compress::granularity::{Extent, Granularity};
///
/// // Two output channels at a time: not in the table, so recipes cannot name it, but every function takes it.
/// let pairs = Granularity::new("filter_block").conv([Extent::Block, Extent::All, Extent::All]).block(2);
/// assert_eq!(pairs.to_string(), "filter_block:2");
/// assert_eq!("filter".parse::<Granularity>().unwrap(), Granularity::FILTER);
/// assert_eq!("2:4".parse::<Granularity>().unwrap(), Granularity::WEIGHT.keep(2, 4));
/// ```
#[derive(Clone, Copy, Debug, Eq)]
pub struct Granularity {
    name: &'static str,
    conv: Option<Conv>,
    linear: Option<[Extent; 2]>,
    block: usize,
    quota: Option<Quota>,
    about: Option<About>,
}

impl Granularity {
    /// A granularity that applies to no layer until [`Self::conv`] or [`Self::linear`] says how.
    pub const fn new(name: &'static str) -> Self {
        Self { name, conv: None, linear: None, block: 0, quota: None, about: None }
    }

    /// Applies to convolutions: the extent of a group in output channels, kernel positions and input channels.
    pub const fn conv(self, extents: [Extent; 3]) -> Self {
        Self { conv: Some(Conv::Positions(extents)), ..self }
    }

    /// Applies to convolutions: the extent of a group in output channels, rows and columns of the kernel, and input channels.
    pub const fn taps(self, extents: [Extent; 4]) -> Self {
        Self { conv: Some(Conv::Taps(extents)), ..self }
    }

    /// Applies to linear layers: the extent of a group in output and input features.
    pub const fn linear(self, extents: [Extent; 2]) -> Self {
        Self { linear: Some(extents), ..self }
    }

    /// The length of [`Extent::Block`].
    pub const fn block(self, block: usize) -> Self {
        Self { block, ..self }
    }

    /// Keeps exactly `n` of every `m` consecutive groups along the input channels: N:M sparsity.
    pub const fn keep(self, n: usize, m: usize) -> Self {
        Self { quota: Some(Quota { n, m }), ..self }
    }

    /// The weights of a group in one formula, and where that is from.
    pub const fn described(self, about: About) -> Self {
        Self { about: Some(about), ..self }
    }

    /// The weights of a group in one formula, and where that is from. Every granularity of this crate says so.
    pub const fn about(&self) -> Option<About> {
        self.about
    }

    /// The name, without block size and quota.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What each run of groups keeps, if they compete in runs.
    pub fn quota(&self) -> Option<Quota> {
        self.quota
    }

    /// An error if the granularity needs a block size and has none, or has an impossible quota.
    pub fn check(&self) -> Result<()> {
        if self.takes_block() && self.block == 0 {
            return Err(Error::invalid(format!(
                "granularity {}: expected a block size of at least 1, as in {0}:4",
                self.name
            )));
        }
        self.quota.map_or(Ok(()), Quota::check)
    }

    /// Divides the weight of `layer` into groups. `Err` says why it does not apply.
    pub fn groups(&self, layer: &Layer) -> std::result::Result<Groups, String> {
        let axes = match (layer, self.conv, self.linear) {
            (Layer::Conv2d(conv), Some(extents), _) => {
                let [kh, kw] = conv.kernel();
                extents.axes([conv.out_channels(), kh, kw, conv.weight.value().dim(3)])
            }
            (Layer::Linear(linear), _, Some([out, inp])) => {
                let one = (1, Extent::One);
                [(linear.out_features(), out), one, one, (linear.in_features(), inp)]
            }
            _ => return Err(format!("granularity {self} does not apply to a {} layer", layer.kind())),
        };
        let mut blocks = [1; 4];
        for (block, (length, extent)) in blocks.iter_mut().zip(axes) {
            *block = match extent {
                Extent::One => 1,
                Extent::All => length.max(1),
                Extent::Block => self.block.max(1),
            };
        }
        let inputs = axes[3].0.div_ceil(blocks[3]);
        match self.quota {
            Some(Quota { m, .. }) if m == 0 || inputs % m != 0 => {
                Err(format!("granularity {self}: {inputs} inputs are no multiple of {m}"))
            }
            _ => Ok(Groups::of_taps(axes.map(|(length, _)| length), blocks)),
        }
    }

    /// Whether a group of a convolution holds all positions of the kernels that it holds a part of.
    pub(crate) fn takes_whole_kernels(&self) -> bool {
        self.conv.is_some_and(Conv::takes_whole_kernels)
    }

    /// Whether it needs a block size.
    pub fn takes_block(&self) -> bool {
        self.conv.is_some_and(Conv::takes_block)
            || self.linear.is_some_and(|extents| extents.contains(&Extent::Block))
    }
}

impl PartialEq for Granularity {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.block, self.quota) == (other.name, other.block, other.quota)
    }
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.takes_block(), self.quota) {
            (true, None) => write!(f, "{}:{}", self.name, self.block),
            (true, Some(quota)) => write!(f, "{}:{} {quota}", self.name, self.block),
            (false, None) => f.pad(self.name),
            (false, Some(quota)) if self.name == Self::WEIGHT.name => quota.fmt(f),
            (false, Some(quota)) => write!(f, "{} {quota}", self.name),
        }
    }
}

impl Serialize for Granularity {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
