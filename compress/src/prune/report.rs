//! The report of a pruning, a line for each layer.

use lopper_engine::channels::{ChannelFlow, Group, State};
use lopper_engine::rewrite::RewriteReport;
use lopper_engine::{Graph, NodeId};

/// A layer that keeps a smaller share of its channels than this deserves a warning.
const FEW: f64 = 0.05;

/// A pruning, as the report needs it.
pub(super) struct Changes<'a> {
    pub before: &'a Graph,
    pub after: &'a Graph,
    pub flow: &'a ChannelFlow,
    pub states: &'a [State],
    /// The units that the plan removes.
    pub planned: Vec<bool>,
    /// The units that were removed.
    pub removed: Vec<bool>,
    /// Where constants went, by the layer that read them.
    pub notes: Vec<(NodeId, &'static str)>,
}

impl Changes<'_> {
    /// A line for each layer that was cut, absorbed a constant or is frozen. The line of a group's first layer also
    /// lists the channels that the group lost.
    pub fn report(&self) -> RewriteReport {
        let mut report = RewriteReport::new("prune");
        let mut starting: Vec<Vec<&Group>> = vec![Vec::new(); self.before.nodes().len()];
        self.flow.groups().iter().for_each(|group| starting[group.layers[0]].push(group));
        let mut notes = vec![None; self.before.nodes().len()];
        self.notes.iter().for_each(|&(node, note)| _ = notes[node].get_or_insert(note));
        for (id, node) in self.before.nodes().iter().enumerate() {
            let tallies = starting[id].iter().filter_map(|group| self.tally(group));
            let note = notes[id].map(str::to_string);
            let changes: Vec<String> = self.cut(id).into_iter().chain(tallies).chain(note).collect();
            let frozen = starting[id].iter().find_map(|group| group.frozen);
            match frozen {
                _ if !changes.is_empty() => report.changed(&node.name, changes.join("; ")),
                Some(why) => report.skipped(&node.name, format!("its channels are tied to {why}")),
                None => {}
            }
        }
        report
    }

    /// How the shape of a layer's first parameter changed.
    fn cut(&self, id: NodeId) -> Option<String> {
        let shape =
            |graph: &Graph| Some(graph.nodes()[id].layer.params().first()?.1.value().shape().to_vec());
        let (old, new) = (shape(self.before)?, shape(self.after)?);
        (old != new).then(|| format!("{old:?} → {new:?}"))
    }

    /// The channels of `group` that were removed, and the dead channels that had to stay.
    fn tally(&self, group: &Group) -> Option<String> {
        let [mut live, mut unread, mut zero, mut constant, mut carriers] = [0; 5];
        let (mut largest, mut uneven) = (0.0_f32, Vec::new());
        for unit in group.units.iter().map(|unit| unit.id).filter(|&unit| self.planned[unit]) {
            match self.states[unit] {
                State::Uneven { reader } if !self.removed[unit] => uneven.push(reader),
                _ if !self.removed[unit] => carriers += 1,
                State::Live | State::Uneven { .. } => live += 1,
                State::Unread => unread += 1,
                State::Zero => zero += 1,
                State::Constant(value) => {
                    constant += 1;
                    largest = largest.max(value.abs());
                }
            }
        }
        let part = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
        let why = |reader: &NodeId| {
            let (count, name) = (uneven.len(), &self.before.nodes()[*reader].name);
            format!("{count} dead kept, since `{name}` does not read constants from them")
        };
        let kept = group.units.iter().filter(|unit| !self.removed[unit.id]).count();
        let parts = [
            gutted(kept, group.units.len()).filter(|_| live > 0),
            part(zero, "zero removed"),
            part(constant, &format!("constant removed (up to {largest:.3})")),
            part(unread, "unread removed"),
            part(live, "live removed"),
            part(carriers, "dead kept as carrier"),
            uneven.first().map(why),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// A warning, if `kept` of `all` channels of a layer are few.
pub(super) fn gutted(kept: usize, all: usize) -> Option<String> {
    let few = (kept as f64) < FEW * all as f64;
    few.then(|| format!("warning: only {kept} of {all} channels stay"))
}
