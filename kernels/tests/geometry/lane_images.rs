//! Images that stay in row lanes between sparse and depthwise convolutions and pools, compared with channels-last images.

use crate::cases::run;
use crate::draw::{Draw, filled};
use crate::support::CPUS;
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::{self, Cpu, Epilogue, ImageLayout, ImageLayouts, PackedConv2d, Packing, Weights};
use lopper_kernels::params::Activation;
use lopper_kernels::pattern::Pattern;
use lopper_kernels::shapes::{Conv2d, Pool2d};

const PACKING: Packing = Packing::InLanes(Weights::Cache);
const PLAIN: ImageLayout = ImageLayout::ChannelsLast;

/// A sparse convolution of one or nine pixels.
struct Sparse {
    g: Conv2d,
    w: Buffer,
    pattern: Pattern,
}

impl Sparse {
    fn draw(draw: &mut Draw, [n, h, w]: [usize; 3], c: usize, o: usize) -> Self {
        let k = draw.pick(&[1, 1, 3]);
        let g = Conv2d::square([n, h, w, c], o, k, 1, k / 2);
        let (row, block, one_in) = (g.w_len() / o, draw.pick(&[1, 1, 2]), draw.pick(&[2, 4, 10]));
        let mut w = draw.reals(g.w_len());
        for filters in w.chunks_mut(block * row) {
            let live: Vec<bool> = (0..row).map(|_| draw.one_in(one_in)).collect();
            for filter in filters.chunks_mut(row) {
                filter.iter_mut().zip(&live).for_each(|(w, &live)| *w *= f32::from(live));
            }
        }
        // At least one weight of each kind.
        w[0] = 0.0;
        w[row - 1] = if row > 1 { 0.5 } else { 0.0 };
        let pattern = Pattern::of(&w, g.filters_shape());
        Self { g, w, pattern }
    }

    /// The layouts in lanes that it reads and writes.
    fn lanes(&self, cpu: &Cpu) -> [ImageLayout; 2] {
        let images = cpu::conv2d_lane_images(cpu, &self.g, &self.pattern, PACKING);
        images.map(|images| images.map_or(PLAIN, ImageLayout::RowLanes))
    }

    fn run(&self, cpu: &Cpu, [x_layout, residual, y]: [ImageLayout; 3], x: &[f32], end: &Epilogue) -> Buffer {
        let packed = PackedConv2d::masked(cpu, &self.g, &self.w, &self.pattern, PACKING);
        let layouts = ImageLayouts { x: x_layout, residual, y };
        filled(y.len(self.g.y_shape()), |y| {
            cpu::conv2d_forward_between(cpu, &self.g, &layouts, x, &packed, end, y);
        })
    }
}

/// `last(relu(main(depthwise(first(x))) + side(x)))`. The depthwise convolution may have stride 2; `side` has then its own
/// image.
struct Block {
    x: Buffer,
    /// The image that `side` reads, of the size of the output.
    shortcut: Buffer,
    bias: Buffer,
    first: Sparse,
    depthwise: (Conv2d, Buffer),
    side: Sparse,
    main: Sparse,
    last: Sparse,
}

impl Block {
    fn draw(draw: &mut Draw) -> Self {
        let wide = draw.one_in(4);
        let image = [draw.between(1..=9), draw.between(1..=9), draw.between(1..=if wide { 150 } else { 17 })];
        let [n, h, w] = image;
        let [c, middle, o] = [9, 20, 20].map(|most| draw.between(2..=most));
        let stride = draw.between(1..=2);
        let depthwise = Conv2d { groups: middle, ..Conv2d::square([n, h, w, middle], middle, 3, stride, 1) };
        let after = [n, depthwise.oh(), depthwise.ow()];
        Self {
            x: draw.reals(n * h * w * c),
            shortcut: draw.reals(after.iter().product::<usize>() * c),
            bias: draw.reals(o),
            first: Sparse::draw(draw, image, c, middle),
            depthwise: (depthwise, draw.reals(depthwise.w_len())),
            side: Sparse::draw(draw, after, c, o),
            main: Sparse::draw(draw, after, middle, o),
            last: Sparse::draw(draw, after, o, 3),
        }
    }

