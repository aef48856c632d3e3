//! Parts in separate processes, which report to the supervisor: one line of JSON for each event.

use super::line::{Line, Status};
use super::parts::Part;
use super::report::PartReport;
use super::rig::Rig;
use crate::progress::note;
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Event reported by the process of a part.
#[derive(Serialize, Deserialize)]
enum Event {
    /// All lines that it will run.
    Planned(Vec<Line>),
    /// The line of this index starts.
    Started(usize),
    /// The line of this index is done.
    Done(usize, Line),
    /// All lines are done, with this many bytes of device memory in use.
    Ended(usize),
}

fn say(event: &Event) -> Result<()> {
    let text = serde_json::to_string(event).map_err(|e| Error::invalid(format!("an event: {e}")))?;
    writeln!(std::io::stdout(), "{text}").map_err(|e| Error::file("standard output", e))
}

/// Runs the cases of `part` on `rig` and reports each result. After the device fails, the remaining cases do not run.
pub fn serve(part: &Part, rig: &Rig) -> Result<()> {
    // The line reports a panic, so the default hook stays silent.
    std::panic::set_hook(Box::new(|_| {}));
    let cases = (part.cases)(rig)?;
    say(&Event::Planned(cases.iter().map(|case| case.line.clone()).collect()))?;
    let mut lost = None;
    for (i, case) in cases.into_iter().enumerate() {
        let mut line = case.line.clone();
        match &lost {
            Some(why) => line.status = Status::NotRun { why: format!("the device had failed: {why}") },
            None => {
                say(&Event::Started(i))?;
                line = case.run(rig);
                if matches!(line.status, Status::Failed { .. }) {
                    lost = rig.gpu.synchronize().err();
                }
            }
        }
        say(&Event::Done(i, line))?;
    }
    match rig.gpu.memory() {
        Ok((free, total)) => say(&Event::Ended(total - free)),
        // The device has failed, as its lines already report.
        Err(_) => Ok(()),
    }
}

/// Starts parts one after another, and bounds the time each may take.
pub struct Supervisor {
    /// Arguments of `lopper` that run one part, without its name and time limit.
    pub arguments: Vec<String>,
    /// Deadline for all parts.
    pub until: Instant,
    /// Longest time that a process may stay silent: it must cover the longest case and the compilation of its kernels.
    pub patience: Duration,
}

impl Supervisor {
    /// Runs `part` in its own process until it ends or exceeds its time, in which case the process is killed.
    pub fn run(&self, part: &Part) -> Result<PartReport> {
        let left = self.until.saturating_duration_since(Instant::now());
        let mut report = PartReport::new(part);
        if left.is_zero() {
            report.lines.push(Line::new("all", ""));
            report.close("no time was left");
            return Ok(report);
        }
        let start = Instant::now();
        let mut child = self.start(part, left)?;
        let events = listen(&mut child)?;
        let ending = self.follow(&events, &mut report);
        if ending.is_err() {
            // The process may have ended by itself in the meantime.
            child.kill().ok();
        }
        let status = child.wait().map_err(|e| Error::invalid(format!("part {}: {e}", part.name)))?;
        report.close(&ending.err().unwrap_or_else(|| farewell(status)));
        report.seconds = start.elapsed().as_secs_f64();
        Ok(report)
    }

    fn start(&self, part: &Part, left: Duration) -> Result<Child> {
        let failed = |e: std::io::Error| Error::invalid(format!("starting part {}: {e}", part.name));
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(&self.arguments).args(["--part", part.name, "--minutes"]);
        command.arg((left.as_secs_f64() / 60.0).to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)
    }

    /// Processes events until there are no more. Returns an error message if they fail to arrive in time.
    fn follow(&self, events: &Receiver<Event>, report: &mut PartReport) -> Result<(), String> {
        loop {
            // A case that starts in time may finish late.
            let left = self.until.saturating_duration_since(Instant::now()) + GRACE;
            let wait = self.patience.min(left);
            match events.recv_timeout(wait) {
                Ok(Event::Planned(lines)) => report.lines = lines,
                Ok(Event::Started(i)) => report.running = Some(i),
                Ok(Event::Done(i, line)) => {
                    show(&line);
                    report.done(i, line);
                }
                Ok(Event::Ended(bytes)) => report.memory = bytes,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!(
                        "no response for {:.0} s: its process was killed",
                        wait.as_secs_f64()
                    ));
                }
            }
        }
    }
}

/// Extra time after the deadline in which a process may finish its running case.
const GRACE: Duration = Duration::from_secs(10);

/// Reads the events of `child` on a separate thread.
fn listen(child: &mut Child) -> Result<Receiver<Event>> {
    let output = child.stdout.take().ok_or_else(|| Error::invalid("a part without standard output"))?;
    let (sender, events) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
            // The driver's libraries may print other lines.
            if let Ok(event) = serde_json::from_str(&line)
                && sender.send(event).is_err()
            {
                break;
            }
        }
    });
    Ok(events)
}

/// Returns the reason that a process ended, empty if it succeeded.
fn farewell(status: ExitStatus) -> String {
    if status.success() { String::new() } else { format!("its process ended with {status}") }
}

/// Prints a line to standard error.
fn show(line: &Line) {
    let end = match (&line.status, &line.worst, &line.timing) {
        (Status::Passed, _, Some(t)) => format!("{:.3} ms, {:.1} {}", t.median_ms, t.rate, t.unit),
        (Status::Passed, Some(w), _) => format!("ok, {:.1e} of {:.1e}", w.error, w.limit),
        (Status::Passed, ..) => "ok".into(),
        (Status::Failed { why }, ..) => format!("FAILED: {why}"),
        (Status::Skipped { why }, ..) => format!("skipped: {why}"),
        (Status::NotRun { why }, ..) => format!("not run: {why}"),
    };
    note(format_args!("  {:<48} {end}", line.title()));
}
