//! Row lanes on shapes that cross the limits of the loop nests, and against the direct algorithm.

use super::*;
use lopper_kernels::cpu::{ImageLayout, ImageLayouts, LaneEstimates, LaneImages};
use lopper_kernels::pattern::Structure;

/// Convolutions in row lanes: wide, narrow and cut rows, bands, strips, strides, and several blocks of channels.
fn geometries() -> [Conv2d; 12] {
    let rows = Conv2d::square([2, 5, 6, 20], 21, 3, 1, 1);
    [
        rows,
        Conv2d::square([3, 33, 34, 17], 18, 3, 1, 1),
        Conv2d::square([1, 8, 8, 300], 40, 3, 1, 1),
        Conv2d::square([1, 4, 4, 130], 35, 3, 1, 1),
        Conv2d::square([17, 4, 4, 9], 33, 3, 1, 1),
        Conv2d::square([5, 2, 2, 70], 7, 3, 1, 1),
        Conv2d::square([1, 7, 260, 5], 6, 3, 1, 1),
        Conv2d::square([2, 31, 29, 40], 24, 3, 2, 1),
        Conv2d::square([2, 14, 14, 65], 40, 1, 1, 0),
        Conv2d::square([3, 15, 13, 65], 17, 1, 2, 0),
        Conv2d::square([2, 9, 20, 12], 10, 3, 1, 0),
        Conv2d { dilation: [2, 1], padding: [2, 1], ..rows },
    ]
}

/// A weight of integers in which `percent` in a hundred blocks of `block` filters are zero at each position.
fn sparse(g: &Conv2d, block: usize, percent: u64, random: &mut Random) -> Vec<f32> {
    let (row, mut w) = (g.w_len() / g.o, random.integers(g.w_len()));
    w.iter_mut().filter(|w| **w == 0.0).for_each(|w| *w = 5.0);
    for filters in w.chunks_mut(block * row) {
        for position in 0..row {
            if random.bits() % 100 < percent {
                filters.iter_mut().skip(position).step_by(row).for_each(|w| *w = 0.0);
            }
        }
    }
    w
}

/// Packs `w` in row lanes.
fn packed(cpu: &Cpu, g: &Conv2d, w: &[f32]) -> PackedConv2d {
    let pattern = Pattern::of(w, g.filters_shape());
    let packed = PackedConv2d::masked(cpu, g, w, &pattern, Packing::By(Algorithm::RowLanes));
    assert_eq!(packed.choice().algorithm, Algorithm::RowLanes, "{g:?}: {}", packed.choice());
    packed
}

#[test]
fn row_lanes_are_exact_on_integers() {
    let mut random = Random(11);
    for g in geometries() {
        for (block, percent) in [(1, 50), (1, 95), (2, 60), (4, 90), (3, 80)] {
            let w = sparse(&g, block, percent, &mut random);
            let pattern = Pattern::of(&w, g.filters_shape());
            for packing in [Packing::By(Algorithm::RowLanes), Packing::InLanes(Weights::Memory)] {
                exact_epilogues(&g, &w, &mut random, |cpu| {
                    PackedConv2d::masked(cpu, &g, &w, &pattern, packing)
                });
            }
        }
    }
}

#[test]
fn row_lanes_give_the_same_bits_for_any_number_of_threads() {
    let mut random = Random(12);
    for g in geometries() {
        for block in [1, 2] {
            let (x, mask) = (random.reals(g.x_len()), sparse(&g, block, 80, &mut random));
            let reals = random.reals(g.w_len());
            let w: Vec<f32> = reals.iter().zip(&mask).map(|(w, mask)| w * mask).collect();
            for cpu in &*CPUS {
                let results = [1, 2, 3].map(|threads| {
                    let cpu = cpu.clone().threads(threads);
                    let mut y = vec![f32::NAN; g.y_len()];
                    let packed = packed(&cpu, &g, &w);
                    cpu::conv2d_forward_packed(&cpu, &g, &x, &packed, &Epilogue::default(), &mut y);
                    y
                });
                assert!(results.iter().all(|y| *y == results[0]), "{} of {g:?}", cpu.isa());
            }
        }
    }
}

