//! The report: Markdown with a table for each part, followed by the same data as JSON.

use super::line::{Line, Status};
use super::parts::Part;
use serde::Serialize;
use std::fmt::Write;

/// Complete result of a self-test.
#[derive(Serialize)]
pub struct SelftestReport {
    pub date: String,
    pub device: String,
    pub arch: String,
    pub emulated: bool,
    /// Version line of the driver, if available.
    pub driver: Option<String>,
    pub lopper: &'static str,
    /// CPU whose results are the reference.
    pub cpu: String,
    /// Device memory, in bytes.
    pub memory: usize,
    pub seconds: f64,
    pub parts: Vec<PartReport>,
}

/// Result of one part.
#[derive(Serialize)]
pub struct PartReport {
    pub name: &'static str,
    pub title: &'static str,
    pub lines: Vec<Line>,
    pub seconds: f64,
    /// Bytes of device memory in use when the part ends. This is the peak, because freed GPU buffers are kept for
    /// reuse.
    pub memory: usize,
    /// Index of the line that is running.
    #[serde(skip)]
    pub running: Option<usize>,
}

impl PartReport {
    pub fn new(part: &Part) -> Self {
        Self { name: part.name, title: part.title, lines: Vec::new(), seconds: 0.0, memory: 0, running: None }
    }

    /// Records the result of line `i`.
    pub fn done(&mut self, i: usize, line: Line) {
        self.running = None;
        if let Some(place) = self.lines.get_mut(i) {
            *place = line;
        }
    }

    /// Records that the process has ended because of `why`: the running line fails, and later lines are not run.
    pub fn close(&mut self, why: &str) {
        if self.lines.is_empty() {
            self.lines.push(Line::new("all", ""));
            self.running = Some(0);
        }
        if let Some(line) = self.running.take().and_then(|i| self.lines.get_mut(i)) {
            line.status = Status::Failed { why: why.to_string() };
        }
        for line in &mut self.lines {
            if let Status::NotRun { why: reason } = &mut line.status
                && !why.is_empty()
            {
                *reason = why.to_string();
            }
        }
    }
}

impl SelftestReport {
    /// Returns the titles of the lines that failed.
    pub fn failures(&self) -> Vec<String> {
        let lines = self.parts.iter().flat_map(|part| &part.lines);
        lines.filter(|line| matches!(line.status, Status::Failed { .. })).map(Line::title).collect()
    }

    /// Returns a summary that counts the lines by outcome.
    pub fn counts(&self) -> String {
        let mut counts = [0; 4];
        for line in self.parts.iter().flat_map(|part| &part.lines) {
            counts[match line.status {
                Status::Passed => 0,
                Status::Failed { .. } => 1,
                Status::Skipped { .. } => 2,
                Status::NotRun { .. } => 3,
            }] += 1;
        }
        let [passed, failed, skipped, not_run] = counts;
        format!("{passed} passed, {skipped} skipped, {not_run} not run, {failed} failed")
    }

    /// Returns the report as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = self.head();
        for part in &self.parts {
            let _ = write!(text, "\n## {}\n\n{:.1} s", part.title, part.seconds);
            if !self.emulated {
                let _ = write!(text, ", {:.2} GB of device memory", part.memory as f64 / 1e9);
            }
            text += ".\n\n";
            text += &table(&part.lines);
            part.lines.iter().filter_map(|line| line.note.as_ref()).for_each(|note| {
                let _ = write!(text, "\n{note}");
            });
        }
        let json = serde_json::to_string(self).unwrap_or_default();
        let _ = write!(text, "\n## As JSON\n\n```json\n{json}\n```\n");
        text
    }

    fn head(&self) -> String {
        let mut text = String::from("# lopper selftest\n\n| | |\n| --- | --- |\n");
        let mut verdict = self.counts();
        let failed = self.failures();
        if !failed.is_empty() {
            let _ = write!(verdict, ": {}", failed.join("; "));
        }
        let rows = [
            ("Result", verdict),
            ("Date", self.date.clone()),
            ("Device", format!("{}, {}, {:.1} GB", self.device, self.arch, self.memory as f64 / 1e9)),
            ("Driver", self.driver.clone().unwrap_or_else(|| "unknown".into())),
            ("CPU", self.cpu.clone()),
            ("lopper", self.lopper.to_string()),
            ("Time", format!("{:.0} s", self.seconds)),
        ];
        for (name, value) in rows {
            let _ = writeln!(text, "| {name} | {} |", cell(&value));
        }
        if self.emulated {
            text += "\nThis device is emulated on the CPU: the times measure the emulator, not a GPU.\n";
        }
        text += "\nAn error is the largest difference from the CPU in an operation's results, relative to the largest \
                 value; for gradients of networks, it is the length of the difference relative to theirs. Each \
                 operation runs twice, and bits that differ are a failure. TFLOP/s count two operations per product.\n";
        text
    }
}

fn table(lines: &[Line]) -> String {
    let timed = lines.iter().any(|line| line.timing.is_some());
    let mut text = if timed {
        String::from("| what | how | median ms | runs | rate | |\n| --- | --- | ---: | ---: | ---: | --- |\n")
    } else {
        String::from("| what | how | worst error | limit | at | |\n| --- | --- | ---: | ---: | --- | --- |\n")
    };
    for line in lines {
        let middle = match (&line.timing, &line.worst) {
            (Some(t), _) => format!("{:.4} | {} | {:.1} {}", t.median_ms, t.runs, t.rate, t.unit),
            (None, Some(w)) => format!("{:.1e} | {:.1e} | {}", w.error, w.limit, cell(&w.at)),
            (None, None) => " | | ".into(),
        };
        let status = match &line.status {
            Status::Passed => "ok".into(),
            Status::Failed { why } => format!("**failed**: {}", cell(why)),
            Status::Skipped { why } => format!("skipped: {}", cell(why)),
            Status::NotRun { why } => format!("not run: {}", cell(why)),
        };
        let _ = writeln!(text, "| {} | {} | {middle} | {status} |", line.what, line.how);
    }
    text
}

/// Escapes `text` for a table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Returns the version line of the Linux driver, if it is loaded.
pub fn driver_version() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    Some(text.lines().next()?.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::PARTS;
    use super::*;

    #[test]
    fn a_process_that_dies_fails_its_running_line() {
        let mut report = PartReport::new(&PARTS[0]);
        report.lines = ["a", "b", "c"].map(|what| Line::new(what, "")).to_vec();
        let passed = Line { status: Status::Passed, ..report.lines[0].clone() };
        report.done(0, passed);
        report.running = Some(1);
        report.close("killed");
        let statuses: Vec<_> = report.lines.iter().map(|line| line.status.clone()).collect();
        let why = || "killed".to_string();
        assert_eq!(statuses, [Status::Passed, Status::Failed { why: why() }, Status::NotRun { why: why() }]);
        let mut silent = PartReport::new(&PARTS[0]);
        silent.close("killed");
        assert!(matches!(silent.lines[0].status, Status::Failed { .. }));
    }
}
