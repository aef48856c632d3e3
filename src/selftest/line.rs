//! Results of a self-test: one line of the report for each check and each timing.

use serde::{Deserialize, Serialize};

/// Line of the report: a check or a timing, finished or not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// What is checked or timed.
    pub what: String,
    /// Grade of the kernels and precision of their operands, if there is a choice.
    pub how: String,
    #[serde(flatten)]
    pub status: Status,
    /// For a check, the comparison that came closest to its limit, or exceeded it most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<Worst>,
    /// For a timing, its result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
    /// Additional output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Wall-clock time taken.
    pub seconds: f64,
}

/// Outcome of a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    Passed,
    Failed {
        why: String,
    },
    /// Does not apply to this device.
    Skipped {
        why: String,
    },
    /// Did not run because time ran out or the device was lost.
    NotRun {
        why: String,
    },
}

/// Error of a comparison, relative to the largest expected value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Worst {
    pub error: f64,
    pub limit: f64,
    /// Operation and its shape.
    pub at: String,
}

impl Worst {
    /// Returns error over limit, which is above 1 if the limit is exceeded.
    fn ratio(&self) -> f64 {
        if self.error == 0.0 { 0.0 } else { self.error / self.limit }
    }
}

/// Median of several runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timing {
    pub median_ms: f64,
    pub runs: usize,
    /// Throughput per second, counting the work of the direct algorithm at two operations per product.
    pub rate: f64,
    pub unit: String,
}

impl Line {
    /// Creates a line that has not run yet.
    pub fn new(what: impl Into<String>, how: impl Into<String>) -> Self {
        let status = Status::NotRun { why: "its process ended before it ran".into() };
        let (what, how) = (what.into(), how.into());
        Self { what, how, status, worst: None, timing: None, note: None, seconds: 0.0 }
    }

    /// Returns its name in one line.
    pub fn title(&self) -> String {
        if self.how.is_empty() { self.what.clone() } else { format!("{}, {}", self.what, self.how) }
    }
}

/// Summary of the comparisons of one check.
#[derive(Default)]
pub struct Tally {
    compared: usize,
    worst: Option<Worst>,
    /// First failure.
    failure: Option<String>,
    /// Reason for the first skip.
    skipped: Option<String>,
    /// Additional text for the report.
    pub note: Option<String>,
}

impl Tally {
    /// Compares a device's result for `at` with the expected values: `max |got − want| ≤ limit · max |want|`.
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

    /// Compares the values as vectors: `‖got − want‖ ≤ limit · ‖want‖`. Suits values of which a few are inherently far
    /// off, such as gradients where rounding moves a value across the kink of a ReLU.
    pub fn compare_vectors(&mut self, at: &str, limit: f64, got: &[f32], want: &[f32]) {
        self.compared += 1;
        let square = |x: f64| x * x;
        let apart: f64 = got.iter().zip(want).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
        let whole: f64 = want.iter().map(|&b| square(b.into())).sum();
        let error = (apart / whole).sqrt();
        match got.len() == want.len() && error.is_finite() {
            true => self.note_error(at, limit, error),
            false => self.fail(format!("{at}: cannot compare {} values with {}", got.len(), want.len())),
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

    /// Records whether a condition holds; `at` is the failure message if it does not.
    pub fn expect(&mut self, holds: bool, at: impl Into<String>) {
        self.compared += 1;
        if !holds {
            self.fail(at.into());
        }
    }

    /// Records that something is skipped, and why.
    pub fn skip(&mut self, why: impl Into<String>) {
        self.skipped.get_or_insert(why.into());
    }

    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    /// Writes the outcome to `line`.
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
    fn a_tally_passes_only_within_its_limits() {
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
    fn a_line_round_trips_through_json() {
        let mut line = Line::new("gemm", "mma, bf16");
        line.status = Status::Failed { why: "off".into() };
        let json = serde_json::to_string(&line).unwrap();
        let back: Line = serde_json::from_str(&json).unwrap();
        assert_eq!((back.title(), back.status), (line.title(), line.status));
    }
}
