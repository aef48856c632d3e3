//! Vector operations are instructions, not calls.
//!
//! A function that does not have the features of an instruction set cannot inline its operations. If one comes between a
//! kernel and an operation, such as `array::map`, each operation is a call that passes its vectors through memory, and the
//! results are right.

#![cfg(all(target_arch = "x86_64", target_os = "linux", not(debug_assertions)))]

use object::read::elf::ElfFile64;
use object::{Object, ObjectSymbol};

/// Looks for operations among the symbols of this program, which has all kernels.
#[test]
fn every_vector_operation_is_inlined() {
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let file = ElfFile64::<object::Endianness>::parse(&*program).unwrap();
    let names: Vec<&str> = file.symbols().filter_map(|symbol| symbol.name().ok()).collect();
    assert!(names.iter().any(|name| name.contains("lopper_kernels")), "the program has its symbols");
    // Finding out what the machine has may call whatever it likes.
    let called: Vec<_> = names.iter().filter(|name| is_operation(name) && !name.contains("xgetbv")).collect();
    assert!(called.is_empty(), "operations that are called: {called:?}");
}

/// Whether the symbol is a function of `core::core_arch`, and not one of something else whose types are from there: its path,
/// `_RNvNtNtNtCs` and a hash or `_ZN`, begins with the crate.
fn is_operation(symbol: &str) -> bool {
    let Some((path, _)) = symbol.split_once("4core9core_arch") else { return false };
    let function = path.strip_prefix("_RNv").or_else(|| path.strip_prefix("_RINv"));
    let hash = function.and_then(|path| path.trim_start_matches("Nt").strip_prefix("Cs")?.strip_suffix('_'));
    path == "_ZN" || hash.is_some_and(|hash| hash.chars().all(char::is_alphanumeric))
}

#[test]
fn operations_are_told_from_functions_of_their_types() {
    assert!(is_operation("_RNvNtNtNtCsgEmfK2I1SDS_4core9core_arch3x863avx13__mm256_add_ps.llvm.155"));
    assert!(is_operation("_RINvNtNtNtCsgEm_4core9core_arch3x863avx21__mm256_extractf128_psKl1_ECs2r_4main"));
    assert!(is_operation("_ZN4core9core_arch3x863avx14_mm256_loadu_ps17h0123456789abcdefE"));
    assert!(!is_operation(
        "_RNvXs3_NtNtNtCs8N_4core4iter8adapters3zipINtB5_3ZipNtNtNtBb_9core_arch3x866___m256E"
    ));
    assert!(!is_operation("_RINvNtCs1_5other3fooNtNtNtCs8N_4core9core_arch3x866___m256E"));
}
