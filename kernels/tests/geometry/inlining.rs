//! Vector operations are instructions, not calls.
//!
//! A function that does not have the features of an instruction set cannot inline its operations. If one comes between a
//! kernel and an operation, such as `array::map`, each operation is a call that passes its vectors through memory, and the
//! results are right.

#![cfg(all(target_arch = "x86_64", target_os = "linux", not(debug_assertions)))]

use object::read::elf::ElfFile64;
use object::{Object, ObjectSymbol};

/// The symbols of this program, which has all kernels, for operations of the standard library.
#[test]
fn every_vector_operation_is_inlined() {
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let file = ElfFile64::<object::Endianness>::parse(&*program).unwrap();
    let names: Vec<&str> = file.symbols().filter_map(|symbol| symbol.name().ok()).collect();
    assert!(names.iter().any(|name| name.contains("lopper_kernels")), "the program has its symbols");
    // Finding out what the machine has may call whatever it likes.
    let operations = names.iter().filter(|name| name.contains("core_arch") && !name.contains("xgetbv"));
    assert_eq!(operations.collect::<Vec<_>>(), Vec::<&&str>::new(), "operations that are called");
}
