//! The values that layers before a cut compute, batch by batch.

use lopper_engine::data::Batch;
use lopper_engine::train::metrics::Outcome;
use lopper_engine::{Device, Error, Graph, Known, Layer, Node, NodeId, Result, Tensor, memory};

/// One part in this many of the available memory may hold values.
const SHARE: u64 = 3;

/// A network on some images, evaluated up to a layer.
///
/// All nodes before the front are known as far as a node behind reads them. If they do not fit into memory, only the
/// images are known, and a suffix is the whole network.
pub struct Prefix<'a> {
    graph: &'a Graph,
    device: &'a Device,
    /// For each batch, the known values.
    known: Vec<Known>,
    labels: Vec<Vec<u32>>,
    front: NodeId,
    /// Shape of an image, `[H, W, C]`.
    image: [usize; 3],
    /// Bytes that values may take.
    room: u64,
}

impl<'a> Prefix<'a> {
    /// `graph` on `batches`, of which nothing is computed yet.
    ///
    /// # Errors
    /// If there are no images, or memory for the network is missing.
    pub fn new(
        graph: &'a Graph,
        batches: impl IntoIterator<Item = Result<Batch>>,
        device: &'a Device,
    ) -> Result<Self> {
        let (mut known, mut labels, mut image) = (Vec::new(), Vec::new(), graph.info.input);
        for batch in batches {
            let batch = batch?;
            if let (&[n, h, w, c], true) = (batch.images.shape(), known.is_empty()) {
                graph.require_inference([n, h, w, c], device)?;
                image = [h, w, c];
            }
            known.push(Known::from([(0, batch.images)]));
            labels.push(batch.labels);
        }
        match known.is_empty() {
            true => Err(Error::invalid("sensitivity: there are no images to score")),
            false => {
                let room = memory::available() / SHARE;
                Ok(Self { graph, device, known, labels, front: 1, image, room })
            }
        }
    }

    /// The network.
    pub fn graph(&self) -> &'a Graph {
        self.graph
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.labels.iter().map(Vec::len).sum()
    }

    /// The first node that `cut` computes otherwise than the network, if there is one: it has another name, other inputs
    /// or other parameters.
    pub fn first_change(&self, cut: &Graph) -> Option<NodeId> {
        let pairs = self.graph.nodes().iter().zip(cut.nodes());
        let same = |(a, b): &(&Node, &Node)| {
            a.name == b.name && a.inputs == b.inputs && computes_like(&a.layer, &b.layer)
        };
        let like = pairs.take_while(same).count();
        (like < self.graph.nodes().len().max(cut.nodes().len())).then_some(like)
    }

    /// Evaluates the network up to node `front`, which does not lie before the present one, unless the values do not fit
    /// into memory.
    pub fn advance(&mut self, front: NodeId) -> Result<()> {
        if front <= self.front {
            return Ok(());
        }
        let wanted = boundary(self.graph, front);
        if self.bytes(&wanted)? > self.room {
            return Ok(());
        }
        for known in &mut self.known {
            let values = self.graph.values_from(self.device, known, &wanted)?;
            *known = wanted.iter().copied().zip(values).collect();
        }
        self.front = front;
        Ok(())
    }

    /// The outcome of each image in `cut`, a network that is like the present one before its front.
    ///
    /// # Errors
    /// If it is not, and those of the network and of `check`.
    pub fn outcomes(&self, cut: &Graph, mut check: impl FnMut() -> Result<()>) -> Result<Vec<Outcome>> {
        if let Some(change) = self.first_change(cut).filter(|&change| change < self.front) {
            let (found, front) = (&self.graph.nodes()[change].name, &self.graph.nodes()[self.front].name);
            return Err(Error::invalid(format!(
                "expected no change before layer `{front}`, found one at `{found}`"
            )));
        }
        let mut outcomes = Vec::with_capacity(self.images());
        for (known, labels) in self.known.iter().zip(&self.labels) {
            check()?;
            let logits = cut.values_from(self.device, known, &[cut.output()])?.swap_remove(0);
            logits.fetch()?;
            outcomes.extend(rows(&logits, labels)?);
        }
        Ok(outcomes)
    }

    /// Bytes of the values of these nodes for all images.
    fn bytes(&self, nodes: &[NodeId]) -> Result<u64> {
        let [h, w, c] = self.image;
        let shapes = self.graph.shapes([1, h, w, c])?;
        let floats: usize = nodes.iter().map(|&node| shapes[node].iter().product::<usize>()).sum();
        Ok(4 * (floats * self.images()) as u64)
    }
}

/// The nodes before `front` that a node from `front` on reads.
fn boundary(graph: &Graph, front: NodeId) -> Vec<NodeId> {
    let mut read: Vec<NodeId> =
        graph.nodes()[front..].iter().flat_map(|node| node.inputs.iter().copied()).collect();
    read.retain(|&input| input < front);
    read.sort_unstable();
    read.dedup();
    read
}

/// Whether two layers compute the same bits: equal settings, parameters, masks and statistics.
fn computes_like(a: &Layer, b: &Layer) -> bool {
    // What is serialized is everything but the tensors.
    let settings = |layer: &Layer| serde_json::to_string(layer).ok();
    let tensors = |layer: &Layer| -> Vec<Option<Tensor>> {
        let params =
            layer.params().into_iter().flat_map(|(_, p)| [Some(p.value().clone()), p.mask().cloned()]);
        params.chain(layer.buffers().into_iter().map(|(_, buffer)| Some(buffer.clone()))).collect()
    };
    let (ours, theirs) = (tensors(a), tensors(b));
    let equal = |pair: (&Option<Tensor>, &Option<Tensor>)| match pair {
        (Some(a), Some(b)) => a.shape() == b.shape() && same_bits(a.data(), b.data()),
        (a, b) => a.is_none() && b.is_none(),
    };
    settings(a) == settings(b) && ours.len() == theirs.len() && ours.iter().zip(&theirs).all(equal)
}

/// Whether two slices hold the same bits; those of one place do.
fn same_bits(a: &[f32], b: &[f32]) -> bool {
    std::ptr::eq(a, b) || a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// The outcome of each row of `logits` `[N, K]`.
fn rows<'a>(logits: &'a Tensor, labels: &'a [u32]) -> Result<impl Iterator<Item = Outcome> + 'a> {
    let &[n, classes] = logits.shape() else {
        return Err(Error::shape(
            "sensitivity",
            format!("expected logits [N, K], found {:?}", logits.shape()),
        ));
    };
    if n != labels.len() || labels.iter().any(|&label| label as usize >= classes) {
        return Err(Error::shape("sensitivity", format!("the labels do not fit logits [{n}, {classes}]")));
    }
    Ok(logits.data().chunks_exact(classes).zip(labels).map(|(row, &label)| Outcome::of_logits(row, label)))
}