    /// Computes the block with the results of `first`, the depthwise convolution, `side` and `main` in these layouts.
    fn run(&self, cpu: &Cpu, [inner, deep, side, outer]: [ImageLayout; 4]) -> Buffer {
        let none = Epilogue::default();
        let first = self.first.run(cpu, [PLAIN, PLAIN, inner], &self.x, &none);
        let (g, w) = &self.depthwise;
        let layouts = ImageLayouts { x: inner, residual: PLAIN, y: deep };
        let read = filled(deep.len(g.y_shape()), |y| {
            let relu6 = Epilogue { activation: Activation::Relu6, ..none };
            cpu::conv2d_forward_between(cpu, g, &layouts, &first, &PackedConv2d::new(cpu, g, w), &relu6, y);
        });
        let residual = self.side.run(cpu, [PLAIN, PLAIN, side], &self.shortcut, &none);
        let (bias, activation) = (Some(&*self.bias), Activation::Relu);
        let end = Epilogue { bias, residual: Some(&residual), activation };
        let sum = self.main.run(cpu, [deep, side, outer], &read, &end);
        self.last.run(cpu, [outer, PLAIN, PLAIN], &sum, &none)
    }
}

#[test]
fn lane_images() {
    run("lane_images", 60, |draw| {
        let block = Block::draw(draw);
        draw.about(format_args!("{:?} … {:?} … {:?}", block.first.g, block.main.g, block.last.g));
        let flags = draw.flags(3);
        for cpu in &*CPUS {
            let if_shared =
                |one: ImageLayout, other, wanted| if one == other && wanted { one } else { PLAIN };
            let [[_, first], [read, written]] = [&block.first, &block.main].map(|conv| conv.lanes(cpu));
            let after = match first {
                ImageLayout::RowLanes(images) => cpu::conv2d_lanes_after(&block.depthwise.0, &images),
                ImageLayout::ChannelsLast => None,
            };
            let deep = if_shared(after.map_or(PLAIN, ImageLayout::RowLanes), read, flags[0]);
            let [side, last] = [block.side.lanes(cpu)[1], block.last.lanes(cpu)[0]];
            let layouts = [
                if deep == PLAIN { PLAIN } else { first },
                deep,
                if_shared(side, written, flags[1]),
                if_shared(written, last, flags[2]),
            ];
            let (want, found) = (block.run(cpu, [PLAIN; 4]), block.run(cpu, layouts));
            assert!(want.iter().all(|y| !y.is_nan()), "every pixel is written");
            assert_eq!(*found, *want, "{} in {layouts:?}", cpu.isa());
        }
    });
}

/// `last(pool(first(x)))` with images in lanes around the pool has the bits of channels-last images.
#[test]
fn lane_pools() {
    run("lane_pools", 40, |draw| {
        let wide = draw.one_in(2);
        let image = [draw.between(1..=5), draw.between(2..=9), draw.between(2..=if wide { 140 } else { 40 })];
        let [n, h, w] = image;
        let [c, middle, o] = [5, 12, 12].map(|most| draw.between(1..=most));
        let g = Pool2d { ceil_mode: draw.one_in(4), ..Pool2d::square([n, h, w, middle], 2, 2) };
        let first = Sparse::draw(draw, image, c, middle);
        let last = Sparse::draw(draw, [n, g.oh(), g.ow()], middle, o);
        let x = draw.reals(n * h * w * c);
        draw.about(format_args!("{:?} … {g:?} … {:?}", first.g, last.g));
        let none = Epilogue::default();
        for cpu in &*CPUS {
            let ImageLayout::RowLanes(images) = first.lanes(cpu)[1] else { continue };
            let Some(after) = cpu::max_pool2d_lanes_after(&g, &images) else { continue };
            let inner = first.run(cpu, [PLAIN, PLAIN, ImageLayout::RowLanes(images)], &x, &none);
            let pooled = filled(after.len(middle), |y| {
                cpu::max_pool2d_forward_lanes(cpu, &g, &images, &inner, y);
            });
            let plain = first.run(cpu, [PLAIN; 3], &x, &none);
            let want = filled(g.y_len(), |y| cpu::max_pool2d_forward(cpu, &g, &plain, y));
            let want = last.run(cpu, [PLAIN; 3], &want, &none);
            // Only a convolution that reads these lanes shows what is in them.
            if last.lanes(cpu)[0] == ImageLayout::RowLanes(after) {
                let found = last.run(cpu, [ImageLayout::RowLanes(after), PLAIN, PLAIN], &pooled, &none);
                assert_eq!(*found, *want, "{} in {images:?}", cpu.isa());
            }
        }
    });
}