#[test]
fn only_nonzero_weights_are_multiplied_and_stored() {
    let (mut random, g) = (Random(13), Conv2d::square([2, 8, 8, 64], 32, 3, 1, 1));
    for block in [1, 2, 3, 8] {
        let w = sparse(&g, block, 90, &mut random);
        let pattern = Pattern::of(&w, g.filters_shape());
        let found = matches!(pattern.structure(), Structure::Blocks { filters } if filters == block);
        assert!(found || block == 1 && pattern.structure() == Structure::Weights, "{pattern}");
        let nonzeros = w.iter().filter(|w| **w != 0.0).count();
        for cpu in &*CPUS {
            let packed = packed(cpu, &g, &w);
            assert_eq!(packed.products(&g), (2 * 8 * 8 * nonzeros) as u64, "blocks of {block}");
            assert!(packed.bytes() < 4 * g.w_len(), "{} bytes", packed.bytes());
        }
    }
}

#[test]
fn row_lanes_state_why_they_do_not_apply() {
    let square = Conv2d::square([1, 8, 8, 8], 8, 3, 1, 1);
    for (g, dense, why) in [
        (square, true, "no single weight is zero"),
        (Conv2d { groups: 2, ..square }, false, "channels are grouped"),
        (Conv2d::square([1, 8, 8, 8], 8, 5, 1, 2), false, "a row of taps reads more than three lanes"),
    ] {
        let mut w = vec![1.0; g.w_len()];
        w[0] = f32::from(dense);
        let pattern = Pattern::of(&w, g.filters_shape());
        for cpu in &*CPUS {
            let packed = PackedConv2d::masked(cpu, &g, &w, &pattern, Packing::By(Algorithm::RowLanes));
            assert_eq!(packed.choice().algorithm, Algorithm::Direct);
            assert!(packed.choice().to_string().starts_with(why), "{}", packed.choice());
        }
    }
}

/// Row lanes are chosen for few nonzero weights, and the choice names the density at which it changes.
#[test]
fn the_choice_follows_the_density() {
    let mut random = Random(14);
    for g in [Conv2d::square([4, 16, 16, 128], 64, 3, 1, 1), Conv2d::square([4, 16, 16, 128], 64, 1, 1, 0)] {
        for cpu in &*CPUS {
            let choice = |percent| {
                let pattern = Pattern::of(&sparse(&g, 1, percent, &mut random), g.filters_shape());
                let packing = Packing::Fastest(Weights::Cache);
                let packed = PackedConv2d::masked(cpu, &g, &vec![0.5; g.w_len()], &pattern, packing);
                let why = packed.choice().to_string();
                let (_, rest) = why.split_once("chosen below ").unwrap_or_else(|| panic!("{why}"));
                let below: u64 = rest.split_once(" %").unwrap().0.parse().unwrap();
                (packed.choice().algorithm == Algorithm::RowLanes, below)
            };
            let percents = [5u64, 40, 70, 80, 90, 96];
            let choices = percents.map(choice);
            assert!(!choices[0].0 && choices[5].0, "{}: {choices:?} for {g:?}", cpu.isa());
            let below = choices[5].1;
            assert!((6..95).contains(&below), "{}: {choices:?}", cpu.isa());
            // The density at which the choice changes hardly depends on the density itself.
            assert!(choices.iter().all(|choice| choice.1.abs_diff(below) <= 2), "{}: {choices:?}", cpu.isa());
            for ((lanes, _), zeros) in choices.into_iter().zip(percents) {
                if (100 - zeros).abs_diff(below) > 3 {
                    assert_eq!(lanes, 100 - zeros < below, "{}: {choices:?}", cpu.isa());
                }
            }
        }
    }
}

/// An infinity reaches only the outputs that multiply it by a nonzero weight.
#[test]
fn zero_weights_do_not_spread_infinities() {
    let g = Conv2d::square([1, 6, 6, 2], 2, 3, 1, 1);
    let mut x = vec![1.0; g.x_len()];
    x[2 * (6 * 2 + 3)] = f32::INFINITY;
    let mut w = vec![0.0; g.w_len()];
    // The first filter reads the pixel itself in channel 0, the second the one to its right in channel 1.
    w[2 * 4] = 1.0;
    w[18 + 2 * 5 + 1] = 1.0;
    for cpu in &*CPUS {
        let mut y = vec![f32::NAN; g.y_len()];
        cpu::conv2d_forward_packed(cpu, &g, &x, &packed(cpu, &g, &w), &Epilogue::default(), &mut y);
        assert!(y.iter().all(|y| !y.is_nan()), "{}", cpu.isa());
        assert_eq!(y.iter().filter(|y| y.is_infinite()).count(), 1);
    }
}

/// Sparse convolutions as in a residual block: `last(relu6(main(relu(first(x))) + bias + side(x)))`.
struct Block {
    x: Vec<f32>,
    bias: Vec<f32>,
    /// The geometries and weights of first, side, main and last.
    convs: [(Conv2d, Vec<f32>); 4],
}

