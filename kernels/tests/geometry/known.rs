//! Geometries that failed once.

use crate::draw::{Draw, filled};
use crate::support::{CPUS, guard};
use lopper_kernels::cpu::{self, Algorithm, Epilogue, PackedConv2d, Packing};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::reference;
use lopper_kernels::shapes::Conv2d;

/// Slots without a window fill up the last tile of an image with few channels. They read a row of zeros, which must be
/// as long as a kernel row of the padded image, not only as long as a pixel.
#[test]
fn slots_without_a_window_read_zeros() {
    guard();
    let mut draw = Draw::new(1, |_| ());
    let stem = Conv2d::square([1, 40, 40, 3], 64, 7, 2, 3);
    let wide_row = Conv2d { kw: 400, ..Conv2d::square([1, 3, 400, 15], 1, 1, 1, 0) };
    for g in [stem, wide_row] {
        let (x, w) = (draw.integers(g.x_len()), draw.integers(g.w_len()));
        let want = filled(g.y_len(), |y| reference::conv2d_forward(&g, &x, &w, None, y));
        for cpu in &*CPUS {
            let y = filled(g.y_len(), |y| cpu::conv2d_forward(cpu, &g, &x, &w, None, y));
            assert_eq!(y[..], want[..], "{} of {g:?}", cpu.isa());
        }
    }
}

/// Winograd's algorithm has no first panel of filters if all filters are dead.
#[test]
fn filters_that_are_all_dead_need_no_algorithm() {
    guard();
    let mut draw = Draw::new(2, |_| ());
    let g = Conv2d::square([1, 6, 6, 20], 20, 3, 1, 1);
    let (x, w, bias) = (draw.reals(g.x_len()), draw.reals(g.w_len()), draw.reals(g.o));
    let want: Vec<f32> = bias.iter().copied().cycle().take(g.y_len()).collect();
    let epilogue = Epilogue { bias: Some(&bias), ..Default::default() };
    let dead = Pattern::of_filters(&[false; 20], g.filters_shape());
    for cpu in &*CPUS {
        for algorithm in
            [Algorithm::Direct, Algorithm::Winograd2, Algorithm::Winograd4, Algorithm::WinogradRows]
        {
            let packed = PackedConv2d::masked(cpu, &g, &w, &dead, Packing::By(algorithm));
            let y = filled(g.y_len(), |y| {
                cpu::conv2d_forward_packed(cpu, &g, &x, &packed, &epilogue, y);
            });
            assert_eq!(y[..], want[..], "{} {algorithm}", cpu.isa());
        }
    }
}
