//! Random inputs, every supported CPU configuration, and comparison with an oracle.

use lopper_kernels::cpu::{Cpu, Isa};
use lopper_kernels::guard::Guard;
use std::sync::OnceLock;

/// Returns `len` numbers in −1..1 that depend only on `seed` and are exact in `f32`.
pub fn random(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0
    };
    (0..len).map(step).collect()
}

/// Returns `len` integers in −4..=4.
pub fn integers(seed: u64, len: usize) -> Vec<f64> {
    random(seed, len).into_iter().map(|x| (4.5 * x).round()).collect()
}

/// Rounds to single precision.
pub fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

/// Converts to double precision, exactly.
pub fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

/// Returns the bits of each number, so that comparisons distinguish values that `==` does not.
pub fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Each instruction set of this machine, with one thread and with three. The buffers that kernels borrow are guarded.
fn cpus() -> &'static [[Cpu; 2]] {
    static CPUS: OnceLock<Vec<[Cpu; 2]>> = OnceLock::new();
    CPUS.get_or_init(|| {
        if Guard::current() == Guard::Off {
            Guard::After.set();
        }
        let available = Isa::ALL.into_iter().filter_map(Cpu::with_isa);
        available.map(|cpu| [cpu.clone().threads(1), cpu.threads(3)]).collect()
    })
}

/// Returns the results of `op` on each instruction set, and checks that one and three threads give the same bits.
pub fn on_each_isa(op: impl Fn(&Cpu) -> Vec<f32>) -> Vec<(Isa, Vec<f32>)> {
    let run = |[one, three]: &[Cpu; 2]| {
        let result = op(one);
        assert_eq!(bits(&result), bits(&op(three)), "{} with one and with three threads", one.isa());
        (one.isa(), result)
    };
    cpus().iter().map(run).collect()
}

/// Checks `op` on each instruction set against `want`: `|error| ≤ bound[i]`.
pub fn check_within(op: impl Fn(&Cpu) -> Vec<f32>, want: &[f64], bound: &[f64]) {
    for (isa, got) in on_each_isa(op) {
        assert_eq!(got.len(), want.len());
        for (i, ((&got, want), bound)) in got.iter().zip(want).zip(bound).enumerate() {
            let error = (f64::from(got) - want).abs();
            assert!(
                error <= *bound,
                "{isa}: element {i}: got {got}, want {want}, error {error:e} above {bound:e}"
            );
        }
    }
}

/// Checks `op` on each instruction set against `want`, within `tolerance` relative to `1 + |want|`.
pub fn check_close(op: impl Fn(&Cpu) -> Vec<f32>, want: &[f64], tolerance: f64) {
    let bound: Vec<f64> = want.iter().map(|want| tolerance * (1.0 + want.abs())).collect();
    check_within(op, want, &bound);
}

/// Checks `op` on each instruction set against `want`, bit for bit.
pub fn check_exact(op: impl Fn(&Cpu) -> Vec<f32>, want: &[f32]) {
    for (isa, got) in on_each_isa(op) {
        assert_eq!(got, want, "{isa}");
    }
}

/// Returns `len` floats written by `fill`, which must write all of them. Turns a kernel into an expression.
pub fn filled<F: lopper_kernels::reference::Float>(len: usize, fill: impl FnOnce(&mut [F])) -> Vec<F> {
    let mut out = vec![F::of(f64::NAN); len];
    fill(&mut out);
    out
}