impl Block {
    fn new(g: &Conv2d, random: &mut Random) -> Self {
        let (first, side) = (Conv2d { c: 11, o: g.c, ..*g }, Conv2d { c: 11, ..*g });
        let last = Conv2d { c: g.o, o: 4, ..*g };
        let convs = [(first, 1), (side, 2), (*g, 2), (last, 1)];
        let convs = convs.map(|(g, block)| (g, sparse(&g, block, 70, random)));
        Self { x: random.reals(first.x_len()), bias: random.reals(g.o), convs }
    }

    /// The lanes that each convolution can read and write.
    fn lanes(&self, cpu: &Cpu) -> [[Option<LaneImages>; 2]; 4] {
        self.convs.each_ref().map(|(g, w)| {
            let pattern = Pattern::of(w, g.filters_shape());
            cpu::conv2d_lane_images(cpu, g, &pattern, Packing::By(Algorithm::RowLanes))
        })
    }

    /// Computes the block with the results of `first`, `side` and `main` in these layouts.
    fn run(&self, cpu: &Cpu, [inner, side, outer]: [ImageLayout; 3]) -> Vec<f32> {
        let conv = |i: usize, [x_layout, residual, y_layout]: [ImageLayout; 3], x: &[f32], end: &Epilogue| {
            let (g, w) = &self.convs[i];
            let layouts = ImageLayouts { x: x_layout, residual, y: y_layout };
            let mut y = Buffer::unspecified(y_layout.len(g.y_shape()));
            y.fill(f32::NAN);
            cpu::conv2d_forward_between(cpu, g, &layouts, x, &packed(cpu, g, w), end, &mut y);
            y
        };
        let (plain, none) = (ImageLayout::ChannelsLast, Epilogue::default());
        let relu = Epilogue { activation: Activation::Relu, ..none };
        let first = conv(0, [plain, plain, inner], &self.x, &relu);
        let residual = conv(1, [plain, plain, side], &self.x, &none);
        let activation = Activation::Relu6;
        let sum = Epilogue { bias: Some(&self.bias), residual: Some(&residual), activation };
        conv(3, [outer, plain, plain], &conv(2, [inner, side, outer], &first, &sum), &none).to_vec()
    }
}

#[test]
fn images_that_stay_in_lanes_give_the_same_bits() {
    let mut random = Random(15);
    for cpu in &*CPUS {
        let (mut inner, mut outer) = (0, 0);
        for g in geometries().iter().filter(|g| g.kw == 3 && [g.h, g.w] == [g.oh(), g.ow()]) {
            let (block, plain) = (Block::new(g, &mut random), ImageLayout::ChannelsLast);
            let [[_, first], [_, side], [read, written], [last, _]] = block.lanes(cpu);
            let want = block.run(cpu, [plain; 3]);
            let Some(lanes) = first.filter(|_| first == read).map(ImageLayout::RowLanes) else { continue };
            assert_eq!(block.run(cpu, [lanes, plain, plain]), want, "{} of {g:?}", cpu.isa());
            inner += 1;
            let Some(sum) = written.filter(|_| written == side && written == last) else { continue };
            let sum = ImageLayout::RowLanes(sum);
            for [side, outer] in [[plain, sum], [sum, plain], [sum, sum]] {
                let found = block.run(cpu, [lanes, side, outer]);
                assert_eq!(found, want, "{} of {g:?}, {side:?} + … = {outer:?}", cpu.isa());
            }
            outer += 1;
        }
        assert!(inner >= 3 && outer >= 2, "{}: {inner} and {outer} geometries", cpu.isa());
    }
}

/// Sizes of images: wide and narrow rows, with and without lanes to spare, and a batch that does not divide the lanes.
const SIZES: [[usize; 3]; 10] = [
    [2, 5, 64],
    [1, 9, 33],
    [3, 4, 28],
    [2, 16, 16],
    [1, 3, 15],
    [5, 8, 8],
    [3, 7, 7],
    [9, 4, 4],
    [17, 2, 2],
    [3, 1, 1],
];

