//! Dead channels and the constants that they hold.

use super::sample::positions;
use lopper_engine::channels::{ChannelFlow, State, states};
use lopper_engine::{Graph, Result};
use serde::{Deserialize, Serialize};

/// The largest number of constants that are kept of a group of layers.
const CONSTANTS: usize = 64;

/// Dead channels of the layers whose channels are tied together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadChannels {
    /// Names of the layers that make the channels.
    pub layers: Vec<String>,
    /// Channels that can be removed together, dead or not.
    pub channels: usize,
    /// Dead channels that are zero everywhere.
    pub zero: usize,
    /// Dead channels that hold another constant.
    pub constant: usize,
    /// Channels whose filters are zero, but which padding turns into an image that is not constant.
    pub uneven: usize,
    /// Channels that no weight reads.
    pub unread: usize,
    /// The constants, ascending; a sample of at most 64.
    pub constants: Vec<f32>,
}

/// The dead channels of `graph`, for each group of layers that has any.
///
/// # Errors
/// Those of [`ChannelFlow::new`].
pub fn dead_channels(graph: &Graph) -> Result<Vec<DeadChannels>> {
    let flow = ChannelFlow::new(graph)?;
    let states = states(graph, &flow)?;
    let mut found = Vec::new();
    for group in flow.groups() {
        let [mut zero, mut uneven, mut unread] = [0; 3];
        let mut constants = Vec::new();
        for unit in &group.units {
            match states[unit.id] {
                State::Live => {}
                State::Zero => zero += 1,
                State::Unread => unread += 1,
                State::Uneven { .. } => uneven += 1,
                State::Constant(value) => constants.push(value),
            }
        }
        let constant = constants.len();
        if group.frozen.is_some() || zero + uneven + unread + constant == 0 {
            continue;
        }
        constants.sort_by(f32::total_cmp);
        let constants = positions(constant, CONSTANTS).into_iter().map(|i| constants[i]).collect();
        let (layers, channels) = (group.layer_names(graph), group.units.len());
        found.push(DeadChannels { layers, channels, zero, constant, uneven, unread, constants });
    }
    Ok(found)
}
