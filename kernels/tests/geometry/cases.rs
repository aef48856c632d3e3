//! Runs the cases of a family of operations and reports the one that fails.

use crate::crash::Slot;
use crate::draw::Draw;
use crate::support::guard;
use std::env::VarError;

/// The default number of cases of all families together.
const CASES: usize = 5000;

/// Reads a number from an environment variable.
fn number(variable: &str) -> Option<usize> {
    match std::env::var(variable) {
        Err(VarError::NotPresent) => None,
        text => Some(text.unwrap().parse().unwrap_or_else(|e| panic!("{variable}: {e}"))),
    }
}

/// Runs `case` for `share` thousandths of all cases, or only the case that `LOPPER_GEOMETRY` names.
pub fn run(family: &'static str, share: usize, case: impl Fn(&mut Draw)) {
    guard();
    let cases = match number("LOPPER_GEOMETRY") {
        Some(only) => only..only + 1,
        None => 0..(number("LOPPER_GEOMETRIES").unwrap_or(CASES) * share).div_ceil(1000),
    };
    let slot = Slot::new();
    for number in cases {
        let reproduce = format!("LOPPER_GEOMETRY={number} cargo test --test geometry {family}");
        slot.set(&reproduce);
        let describe = {
            let reproduce = reproduce.clone();
            move |geometry: &str| slot.set(&format!("{reproduce}: {geometry}"))
        };
        let _report = Report(slot);
        // Multiplying by any odd constant spreads the case numbers over all seeds.
        case(&mut Draw::new((number as u64).wrapping_mul(0xd134_2543_de82_ef95), describe));
        slot.clear();
    }
}

/// Prints the case in its slot if it is dropped by a panic.
struct Report(Slot);

impl Drop for Report {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the failed case: {}", self.0.text());
        }
    }
}

/// A case that faults prints its geometry before the process dies.
#[test]
#[cfg(unix)]
fn a_fault_names_its_case() {
    use std::os::unix::process::ExitStatusExt;
    const VARIABLE: &str = "LOPPER_TEST_FAULT";
    if std::env::var_os(VARIABLE).is_some() {
        return run("a_fault_names_its_case", 1, |draw| {
            draw.about("one float too many");
            let end = draw.reals(37).as_ptr_range().end;
            // SAFETY: none. The read is deliberately outside the buffer and must fault.
            std::hint::black_box(unsafe { end.read_volatile() });
        });
    }
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "cases::a_fault_names_its_case"]).env(VARIABLE, "1").env_remove("LOPPER_GUARD");
    let output = again.env_remove("LOPPER_GEOMETRY").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.signal(), Some(libc::SIGSEGV | libc::SIGBUS)), "{output:?}");
    assert!(told.contains("LOPPER_GEOMETRY=0 cargo test") && told.contains("one float too many"), "{told}");
}
