//! The granularities that recipes and command lines name.

use super::Extent::{All, Block, One};
use super::Granularity;
use lopper_engine::About;

/// Every granularity with a name of its own, in the order in which help texts list them. N:M sparsity is
/// [`Granularity::WEIGHT`] with a quota.
pub const GRANULARITIES: &[Granularity] = &[
    Granularity::WEIGHT,
    Granularity::KERNEL,
    Granularity::FILTER,
    Granularity::ROW,
    Granularity::COLUMN,
    Granularity::INPUT_CHANNEL_BLOCK,
    Granularity::BLOCK,
    Granularity::KERNEL_BLOCK,
    Granularity::CHANNEL,
    Granularity::KERNEL_ROW,
    Granularity::KERNEL_COLUMN,
    Granularity::HORIZONTAL_SLICE,
    Granularity::VERTICAL_SLICE,
    Granularity::SHARED_WEIGHT,
    Granularity::SHARED_CHANNEL,
    Granularity::SHARED_ROW,
    Granularity::SHARED_COLUMN,
    Granularity::SHARED_HORIZONTAL_SLICE,
    Granularity::SHARED_VERTICAL_SLICE,
    Granularity::SHARED_KERNEL,
    Granularity::LAYER,
];

// A granularity without a formula does not compile.
const _: () = {
    let mut i = 0;
    while i < GRANULARITIES.len() {
        assert!(
            GRANULARITIES[i].about().is_some(),
            "a granularity of the table needs `.described(About::…)`"
        );
        i += 1;
    }
};

/// N:M sparsity, which is [`Granularity::WEIGHT`] with a quota.
pub const QUOTA: About = About::new(
    "N of every M consecutive w[o, t, c] along c stay",
    "Zhou et al. 2021, Learning N:M fine-grained structured sparse neural networks from scratch",
);

