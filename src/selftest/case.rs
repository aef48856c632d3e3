//! A check or a timing.

use super::line::{Line, Status, Tally, Timing};
use super::rig::Rig;
use lopper_engine::Result;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// Check or timing that has not run yet.
pub struct Case {
    pub line: Line,
    work: Job,
}

enum Job {
    Check(Box<Check>),
    Time(Box<Time>),
}

type Check = dyn Fn(&Rig, &mut Tally) -> Result<()>;
type Time = dyn Fn(&Rig) -> Result<Timing>;

impl Case {
    pub fn check(
        what: impl Into<String>,
        how: impl Into<String>,
        run: impl Fn(&Rig, &mut Tally) -> Result<()> + 'static,
    ) -> Self {
        Self { line: Line::new(what, how), work: Job::Check(Box::new(run)) }
    }

    pub fn time(
        what: impl Into<String>,
        how: impl Into<String>,
        run: impl Fn(&Rig) -> Result<Timing> + 'static,
    ) -> Self {
        Self { line: Line::new(what, how), work: Job::Time(Box::new(run)) }
    }

    /// Runs the case. An error or the panic of a kernel's assertion fails only this case; the others still run.
    pub fn run(self, rig: &Rig) -> Line {
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

impl Job {
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
