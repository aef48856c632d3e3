//! Parts in processes of their own, and what they say to the one that started them: a line of JSON for each event.

use super::{Line, Part, PartReport, Rig, Status};
use crate::progress::note;
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What the process of a part says.
#[derive(Serialize, Deserialize)]
enum Event {
    /// What it is going to do.
    Planned(Vec<Line>),
    /// It begins with the line of this number.
    Started(usize),
    /// That line is done.
    Done(usize, Line),
    /// All are, and this many bytes of the device's memory are in use.
    Ended(usize),
}

fn say(event: &Event) -> Result<()> {
    let text = serde_json::to_string(event).map_err(|e| Error::invalid(format!("an event: {e}")))?;
    writeln!(std::io::stdout(), "{text}").map_err(|e| Error::file("standard output", e))
}

/// Runs the cases of `part` on `rig`, and says how each ends. Once the device has failed, none is run any more.
pub fn serve(part: &Part, rig: &Rig) -> Result<()> {
    // What panics is told by its line.
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
        // A device that has failed, which its lines have told.
        Err(_) => Ok(()),
    }
}

/// Starts parts one after the other, and waits for each no longer than it may take.
pub struct Supervisor {
    /// The arguments of `lopper` that run one part, less its name and its time.
    pub arguments: Vec<String>,
    /// When all has to be done.
    pub until: Instant,
    /// How long a process may be silent: the longest case, and the compilation of its kernels.
    pub patience: Duration,
}

impl Supervisor {
    /// Runs `part` in a process of its own to the end, or ends it.
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
            // It may have ended by itself meanwhile.
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

    /// Takes in events until there are no more; an error, in words, where they stay out.
    fn follow(&self, events: &Receiver<Event>, report: &mut PartReport) -> Result<(), String> {
        loop {
            // A case that was begun in time may end after it.
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
                    return Err(format!("no answer for {:.0} s: its process was ended", wait.as_secs_f64()));
                }
            }
        }
    }
}

/// How long a process may go on after its time, to finish what it has begun.
const GRACE: Duration = Duration::from_secs(10);

/// Reads the events of `child` on a thread of its own.
fn listen(child: &mut Child) -> Result<Receiver<Event>> {
    let output = child.stdout.take().ok_or_else(|| Error::invalid("a part without standard output"))?;
    let (sender, events) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
            // Libraries of the driver may print lines of their own.
            if let Ok(event) = serde_json::from_str(&line)
                && sender.send(event).is_err()
            {
                break;
            }
        }
    });
    Ok(events)
}

/// Why a process that has ended did.
fn farewell(status: ExitStatus) -> String {
    if status.success() { String::new() } else { format!("its process ended with {status}") }
}

/// Shows a line on standard error.
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
