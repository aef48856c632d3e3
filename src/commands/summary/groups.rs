//! The groups of channels that can only be removed together: which layers make them, and which read them.

use lopper_engine::Graph;
use lopper_engine::channels::{ChannelFlow, Group, ends_at};
use serde::Serialize;
use std::collections::BTreeSet;

/// A group of channels, as `--json` prints it.
#[derive(Serialize)]
pub struct ChannelGroup {
    /// Its number, from 1.
    group: usize,
    /// The number of channels, those that are removed together counted once.
    channels: usize,
    /// The layers that make them, in graph order.
    layers: Vec<String>,
    /// The layers that weigh them, in graph order.
    readers: Vec<String>,
    /// What they are tied to, if that keeps them from being removed.
    frozen: Option<&'static str>,
}

/// The groups of `graph`, of channels `flow`, in graph order.
pub fn channel_groups(graph: &Graph, flow: &ChannelFlow) -> Vec<ChannelGroup> {
    let places = flow.places();
    let mut readers: Vec<Vec<String>> = vec![Vec::new(); flow.groups().len()];
    for node in graph.nodes().iter().filter(|node| ends_at(&node.layer)) {
        let read: BTreeSet<usize> = flow
            .units(node.inputs[0])
            .iter()
            .filter_map(|&unit| places[unit])
            .map(|(group, _)| group)
            .collect();
        read.into_iter().for_each(|group| readers[group].push(node.name.clone()));
    }
    let groups = flow.groups().iter().zip(readers).enumerate();
    let group = |(index, (group, readers)): (usize, (&Group, Vec<String>))| {
        let (channels, frozen) = (group.units.len(), group.frozen);
        ChannelGroup { group: index + 1, channels, layers: group.layer_names(graph), readers, frozen }
    };
    groups.map(group).collect()
}

/// A table of `groups`.
pub fn text(groups: &[ChannelGroup]) -> String {
    let made = groups.iter().map(|group| group.layers.join(", ").chars().count()).max().unwrap_or(0);
    // A long list of layers does not push away the next column of all other lines.
    let made = made.clamp(7, 60);
    let mut text = format!(
        "\nchannels that are removed together\n{:>5}  {:>8}  {:made$}  read by\n",
        "group", "channels", "made by"
    );
    for group in groups {
        let mut readers = group.readers.join(", ");
        if let Some(why) = group.frozen {
            let comma = if readers.is_empty() { "" } else { "; " };
            readers += &format!("{comma}not removable: tied to {why}");
        }
        let line = format!(
            "{:>5}  {:>8}  {:made$}  {readers}",
            group.group,
            group.channels,
            group.layers.join(", ")
        );
        text += &format!("{}\n", line.trim_end());
    }
    text
}
