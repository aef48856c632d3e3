//! What a self-test finds out: a line of its report for each check and each timing.

use serde::{Deserialize, Serialize};

/// A line of the report: a check or a timing, done or not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// What is checked or timed.
    pub what: String,
    /// The kernels' grade and the precision of their operands, where there is a choice.
    pub how: String,
    #[serde(flatten)]
    pub status: Status,
    /// Of a check: the comparison that came closest to its limit, or went furthest beyond.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<Worst>,
    /// Of a timing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
    /// What else it printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Wall-clock time that it took.
    pub seconds: f64,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    Passed,
    Failed {
        why: String,
    },
    /// It does not apply to this device.
    Skipped {
        why: String,
    },
    /// There was no time, or no device any more.
    NotRun {
        why: String,
    },
}

/// The error of a comparison, as a share of the largest value that was expected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Worst {
    pub error: f64,
    pub limit: f64,
    /// The operation and its shape.
    pub at: String,
}

impl Worst {
    /// Above 1 beyond the limit.
    fn ratio(&self) -> f64 {
        if self.error == 0.0 { 0.0 } else { self.error / self.limit }
    }
}

/// The median of several runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timing {
    pub median_ms: f64,
    pub runs: usize,
    /// Work in a second: of the direct algorithm, a product being two operations.
    pub rate: f64,
    pub unit: String,
}

impl Line {
    /// One that is still to be run.
    pub fn new(what: impl Into<String>, how: impl Into<String>) -> Self {
        let status = Status::NotRun { why: "its process ended before".into() };
        let (what, how) = (what.into(), how.into());
        Self { what, how, status, worst: None, timing: None, note: None, seconds: 0.0 }
    }

    /// Its name in one line.
    pub fn title(&self) -> String {
        if self.how.is_empty() { self.what.clone() } else { format!("{}, {}", self.what, self.how) }
    }
}

/// What the comparisons of one check came to.
#[derive(Default)]
pub struct Tally {
    compared: usize,
    worst: Option<Worst>,
    /// What went beyond its limit first.
    failure: Option<String>,
    /// Why the first shape that was left out was.
    skipped: Option<String>,
    /// Anything else to say in the report.
    pub note: Option<String>,
}

impl Tally {
    /// Compares what a device computed for `at` with what it should be: `max |got − want| ≤ limit · max |want|`.
    pub fn compare(&mut self, at: &str, limit: f64, got: &[f32], want: &[f32]) {
        self.compared += 1;
        if got.len() != want.len() {
            return self.fail(format!("{at}: {} values, expected {}", got.len(), want.len()));
        }
        let largest = want.iter().fold(0.0f32, |max, v| max.max(v.abs()));
        let scale = if largest > 0.0 { f64::from(largest) } else { 1.0 };
        let mut error = 0.0;
        for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
            let off = (f64::from(got) - f64::from(want)).abs();
            if !off.is_finite() {
                return self.fail(format!("{at}: element {i} is {got}, expected {want}"));
            }
            error = f64::max(error, off / scale);
        }
        self.note_error(at, limit, error);
    }

    /// Compares as vectors: `‖got − want‖ ≤ limit · ‖want‖`. For numbers of which a few are far off by nature, as gradients
    /// are where a rounding moves a value across the kink of a ReLU.
    pub fn compare_vectors(&mut self, at: &str, limit: f64, got: &[f32], want: &[f32]) {
        self.compared += 1;
        let square = |x: f64| x * x;
        let apart: f64 = got.iter().zip(want).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
        let whole: f64 = want.iter().map(|&b| square(b.into())).sum();
        let error = (apart / whole).sqrt();
        match got.len() == want.len() && error.is_finite() {
            true => self.note_error(at, limit, error),
            false => {
                self.fail(format!("{at}: values that cannot be compared, {} for {}", got.len(), want.len()))
            }
        }
    }

    fn note_error(&mut self, at: &str, limit: f64, error: f64) {
        if error > limit {
            self.fail(format!("{at}: off by {error:.1e}, allowed {limit:.1e}"));
        }
        let found = Worst { error, limit, at: at.to_string() };
        if self.worst.as_ref().is_none_or(|worst| found.ratio() > worst.ratio()) {
            self.worst = Some(found);
        }
    }

    /// Records that something that must hold for `at` does, or does not.
    pub fn expect(&mut self, holds: bool, at: impl Into<String>) {
        self.compared += 1;
        if !holds {
            self.fail(at.into());
        }
    }

    /// Leaves something out, because `why`.
    pub fn skip(&mut self, why: impl Into<String>) {
        self.skipped.get_or_insert(why.into());
    }

    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    /// Writes the result to `line`.
    pub fn finish(self, line: &mut Line) {
        line.status = match (self.failure, self.skipped, self.compared) {
            (Some(why), ..) => Status::Failed { why },
            (None, Some(why), 0) => Status::Skipped { why },
            (None, None, 0) => Status::Failed { why: "nothing was compared".into() },
            _ => Status::Passed,
        };
        line.worst = self.worst;
        line.note = self.note;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(fill: impl FnOnce(&mut Tally)) -> Status {
        let (mut tally, mut line) = (Tally::default(), Line::new("what", "how"));
        fill(&mut tally);
        tally.finish(&mut line);
        line.status
    }

    #[test]
    fn a_tally_passes_within_its_limits_alone() {
        assert_eq!(status(|t| t.compare("a", 0.1, &[1.0, 9.9], &[1.5, 10.0])), Status::Passed);
        assert_eq!(status(|t| t.compare("a", 0.0, &[1.0], &[1.0])), Status::Passed);
        assert_eq!(status(|t| t.compare_vectors("a", 0.11, &[1.0, 10.0], &[2.0, 10.0])), Status::Passed);
        let failures: [fn(&mut Tally); 7] = [
            |t| t.compare_vectors("a", 0.09, &[1.0, 10.0], &[2.0, 10.0]),
            |t| t.compare_vectors("a", 0.09, &[f32::NAN], &[1.0]),
            |t| t.compare("a", 0.01, &[1.0, 9.5], &[1.0, 10.0]),
            |t| t.compare("a", 0.1, &[f32::NAN], &[1.0]),
            |t| t.compare("a", 0.1, &[1.0], &[1.0, 2.0]),
            |t| t.expect(false, "a"),
            |_| {},
        ];
        for fill in failures {
            assert!(matches!(status(fill), Status::Failed { .. }));
        }
        assert_eq!(status(|t| t.skip("why")), Status::Skipped { why: "why".into() });
        let some = |t: &mut Tally| {
            t.skip("why");
            t.expect(true, "a");
        };
        assert_eq!(status(some), Status::Passed);
    }

    #[test]
    fn a_line_survives_its_way_through_json() {
        let mut line = Line::new("gemm", "mma, bf16");
        line.status = Status::Failed { why: "off".into() };
        let json = serde_json::to_string(&line).unwrap();
        let back: Line = serde_json::from_str(&json).unwrap();
        assert_eq!((back.title(), back.status), (line.title(), line.status));
    }
}
