//! A pattern, as its module describes it.

use super::bits::Bits;
use super::derived::Derived;
use crate::shapes::Conv2d;
use std::fmt;

/// Which weights of a layer are zero. Weights that a pattern does not list as zero may have any value.
///
/// # Examples
/// ```
/// use lopper_kernels::pattern::Pattern;
/// // Two filters over four input channels: the second filter and the last channel are zero.
/// let mask = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
/// let pattern = Pattern::of(&mask, [2, 1, 4]);
/// assert_eq!(pattern.to_string(), "filters and input channels");
/// assert_eq!((pattern.filters(), pattern.inputs()), (&[0][..], &[0, 1, 2][..]));
/// assert_eq!(pattern.density(), 3.0 / 8.0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// `[O, taps, C/G]`.
    pub(super) shape: [usize; 3],
    /// Filters with a nonzero weight, ascending.
    pub(super) filters: Vec<u32>,
    /// Input channels, of a group, for which a filter of any group has a nonzero weight, ascending.
    pub(super) inputs: Vec<u32>,
    pub(super) structure: Structure,
    /// Nonzero weights, `[O / block, taps · C/G]`; empty for a dense structure, which needs only the two lists.
    pub(super) live: Bits,
    /// The number of nonzero weights.
    pub(super) nonzeros: usize,
    /// The pattern of the gradient of the input.
    pub(super) turned: Derived<Self>,
}

/// The zeros between the live filters and the live input channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Structure {
    /// There are none.
    Dense,
    /// All filters of a block have their nonzero weights at the same positions.
    Blocks {
        /// The number of consecutive filters in a block; the last block may have fewer.
        filters: usize,
    },
    /// Of every `m` consecutive input channels of a tap of a live filter, exactly `n` have a nonzero weight.
    NofM {
        /// Nonzero weights.
        n: usize,
        /// Weights in total.
        m: usize,
    },
    /// Single weights.
    Weights,
}

/// The largest `m` that is looked for.
const LARGEST_GROUP: usize = 32;

impl Pattern {
    /// The pattern of a weight `[O, taps, C/G]` without zeros.
    pub fn dense(shape: [usize; 3]) -> Self {
        let [o, taps, c] = shape;
        let (filters, inputs) = ((0..o as u32).collect(), (0..c as u32).collect());
        let (structure, live, nonzeros) = (Structure::Dense, Bits::default(), o * taps * c);
        Self { shape, filters, inputs, structure, live, nonzeros, turned: Derived::default() }
    }

    /// The pattern of a weight `[O, taps, C/G]` whose filters are zero unless their entry in `live` `[O]` is set.
    pub fn of_filters(live: &[bool], shape: [usize; 3]) -> Self {
        assert_eq!(live.len(), shape[0], "every filter has a flag");
        Self::of_live(set(live), shape)
    }

    /// The pattern of a weight of another shape `[O, taps, C/G]` with the same live filters, which have no zeros.
    pub fn of_same_filters(&self, shape: [usize; 3]) -> Self {
        assert_eq!(self.shape[0], shape[0], "both weights have the same number of filters");
        Self::of_live(self.filters.clone(), shape)
    }

    fn of_live(filters: Vec<u32>, shape: [usize; 3]) -> Self {
        let dense = Self::dense(shape);
        let nonzeros = filters.len() * shape[1] * shape[2];
        let inputs = if filters.is_empty() { Vec::new() } else { dense.inputs };
        Self { filters, inputs, nonzeros, ..dense }
    }

    /// The pattern of the zeros in `values` `[O, taps, C/G]`: a mask, which is zero where a weight is, or the weights.
    pub fn of(values: &[f32], shape: [usize; 3]) -> Self {
        let [o, taps, c] = shape;
        assert!(
            !shape.contains(&0) && values.len() == o * taps * c,
            "the values have the length of their shape"
        );
        let (mut filters, mut inputs, mut nonzeros) = (Vec::new(), vec![false; c], 0);
        for (filter, row) in values.chunks_exact(taps * c).enumerate() {
            let mut count = 0;
            for tap in row.chunks_exact(c) {
                for (input, &value) in inputs.iter_mut().zip(tap) {
                    *input |= value != 0.0;
                    count += usize::from(value != 0.0);
                }
            }
            nonzeros += count;
            filters.extend((count > 0).then_some(filter as u32));
        }
        let inputs = set(&inputs);
        let structure = if nonzeros == filters.len() * taps * inputs.len() {
            Structure::Dense
        } else {
            structure(values, shape, &filters)
        };
        let rows = values.chunks_exact(taps * c);
        let live = match structure {
            Structure::Dense => Bits::default(),
            Structure::Blocks { filters } => Bits::of(rows.step_by(filters).flatten()),
            Structure::NofM { .. } | Structure::Weights => Bits::of(rows.flatten()),
        };
        Self { shape, filters, inputs, structure, live, nonzeros, turned: Derived::default() }
    }

