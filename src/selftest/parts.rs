//! The parts of the self-test.

use super::case::Case;
use super::rig::Rig;
use super::{checks, networks, timings, walkthrough};
use lopper_engine::{Error, Result};

/// Group of cases that runs in its own process.
pub struct Part {
    /// Name on the command line.
    pub name: &'static str,
    /// Title in the report.
    pub title: &'static str,
    /// Function that lists its cases, in order.
    pub cases: fn(&Rig) -> Result<Vec<Case>>,
}

/// All parts, in the order of the report.
pub const PARTS: [Part; 13] = [
    Part { name: "elementwise", title: "Elements and channels", cases: checks::elementwise },
    Part { name: "windows", title: "Pooling and batch norm", cases: checks::windows },
    Part { name: "losses", title: "Softmax, losses, sums and optimizers", cases: checks::losses },
    Part { name: "simt", title: "Products in f32", cases: checks::simt },
    Part { name: "mma", title: "Products on tensor cores by mma.sync", cases: checks::mma },
    Part { name: "wgmma", title: "Products on tensor cores by wgmma", cases: checks::wgmma },
    Part {
        name: "dispatch",
        title: "Products by the kernels that dispatch chooses",
        cases: checks::dispatch,
    },
    Part { name: "networks", title: "Networks: losses, gradients, training", cases: networks::cases },
    Part { name: "demo", title: "The demo's walkthrough", cases: walkthrough::cases },
    Part { name: "time-networks", title: "Time of networks", cases: timings::networks },
    Part { name: "time-gemm", title: "Time of matrix products", cases: timings::gemm },
    Part { name: "time-sparse", title: "Time of masked and compacted convolutions", cases: timings::sparse },
    Part { name: "time-conv2d", title: "Time of convolutions", cases: timings::conv2d },
];

impl Part {
    /// Returns the part called `name`.
    pub fn named(name: &str) -> Result<&'static Self> {
        PARTS.iter().find(|part| part.name == name).ok_or_else(|| {
            let names = PARTS.map(|part| part.name).join(", ");
            Error::invalid(format!("part {name}: expected one of {names}"))
        })
    }
}