impl Granularity {
    /// One weight, of convolutions and linear layers.
    pub const WEIGHT: Self =
        Self::new("weight").conv([One, One, One]).linear([One, One]).described(About::new(
            "w[o, t, c]",
            "Han et al. 2015, Learning both weights and connections for efficient neural networks",
        ));
    /// The KH × KW weights that join one input channel to one filter of a convolution.
    pub const KERNEL: Self = Self::new("kernel").conv([One, All, One]).described(About::new(
        "w[o, ·, c]: input channel c of filter o",
        "Mao et al. 2017, Exploring the granularity of sparsity in convolutional neural networks",
    ));
    /// One filter of a convolution: all the weights that make one output channel.
    pub const FILTER: Self = Self::new("filter").conv([One, All, All]).described(About::new(
        "w[o, ·, ·]: filter o",
        "Li et al. 2017, Pruning filters for efficient ConvNets",
    ));
    /// One row of a linear layer: all the weights that make one output feature.
    pub const ROW: Self = Self::new("row").linear([One, All]).described(About::new(
        "w[o, ·]: output o of a linear layer",
        "Wen et al. 2016, Learning structured sparsity in deep neural networks",
    ));
    /// One column of a linear layer: all the weights that read one input feature.
    pub const COLUMN: Self = Self::new("column").linear([All, One]).described(About::new(
        "w[·, c]: input c of a linear layer",
        "Wen et al. 2016, Learning structured sparsity in deep neural networks",
    ));
    /// b consecutive input channels of one filter at all kernel positions, `{w[o, ·, ·, c] : k·b ≤ c < (k + 1)·b}` for
    /// filter o and block k: between kernels and filters, and regular enough for a kernel that reads b channels at a
    /// time (Mao et al. 2017, "Exploring the granularity of sparsity in convolutional neural networks"; Narang et al.
    /// 2017, "Block-sparse recurrent neural networks"). b is the block size, `input_channel_block:4`.
    pub const INPUT_CHANNEL_BLOCK: Self =
        Self::new("input_channel_block").conv([One, All, Block]).described(About::new(
            "w[o, ·, c], kb ≤ c < (k + 1)b",
            "Narang et al. 2017, Block-sparse recurrent neural networks",
        ));
    /// The weights of b consecutive filters at one tap and input channel, `{w[o, t, c] : k·b ≤ o < (k + 1)·b}`; of a
    /// linear layer, those of b consecutive rows that read one input. The filters of a block share the list of their
    /// nonzero weights, so that a kernel reads an input once for b products: nearly as free as single weights, and
    /// faster (Elsen et al. 2020, "Fast sparse ConvNets"). b is the block size: kernels are made for `block:2`,
    /// `block:4` and `block:8`.
    pub const BLOCK: Self = Self::new("block")
        .conv([Block, One, One])
        .linear([Block, One])
        .described(About::new("w[o, t, c], kb ≤ o < (k + 1)b", "Elsen et al. 2020, Fast sparse ConvNets"));
    /// The kernels that join one input channel to b consecutive filters, `{w[o, ·, ·, c] : k·b ≤ o < (k + 1)·b}`; of a
    /// linear layer, the weights of b rows that read one input. The filters of a block share a list of input channels.
    /// A zero kernel stays zero in Winograd's transform, which single zeros do not. b is the block size: kernels are
    /// made for `kernel_block:8` and `kernel_block:16`.
    pub const KERNEL_BLOCK: Self = Self::new("kernel_block")
        .conv([Block, All, One])
        .linear([Block, One])
        .described(About::common("w[o, ·, c], kb ≤ o < (k + 1)b"));
    /// All the input channels that one filter reads at one tap: a vector that is contiguous in memory.
    pub const CHANNEL: Self = Self::new("channel").taps([One, One, One, All]).described(About::new(
        "w[o, i, j, ·]: tap (i, j) of filter o",
        "Mao et al. 2017, Exploring the granularity of sparsity in convolutional neural networks",
    ));
    /// One row of a kernel: KW weights.
    pub const KERNEL_ROW: Self = Self::new("kernel_row").taps([One, One, All, One]).described(About::new(
        "w[o, i, ·, c]",
        "Mao et al. 2017, Exploring the granularity of sparsity in convolutional neural networks",
    ));
    /// One column of a kernel: KH weights.
    pub const KERNEL_COLUMN: Self =
        Self::new("kernel_column").taps([One, All, One, One]).described(About::new(
            "w[o, ·, j, c]",
            "Mao et al. 2017, Exploring the granularity of sparsity in convolutional neural networks",
        ));
    /// One row of a filter, over all input channels.
    pub const HORIZONTAL_SLICE: Self = Self::new("horizontal_slice")
        .taps([One, One, All, All])
        .described(About::common("w[o, i, ·, ·]: row i of filter o"));
    /// One column of a filter, over all input channels.
    pub const VERTICAL_SLICE: Self = Self::new("vertical_slice")
        .taps([One, All, One, All])
        .described(About::common("w[o, ·, j, ·]: column j of filter o"));
    /// The weights of all filters at one tap and input channel; of a linear layer, a column.
    pub const SHARED_WEIGHT: Self = Self::new("shared_weight")
        .taps([All, One, One, One])
        .linear([All, One])
        .described(About::common("w[·, i, j, c]"));
    /// One tap of the whole layer: the kernel loses a corner.
    pub const SHARED_CHANNEL: Self = Self::new("shared_channel")
        .taps([All, One, One, All])
        .described(About::common("w[·, i, j, ·]: tap (i, j)"));
    /// One row of the kernels that read one input channel.
    pub const SHARED_ROW: Self =
        Self::new("shared_row").taps([All, One, All, One]).described(About::common("w[·, i, ·, c]"));
    /// One column of the kernels that read one input channel.
    pub const SHARED_COLUMN: Self =
        Self::new("shared_column").taps([All, All, One, One]).described(About::common("w[·, ·, j, c]"));
    /// One row of all kernels of the layer.
    pub const SHARED_HORIZONTAL_SLICE: Self = Self::new("shared_horizontal_slice")
        .taps([All, One, All, All])
        .described(About::common("w[·, i, ·, ·]: row i of all kernels"));
    /// One column of all kernels of the layer.
    pub const SHARED_VERTICAL_SLICE: Self = Self::new("shared_vertical_slice")
        .taps([All, All, One, All])
        .described(About::common("w[·, ·, j, ·]: column j of all kernels"));
    /// The kernels of all filters that read one input channel, which the layer then no longer reads.
    pub const SHARED_KERNEL: Self =
        Self::new("shared_kernel").taps([All, All, All, One]).described(About::new(
            "w[·, ·, ·, c]: input channel c",
            "Wen et al. 2016, Learning structured sparsity in deep neural networks",
        ));
    /// A whole layer, for penalties: sparsification never empties a layer.
    pub const LAYER: Self = Self::new("layer").taps([All, All, All, All]).linear([All, All]).described(
        About::new("w[·, ·, ·, ·]", "Wen et al. 2016, Learning structured sparsity in deep neural networks"),
    );
}

impl Default for Granularity {
    fn default() -> Self {
        Self::FILTER
    }
}