    /// `[O, taps, C/G]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The filters with a nonzero weight, ascending.
    pub fn filters(&self) -> &[u32] {
        &self.filters
    }

    /// The input channels, of a group, for which a filter of any group has a nonzero weight, ascending.
    pub fn inputs(&self) -> &[u32] {
        &self.inputs
    }

    /// The blocks of `size` consecutive input channels, of a group, that contain a live one, ascending.
    pub fn input_blocks(&self, size: usize) -> Vec<u32> {
        let mut blocks: Vec<u32> = self.inputs.iter().map(|&input| input / size as u32).collect();
        blocks.dedup();
        blocks
    }

    /// The zeros between those filters and channels.
    pub fn structure(&self) -> Structure {
        self.structure
    }

    /// Whether a filter has only zeros.
    pub fn has_dead_filters(&self) -> bool {
        self.filters.len() < self.shape[0]
    }

    /// The number of live filters in each of `groups` equal groups of filters.
    pub fn filters_by_group(&self, groups: usize) -> Vec<usize> {
        let mut counts = vec![0; groups];
        self.filters.iter().for_each(|&filter| counts[filter as usize / (self.shape[0] / groups)] += 1);
        counts
    }

    /// Whether weight `position` (`tap · C/G + channel`) of filter `filter` may be nonzero.
    pub fn is_live(&self, filter: usize, position: usize) -> bool {
        let [_, taps, c] = self.shape;
        let row = match self.structure {
            Structure::Dense => {
                let listed = |list: &[u32], item: usize| list.binary_search(&(item as u32)).is_ok();
                return listed(&self.filters, filter) && listed(&self.inputs, position % c);
            }
            Structure::Blocks { filters } => filter / filters,
            Structure::NofM { .. } | Structure::Weights => filter,
        };
        self.live.get(row * taps * c + position)
    }

    /// Whether weights `position .. position + count` of a filter may be nonzero, the first one in the lowest bit;
    /// `count ≤ 32`.
    pub fn live_bits(&self, filter: usize, position: usize, count: usize) -> u32 {
        let [_, taps, c] = self.shape;
        assert!(count <= 32 && position + count <= taps * c, "the weights lie inside the filter");
        let row = match self.structure {
            Structure::Dense => return self.dense_bits(filter, position, count),
            Structure::Blocks { filters } => filter / filters,
            Structure::NofM { .. } | Structure::Weights => filter,
        };
        self.live.range(row * taps * c + position, count)
    }

    /// [`live_bits`](Self::live_bits) of a dense structure.
    fn dense_bits(&self, filter: usize, position: usize, count: usize) -> u32 {
        let c = self.shape[2];
        if self.filters.binary_search(&(filter as u32)).is_err() {
            return 0;
        }
        let (mut bits, mut at) = (0, 0);
        while at < count {
            // The part of the range that lies in one tap.
            let channel = (position + at) % c;
            let len = (count - at).min(c - channel);
            let first = self.inputs.partition_point(|&input| (input as usize) < channel);
            for &input in self.inputs[first..].iter().take_while(|&&input| (input as usize) < channel + len) {
                bits |= 1 << (at + input as usize - channel);
            }
            at += len;
        }
        bits
    }

    /// The input channels, of a group, for which one of `filters` has a nonzero weight, ascending.
    pub fn channels_of(&self, filters: &[u32]) -> Vec<u32> {
        let [_, taps, c] = self.shape;
        let mut words = vec![0; c.div_ceil(32)];
        for (&filter, tap) in filters.iter().flat_map(|filter| (0..taps).map(move |tap| (filter, tap))) {
            for (first, word) in (0..c).step_by(32).zip(&mut words) {
                *word |= self.live_bits(filter as usize, tap * c + first, 32.min(c - first));
            }
        }
        (0..c as u32).filter(|channel| words[*channel as usize / 32] >> (channel % 32) & 1 == 1).collect()
    }

