#![no_main]

use libfuzzer_sys::{fuzz_crossover, fuzz_mutator, fuzz_target, fuzzer_mutate};
use lopper_fuzz::structure::onnx::{cross, mutate};
use lopper_fuzz::targets;

fuzz_target!(|data: &[u8]| targets::onnx(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed, &fuzzer_mutate).unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});

fuzz_crossover!(|data1: &[u8], data2: &[u8], out: &mut [u8], seed: u32| { cross(data1, data2, out, seed) });