/// An inverted residual block, `x + project(depthwise(relu6(expand(x)))) `, in lanes from end to end and channels-last.
#[test]
fn pointwise_and_depthwise_convolutions_stay_in_lanes() {
    let (mut random, mut in_lanes) = (Random(16), 0);
    for [n, h, w] in SIZES {
        let expand = Conv2d::square([n, h, w, 9], 21, 1, 1, 0);
        let depthwise = Conv2d { groups: 21, ..Conv2d::square([n, h, w, 21], 21, 3, 1, 1) };
        let project = Conv2d::square([n, h, w, 21], 9, 1, 1, 0);
        let sparse = [expand, project].map(|g| {
            let mask = sparse(&g, 1, 70, &mut random);
            random.reals(g.w_len()).iter().zip(&mask).map(|(w, mask)| w * mask).collect::<Vec<f32>>()
        });
        let (x, kernels) = (random.reals(expand.x_len()), random.reals(depthwise.w_len()));
        let (bias, none) = (random.reals(21), Epilogue::default());
        let relu6 = Epilogue { bias: Some(&bias), activation: Activation::Relu6, ..none };
        let sum = Epilogue { residual: Some(&x), ..none };
        for cpu in &*CPUS {
            let pack = |g: &Conv2d, w: &[f32], packing| {
                PackedConv2d::masked(cpu, g, w, &Pattern::of(w, g.filters_shape()), packing)
            };
            let run = |images: Option<LaneImages>| {
                let plain = ImageLayout::ChannelsLast;
                let lanes = images.map_or(plain, ImageLayout::RowLanes);
                let packing = Packing::InLanes(Weights::Cache);
                let conv = |g: &Conv2d,
                            w: &PackedConv2d,
                            [x_layout, y_layout]: [ImageLayout; 2],
                            x: &[f32],
                            end: &Epilogue| {
                    let layouts = ImageLayouts { x: x_layout, residual: plain, y: y_layout };
                    let mut y = Buffer::unspecified(y_layout.len(g.y_shape()));
                    y.fill(f32::NAN);
                    cpu::conv2d_forward_between(cpu, g, &layouts, x, w, end, &mut y);
                    y
                };
                let wide = conv(&expand, &pack(&expand, &sparse[0], packing), [plain, lanes], &x, &relu6);
                let kernels = PackedConv2d::new(cpu, &depthwise, &kernels);
                let deep = conv(&depthwise, &kernels, [lanes; 2], &wide, &relu6);
                conv(&project, &pack(&project, &sparse[1], packing), [lanes, plain], &deep, &sum).to_vec()
            };
            let images = [(&expand, 1), (&project, 0)].map(|(g, end)| {
                let pattern = Pattern::of(&sparse[end ^ 1], g.filters_shape());
                cpu::conv2d_lane_images(cpu, g, &pattern, Packing::InLanes(Weights::Cache))[end]
            });
            assert_eq!(images[0], images[1], "neighbors share their lanes");
            let want = run(None);
            // Strips of a row, or bands of an image side by side, do not stay in lanes.
            if let Some(images) = &images[0] {
                assert_eq!(cpu::conv2d_lanes_after(&depthwise, images).as_ref(), Some(images));
            }
            if images[0].is_some() {
                assert_eq!(run(images[0]), want, "{}: {n}×{h}×{w} in lanes", cpu.isa());
                in_lanes += 1;
            }
        }
    }
    assert!(in_lanes >= 6 * CPUS.len(), "{in_lanes} sizes and instruction sets");
}

/// What stays in lanes is not converted, and only a choice by time has estimates.
#[test]
fn estimates_fall_with_every_conversion() {
    let mut random = Random(17);
    for g in [Conv2d::square([4, 16, 16, 64], 48, 3, 1, 1), Conv2d::square([4, 16, 16, 48], 64, 1, 1, 0)] {
        let pattern = Pattern::of(&sparse(&g, 1, 80, &mut random), g.filters_shape());
        let dense = Pattern::dense(g.filters_shape());
        for cpu in &*CPUS {
            let packing = Packing::Fastest(Weights::Cache);
            let LaneEstimates { fastest, in_lanes: [[none, writes], [reads, both]], residual } =
                LaneEstimates::new(cpu, &g, &pattern, packing).expect("row lanes apply");
            assert!(fastest > 0.0 && residual > 0.0 && both > 0.0, "{}", cpu.isa());
            assert!(none > writes && none > reads && writes > both && reads > both, "{}", cpu.isa());
            assert_eq!(LaneEstimates::new(cpu, &g, &dense, packing), None);
            assert_eq!(LaneEstimates::new(cpu, &g, &pattern, Packing::By(Algorithm::RowLanes)), None);
            assert_eq!(LaneEstimates::new(&cpu.clone().strict(), &g, &pattern, packing), None);
        }
    }
}
