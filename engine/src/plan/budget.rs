//! The memory of a plan on the CPU, estimated only from shapes: checked before anything is packed.

use super::cpu::Packer;
use super::layouts::Layouts;
use super::lower::Op;
use super::places::Places;
use super::work::{Convolution, FullyConnected, Work};
use crate::Result;
use crate::memory::{Budget, bytes_of};
use lopper_kernels::cpu::{Footprint, PackedBatchNorm};
use lopper_kernels::pattern::Pattern;
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
    (layouts, places): (&Layouts, &Places),
    held: u64,
) -> Result<u64> {
    let mut account = Account { budget: Budget::now(), bytes: held };
    let largest = ops.iter().max_by_key(|op| op.len()).map_or("", |op| op.node.name.as_str());
    account.take(
        format_args!("the values between the layers, the largest that of `{largest}`,"),
        places.bytes as u64,
    )?;
    let (mut borrowed, mut workspaces) = ((0, ""), (0, ""));
    for ((op, work), &conv2d) in ops.iter().zip(works).zip(layouts.packings()) {
        let name = op.node.name.as_str();
        let needs = Packer { conv2d, ..*packer }.footprint(work);
        // The pattern of the weights is held until all are packed.
        let packed = needs.packed.saturating_add(CALL + work.pattern().map_or(0, Pattern::bytes) as u64);
        account.take(format_args!("layer `{name}`: its packed weights"), packed)?;
        borrowed = borrowed.max((needs.borrowed, name));
        workspaces = workspaces.max((needs.workspaces, name));
    }
    let (borrowed, layer) = borrowed;
    account.take(format_args!("layer `{layer}`: its buffers"), borrowed.saturating_mul(BORROWED))?;
    let (workspaces, layer) = workspaces;
    account.take(format_args!("layer `{layer}`: its workspaces"), workspaces)?;
    Ok(account.bytes)
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
    /// The memory that the kernel of `work` needs.
    fn footprint(&self, work: &Work) -> Footprint {
        match work {
            Work::Conv2d(Convolution { g, compact: Some(compact), .. }) => {
                Footprint::compact(self.cpu, g, &compact.index(), self.conv2d)
            }
            Work::Conv2d(Convolution { g, pattern, .. }) => Footprint::new(self.cpu, g, pattern, self.conv2d),
            Work::Linear(linear) => self.fully_connected(linear),
            Work::BatchNorm(_, bn) => {
                let packed = PackedBatchNorm::bytes_of(bn.channels()) as u64;
                // Packing first computes one factor per channel.
                Footprint { packed, borrowed: bytes_of::<f32>([bn.channels()]), ..Footprint::default() }
            }
            Work::Plain(_) => Footprint::default(),
        }
    }

    /// The memory of a linear layer, whose weight is pooled into a buffer before it is packed.
    fn fully_connected(&self, linear: &FullyConnected) -> Footprint {
        let FullyConnected { g, pattern, pool, .. } = linear;
        let pooled = pool.as_ref().map_or(0, |pool| bytes_of::<f32>([pool.x_len()]));
        Footprint { borrowed: pooled, ..Footprint::linear(self.cpu, g, pattern, self.linear) }
    }
}
