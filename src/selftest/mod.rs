//! Self-test of a GPU: every kernel against the CPU, whole networks, the demo, and timings.
//!
//! ```text
//!   supervisor ──starts──▶ a process for each part ──▶ lines, one after another ──▶ report
//! ```
//!
//! A kernel that never ends or that breaks the device's context takes down only its own process: the supervisor ends
//! that process, records the failure in the report, and goes on with the next part.

mod checks;
mod grades;
mod line;
mod networks;
mod report;
mod rig;
mod supervisor;
mod timings;
mod walkthrough;

pub use report::{Report, driver_version, utc};
pub use rig::Rig;
pub use supervisor::{Supervisor, serve};

use line::{Line, Status, Tally, Timing};
use lopper_engine::{Error, Result};
use report::PartReport;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// Check or timing that has not run yet.
pub struct Case {
    line: Line,
    work: Work,
}

enum Work {
    Check(Box<Check>),
    Time(Box<Time>),
}

type Check = dyn Fn(&Rig, &mut Tally) -> Result<()>;
type Time = dyn Fn(&Rig) -> Result<Timing>;

impl Case {
    fn check(
        what: impl Into<String>,
        how: impl Into<String>,
        run: impl Fn(&Rig, &mut Tally) -> Result<()> + 'static,
    ) -> Self {
        Self { line: Line::new(what, how), work: Work::Check(Box::new(run)) }
    }

    fn time(
        what: impl Into<String>,
        how: impl Into<String>,
        run: impl Fn(&Rig) -> Result<Timing> + 'static,
    ) -> Self {
        Self { line: Line::new(what, how), work: Work::Time(Box::new(run)) }
    }

    /// Runs the case. An error or the panic of a kernel's assertion fails only this case; the others still run.
    fn run(self, rig: &Rig) -> Line {
        let Self { mut line, work } = self;
        let start = Instant::now();
        if start >= rig.until {
            line.status = Status::NotRun { why: "no time was left".into() };
            return line;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| work.run(rig, &mut line)));
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(said(panic.as_ref())),
        };
        if let Some(why) = failure {
            line.status = Status::Failed { why: why.replace('\n', " ") };
        }
        line.seconds = start.elapsed().as_secs_f64();
        line
    }
}

impl Work {
    fn run(self, rig: &Rig, line: &mut Line) -> Result<()> {
        match self {
            Self::Check(run) => {
                let mut tally = Tally::default();
                run(rig, &mut tally)?;
                tally.finish(line);
            }
            Self::Time(run) => {
                line.timing = Some(run(rig)?);
                line.status = Status::Passed;
            }
        }
        Ok(())
    }
}

/// Returns the message of a panic.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_string()
}

/// Group of cases that runs in its own process.
pub struct Part {
    /// Name on the command line.
    pub name: &'static str,
    /// Title in the report.
    pub title: &'static str,
    /// Function that lists its cases, in order.
    cases: fn(&Rig) -> Result<Vec<Case>>,
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
