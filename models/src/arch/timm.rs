//! timm's names of networks of inverted residual blocks.
//!
//! ```text
//! conv_stem, bn1 ─ blocks.STAGE.BLOCK.LAYER … ─ conv_head, bn2 ─ classifier
//! ```
//! | layer of a block | with a widening convolution | without |
//! | --- | --- | --- |
//! | widen | `conv_pw`, `bn1` | |
//! | depthwise | `conv_dw`, `bn2` | `conv_dw`, `bn1` |
//! | squeeze and excite | `se.conv_reduce`, `se.conv_expand` | the same |
//! | project | `conv_pwl`, `bn3` | `conv_pw`, `bn2` |

/// Layers of an inverted residual block, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The 1×1 convolution to more channels.
    Widen,
    /// The depthwise convolution.
    Depthwise,
    /// The first 1×1 convolution of the gate.
    Squeeze,
    /// The second one.
    Excite,
    /// The 1×1 convolution to fewer channels.
    Project,
}

/// A layer of a block, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockLayer {
    pub stage: usize,
    pub block: usize,
    pub part: Part,
    /// Whether it is the batch norm behind the convolution.
    pub norm: bool,
}

impl BlockLayer {
    /// Reads the module `blocks.STAGE.BLOCK.LAYER`. `widens` tells whether a block of a stage has a widening
    /// convolution.
    pub(super) fn parse(module: &str, widens: impl Fn(usize, usize) -> bool) -> Option<Self> {
        let mut parts = module.strip_prefix("blocks.")?.splitn(3, '.');
        let (stage, block) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let (part, norm) = match (parts.next()?, widens(stage, block)) {
            ("conv_pw", true) => (Part::Widen, false),
            ("bn1", true) => (Part::Widen, true),
            ("conv_dw", _) => (Part::Depthwise, false),
            ("bn2", true) | ("bn1", false) => (Part::Depthwise, true),
            ("se.conv_reduce", _) => (Part::Squeeze, false),
            ("se.conv_expand", _) => (Part::Excite, false),
            ("conv_pwl", true) | ("conv_pw", false) => (Part::Project, false),
            ("bn3", true) | ("bn2", false) => (Part::Project, true),
            _ => return None,
        };
        Some(Self { stage, block, part, norm })
    }

    /// The layers that [`Self::parse`] reads in a block with a widening convolution, or in one without.
    pub(super) fn modules(widens: bool) -> &'static [&'static str] {
        const WIDENING: &[&str] =
            &["conv_pw", "bn1", "conv_dw", "bn2", "se.conv_reduce", "se.conv_expand", "conv_pwl", "bn3"];
        const PLAIN: &[&str] = &["conv_dw", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pw", "bn2"];
        if widens { WIDENING } else { PLAIN }
    }

    /// torchvision's name of the layer within its block: the modules follow each other in a `Sequential`.
    pub(super) fn in_block(&self, widens: bool, squeezes: bool) -> String {
        let (depthwise, norm) = (usize::from(widens), usize::from(self.norm));
        match self.part {
            Part::Widen => format!("block.0.{norm}"),
            Part::Depthwise => format!("block.{depthwise}.{norm}"),
            Part::Squeeze => format!("block.{}.fc1", depthwise + 1),
            Part::Excite => format!("block.{}.fc2", depthwise + 1),
            Part::Project => format!("block.{}.{norm}", depthwise + 1 + usize::from(squeezes)),
        }
    }
}