    /// The positions (`tap · C/G + channel`) of the nonzero weights of a filter, ascending; with
    /// [`Structure::Blocks`], those of its whole block.
    pub fn positions(&self, filter: usize) -> impl Iterator<Item = usize> + '_ {
        let [_, taps, c] = self.shape;
        (0..taps * c).filter(move |&position| self.is_live(filter, position))
    }

    /// The number of weights that may be nonzero.
    pub fn nonzeros(&self) -> usize {
        self.nonzeros
    }

    /// The share of weights that may be nonzero, in `[0, 1]`.
    pub fn density(&self) -> f64 {
        self.nonzeros as f64 / self.shape.iter().product::<usize>() as f64
    }

    /// The share of zeros among the weights of the live filters, in `[0, 1]`: the products that a kernel that skips
    /// only filters computes in vain.
    pub fn zeros_of_live_filters(&self) -> f64 {
        let weights = self.filters.len() * self.shape[1] * self.shape[2];
        if weights == 0 { 0.0 } else { 1.0 - self.nonzeros as f64 / weights as f64 }
    }

    /// The size of the lists in bytes.
    pub fn bytes(&self) -> usize {
        4 * (self.filters.len() + self.inputs.len()) + self.live.bytes()
    }
}

impl Conv2d {
    /// The shape of its weight as patterns see it, `[O, KH·KW, C / groups]`.
    pub fn filters_shape(&self) -> [usize; 3] {
        [self.o, self.kh * self.kw, self.c / self.groups]
    }
}

/// The name of the pattern, for tables: `dense`, `filters`, `filters and input channels`, `filters, 2:4`, …
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let removed = match (self.has_dead_filters(), self.inputs.len() < self.shape[2]) {
            (false, false) => "",
            (true, false) => "filters",
            (false, true) => "input channels",
            (true, true) => "filters and input channels",
        };
        let separator = if removed.is_empty() { "" } else { ", " };
        f.pad(&match self.structure {
            Structure::Dense if removed.is_empty() => "dense".into(),
            Structure::Dense => removed.into(),
            Structure::Blocks { filters } => format!("{removed}{separator}blocks of {filters}"),
            Structure::NofM { n, m } => format!("{removed}{separator}{n}:{m}"),
            Structure::Weights => format!("{removed}{separator}weights"),
        })
    }
}

/// The indices of the flags that are set.
fn set(flags: &[bool]) -> Vec<u32> {
    (0..).zip(flags).filter_map(|(i, &flag)| flag.then_some(i)).collect()
}

/// The structure of `values`, whose live filters are `filters`, unless it is dense.
fn structure(values: &[f32], shape: [usize; 3], filters: &[u32]) -> Structure {
    let [o, taps, c] = shape;
    match block_of_filters(values, o, taps * c) {
        1 => n_of_m(values, shape, filters).unwrap_or(Structure::Weights),
        filters => Structure::Blocks { filters },
    }
}

/// The largest number of consecutive filters that always have their zeros at the same positions.
fn block_of_filters(values: &[f32], o: usize, row: usize) -> usize {
    let same = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (*a == 0.0) == (*b == 0.0));
    let filter = |i: usize| &values[i * row..][..row];
    let mut block = 0;
    for i in 1..o {
        // Once every filter may differ from the one before it, the others need not be compared.
        if block != 1 && !same(filter(i - 1), filter(i)) {
            block = greatest_common_divisor(block, i);
        }
    }
    if block == 0 { o } else { block }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// The N:M structure of the live filters, if they have one.
fn n_of_m(values: &[f32], [_, taps, c]: [usize; 3], filters: &[u32]) -> Option<Structure> {
    let count = |group: &[f32]| group.iter().filter(|value| **value != 0.0).count();
    (2..=LARGEST_GROUP).filter(|&m| c.is_multiple_of(m)).find_map(|m| {
        let mut groups =
            filters.iter().flat_map(|&i| values[i as usize * taps * c..][..taps * c].chunks_exact(m));
        let n = count(groups.next()?);
        (n < m && groups.all(|group| count(group) == n)).then_some(Structure::NofM { n, m })
    })
}
