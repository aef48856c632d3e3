//! The memory of a plan on the CPU, estimated only from shapes: checked before anything is packed.

use super::cpu::{Packer, Placed};
use super::lower::Op;
use super::work::{FullyConnected, Work};
use crate::Result;
use crate::memory::{Budget, bytes_of};
use lopper_kernels::cpu::{Footprint, PackedBatchNorm, PackedPRelu, group_norm_buffer};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::shapes::GroupNorm;
use std::fmt;

/// Maximum number of buffers that a call borrows from the device at the same time. The device keeps as many, each as
/// large as the largest.
const BORROWED: u64 = 2;

/// Bytes of a layer's kernel in addition to its weights: the bias, indices, and the description of the call.
const CALL: u64 = 1024;

/// Checks that the plan fits in memory, and returns an upper bound on its bytes, including the `held` bytes of weights
/// that are allocated already. The error names the part that does not fit: the values between the layers, a layer's packed
/// weights, or its scratch.
pub(super) fn require(
    packer: &Packer,
    ops: &[Op],
    works: &[Work],
    placed: &Placed,
    held: u64,
) -> Result<u64> {
    let mut account = Account { budget: Budget::now(), bytes: held };
    let largest = ops.iter().max_by_key(|op| op.len()).map_or("", |op| op.node.name.as_str());
    account.take(
        format_args!("the values between the layers, the largest that of `{largest}`,"),
        placed.outside.bytes as u64,
    )?;
    for (span, inside) in placed.spans.iter().zip(placed.inside) {
        let name = &ops[span.ops.start].node.name;
        let what = format_args!("the values of the parts of the batch from `{name}` on");
        account.take(what, (inside.places.bytes as u64).saturating_mul(span.arenas(packer.cpu) as u64))?;
    }
    let (mut borrowed, mut workspaces) = ((0, ""), (0, ""));
    for ((op, work), &conv2d) in ops.iter().zip(works).zip(placed.layouts.packings()) {
        let name = op.node.name.as_str();
        let needs = Packer { conv2d, ..*packer }.footprint(work, None);
        // The pattern of the weights is held until all are packed.
        let packed = needs.packed.saturating_add(CALL + work.pattern().map_or(0, Pattern::bytes) as u64);
        account.take(format_args!("layer `{name}`: its packed weights"), packed)?;
        borrowed = borrowed.max((needs.borrowed, name));
        workspaces = workspaces.max((needs.workspaces, name));
    }
    let (borrowed, layer) = borrowed;
    account.take(format_args!("layer `{layer}`: its buffers"), borrowed.saturating_mul(BORROWED))?;
    // While threads compute parts of the batch, each borrows buffers of its own.
    let (borrowed, layer) = borrowed_by_parts(packer, ops, works, placed);
    let arenas = placed.spans.iter().map(|span| span.arenas(packer.cpu) as u64).max().unwrap_or(0);
    let all = borrowed.saturating_mul(BORROWED).saturating_mul(arenas);
    account.take(format_args!("layer `{layer}`: its buffers for parts of the batch"), all)?;
    let (workspaces, layer) = workspaces;
    account.take(format_args!("layer `{layer}`: its workspaces"), workspaces)?;
    Ok(account.bytes)
}

/// The largest buffer that a call borrows for a part of the batch, and the name of its layer.
fn borrowed_by_parts<'a>(packer: &Packer, ops: &'a [Op], works: &[Work], placed: &Placed) -> (u64, &'a str) {
    let calls = placed.spans.iter().flat_map(|span| span.ops.clone().map(|i| (i, span.images)));
    let borrowed = calls.map(|(i, images)| {
        let packer = Packer { conv2d: placed.layouts.packings()[i], ..*packer };
        (packer.footprint(&works[i], Some(images)).borrowed, ops[i].node.name.as_str())
    });
    borrowed.max().unwrap_or((0, ""))
}

/// The remaining budget, and the bytes taken.
struct Account {
    budget: Budget,
    bytes: u64,
}

impl Account {
    fn take(&mut self, what: fmt::Arguments, bytes: u64) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.budget.take(what, bytes)
    }
}

impl Packer<'_> {
    /// The memory that the kernel of `work` needs, for calls with the whole batch or with a part of `images`.
    fn footprint(&self, work: &Work, images: Option<usize>) -> Footprint {
        match work {
            Work::Conv2d(conv) => {
                let (g, images) = (&conv.part(), images.unwrap_or(conv.g.n));
                match conv.compact {
                    Some(compact) => {
                        Footprint::compact_of_images(self.cpu, g, images, &compact.index(), self.conv2d)
                    }
                    None => Footprint::of_images(self.cpu, g, images, &conv.pattern, self.conv2d),
                }
            }
            Work::Linear(linear) => self.fully_connected(linear),
            Work::BatchNorm(_, bn) => {
                let packed = PackedBatchNorm::bytes_of(bn.channels()) as u64;
                // Packing first computes one factor per channel.
                Footprint { packed, borrowed: bytes_of::<f32>([bn.channels()]), ..Footprint::default() }
            }
            Work::LayerNorm(g, _) => Footprint { packed: bytes_of::<f32>([g.c, 2]), ..Footprint::default() },
            Work::GroupNorm(g, _) => {
                let g = GroupNorm { n: images.unwrap_or(g.n), ..*g };
                let borrowed = bytes_of::<f32>([group_norm_buffer(&g)]);
                Footprint { packed: bytes_of::<f32>([g.c, 2]), borrowed, ..Footprint::default() }
            }
            Work::PRelu(prelu) => {
                let packed = PackedPRelu::bytes_of(prelu.channels()) as u64;
                Footprint { packed, ..Footprint::default() }
            }
            Work::Plain(plain) => Footprint { packed: plain.bytes() as u64, ..Footprint::default() },
        }
    }

    /// The memory of a linear layer, whose weight is pooled into a buffer before it is packed.
    fn fully_connected(&self, linear: &FullyConnected) -> Footprint {
        let FullyConnected { g, pattern, pool, .. } = linear;
        let pooled = pool.as_ref().map_or(0, |pool| bytes_of::<f32>([pool.x_len()]));
        Footprint { borrowed: pooled, ..Footprint::linear(self.cpu, g, pattern, self.linear) }
    }
}
