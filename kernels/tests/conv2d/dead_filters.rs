//! Masked convolutions leave out their dead filters only where that saves more than scattering the others costs.

use super::*;
use lopper_kernels::cpu::Footprint;

/// The result of a masked convolution with integers and a bias is exact, whether `computed` dead filters are computed.
fn exact_masked(g: &Conv2d, live: &[bool], computed: Option<usize>) {
    let mut random = Random(g.c as u64);
    let (x, w, bias) = (random.integers(g.x_len()), random.integers(g.w_len()), random.integers(g.o));
    let mut want = vec![0.0; g.y_len()];
    reference::conv2d_masked_forward(g, &x, &w, Some(&bias), live, &mut want);
    let (pattern, packing) = (Pattern::of_filters(live, g.filters_shape()), Packing::By(Algorithm::Direct));
    for cpu in &*CPUS {
        let packed = PackedConv2d::masked(cpu, g, &w, &pattern, packing);
        let mut y = vec![f32::NAN; g.y_len()];
        let epilogue = Epilogue { bias: Some(&bias), ..Default::default() };
        cpu::conv2d_forward_packed(cpu, g, &x, &packed, &epilogue, &mut y);
        assert_eq!(y, want, "{}", packed.kernel());
        let filters = if computed.is_some() { g.o } else { pattern.filters().len() };
        assert_eq!(packed.products(g) * g.o as u64, g.macs() * filters as u64, "{}", packed.kernel());
        let note = computed
            .map(|dead| format!("{dead} dead filters are computed, because leaving them out takes longer"));
        assert_eq!(packed.choice().zeros_note(), note.as_deref());
        assert!(Footprint::new(cpu, g, &pattern, packing).packed >= packed.bytes() as u64);
        let strict = PackedConv2d::masked(&cpu.clone().strict(), g, &w, &pattern, packing);
        assert_eq!(strict.choice().zeros_note(), None, "a strict device multiplies no zeros of dead filters");
    }
}

#[test]
fn dead_filters_are_computed_where_that_is_faster() {
    // One filter of 40 fills no fewer vectors, and one tap of three channels is too short to pay for a scatter.
    let first = Conv2d::square([2, 9, 8, 3], 40, 3, 1, 1);
    exact_masked(&first, &std::array::from_fn::<_, 40, _>(|o| o != 7), Some(1));
    let pointwise = Conv2d::square([2, 9, 8, 3], 64, 1, 1, 0);
    exact_masked(&pointwise, &std::array::from_fn::<_, 64, _>(|o| o % 2 == 0), Some(32));
}

/// Zeros between the live filters that no kernel skips change nothing.
#[test]
fn dead_filters_between_other_zeros_are_computed_where_that_is_faster() {
    let g = Conv2d::square([2, 9, 8, 3], 64, 7, 2, 3);
    let mut random = Random(8);
    let (x, mut w) = (random.integers(g.x_len()), random.integers(g.w_len()));
    for (o, filter) in w.chunks_mut(7 * 7 * 3).enumerate() {
        filter
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| o % 21 == 2 || (o / 8 + i) % 2 == 0)
            .for_each(|(_, w)| *w = 0.0);
    }
    let mut want = vec![0.0; g.y_len()];
    reference::conv2d_forward(&g, &x, &w, None, &mut want);
    let pattern = Pattern::of(&w, g.filters_shape());
    assert!(pattern.has_dead_filters() && pattern.zeros_of_live_filters() > 0.4);
    for cpu in &*CPUS {
        let packed = PackedConv2d::masked(cpu, &g, &w, &pattern, Packing::By(Algorithm::Direct));
        let mut y = vec![f32::NAN; g.y_len()];
        cpu::conv2d_forward_packed(cpu, &g, &x, &packed, &Epilogue::default(), &mut y);
        assert_eq!(y, want, "{}", packed.kernel());
        let note = packed.choice().zeros_note().unwrap();
        assert!(note.ends_with("dead filters are computed, because leaving them out takes longer"), "{note}");
    }
}

#[test]
fn dead_filters_are_left_out_where_that_is_faster() {
    let g = Conv2d::square([1, 7, 8, 40], 64, 3, 1, 1);
    exact_masked(&g, &std::array::from_fn::<_, 64, _>(|o| o % 2 == 1), None);
    exact_masked(&g, &[false; 64], None);
}
