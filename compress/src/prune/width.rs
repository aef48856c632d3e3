//! The groups that a criterion scores, and how wide they are.

use serde::{Deserialize, Serialize};

/// The units of a group that a criterion scores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Width {
    /// The layers whose outputs are cut together, in graph order.
    pub layers: Vec<String>,
    /// Number of units.
    pub units: usize,
    /// The structure around the group: groups of equal kind compete in an isomorphic ranking.
    #[serde(default)]
    pub kind: String,
    /// The size of the images that hold the channels, as `HxW`: groups of equal size compete in the context of a
    /// stage. `features` where there are no images.
    #[serde(default)]
    pub stage: String,
}
