//! lopper compared with other engines, by ratios of times measured in turn.
//!
//! A ratio is the median over the rounds of one engine's time over another's in the same round, so that the machine's
//! drift cancels. The best peer of a case is the one against which lopper does worst.

use crate::common::rows::{PeerRow, TargetRow};

/// Engine name of lopper's own times.
const LOPPER: &str = "lopper";
/// Engine name of lopper's own network where its other times are of what it reads from ONNX. It is no peer.
const BUILT_IN: &str = "built in";

/// One case: what was computed, and each engine's times.
pub struct Case<'a> {
    /// Any row of the case.
    pub row: &'a PeerRow,
    /// Each engine's milliseconds, one value per round.
    engines: Vec<(&'a str, Vec<f64>)>,
}

/// Returns the cases of one kind (`network`, `sparse`, `onnx`, `training`, `layer` or `images`), in the order of the file.
pub fn cases<'a>(rows: &'a [PeerRow], kind: &str) -> Vec<Case<'a>> {
    let mut cases: Vec<Case> = Vec::new();
    for row in rows.iter().filter(|row| row.kind == kind) {
        let key = |row: &'a PeerRow| (&row.what, row.size, row.batch, row.threads);
        let known = cases.iter().position(|case| key(case.row) == key(row));
        let at = known.unwrap_or_else(|| {
            cases.push(Case { row, engines: Vec::new() });
            cases.len() - 1
        });
        let engines = &mut cases[at].engines;
        match engines.iter_mut().find(|(name, _)| *name == row.engine) {
            Some((_, times)) => times.push(row.ms),
            None => engines.push((&row.engine, vec![row.ms])),
        }
    }
    cases.retain(|case| case.times(LOPPER).is_some() && case.peers().next().is_some());
    cases
}

/// Returns the engines of `cases` except lopper, sorted by name.
pub fn engines<'a>(cases: &[Case<'a>]) -> Vec<&'a str> {
    let mut names: Vec<&str> =
        cases.iter().flat_map(|case| case.engines.iter().map(|(name, _)| *name)).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|&name| name != LOPPER);
    names
}

impl<'a> Case<'a> {
    fn times(&self, engine: &str) -> Option<&[f64]> {
        self.engines.iter().find(|(name, _)| *name == engine).map(|(_, times)| &times[..])
    }

    /// Returns the other engines.
    fn peers(&self) -> impl Iterator<Item = &'a str> {
        self.engines.iter().map(|(name, _)| *name).filter(|name| ![LOPPER, BUILT_IN].contains(name))
    }

    /// Returns the median over the rounds of an engine's time, in milliseconds.
    pub fn ms(&self, engine: &str) -> Option<f64> {
        self.times(engine).map(|times| median(times.to_vec()))
    }

    /// Returns lopper's median time.
    pub fn lopper_ms(&self) -> f64 {
        self.ms(LOPPER).expect("cases without lopper are dropped")
    }

    /// Returns lopper's time over an engine's.
    pub fn ratio(&self, engine: &str) -> Option<f64> {
        let (ours, theirs) = (self.times(LOPPER)?, self.times(engine)?);
        Some(median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()))
    }

    /// Returns the best peer, and lopper's time over that peer's.
    pub fn best(&self) -> (&'a str, f64) {
        let ratios = self.peers().filter_map(|name| Some((name, self.ratio(name)?)));
        ratios.max_by(|a, b| a.1.total_cmp(&b.1)).expect("cases without a peer are dropped")
    }

    /// Returns an engine's time over the best peer's; the engine may be lopper.
    pub fn over_best(&self, engine: &str) -> Option<f64> {
        let best = self.best().1;
        if engine == LOPPER { Some(best) } else { self.ratio(engine).map(|ratio| best / ratio) }
    }

    /// Returns the targets for this case: the maximum, the peer that the ratio compares with, and the ratio.
    pub fn targets(&self, targets: &'a [TargetRow]) -> Vec<(f64, &'a str, f64)> {
        let row = self.row;
        let of_case = |t: &&TargetRow| {
            t.kind == row.kind
                && (t.what == row.what || t.what == "*")
                && (t.size, t.batch) == (row.size, row.batch)
        };
        let ratio = |t: &'a TargetRow| {
            let ratio = if t.peer == "best" { Some(self.best().1) } else { self.ratio(&t.peer) };
            Some((t.at_most, &t.peer[..], ratio?))
        };
        targets.iter().filter(of_case).filter_map(ratio).collect()
    }
}

/// Says how far the rounds of each engine are apart, which tells how quiet the machine was.
pub fn quietness(cases: &[Case]) -> String {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for (engine, times) in cases.iter().flat_map(|case| &case.engines) {
        let fastest = times.iter().copied().fold(f64::INFINITY, f64::min);
        let slowest = times.iter().copied().fold(0.0, f64::max);
        let factors = if [LOPPER, BUILT_IN].contains(engine) { &mut ours } else { &mut theirs };
        factors.push(slowest / fastest);
    }
    if ours.is_empty() || theirs.is_empty() {
        return String::new();
    }
    let [(our_median, our_most), (their_median, their_most)] = [ours, theirs].map(|factors| {
        let most = factors.iter().copied().fold(1.0, f64::max);
        (median(factors), most)
    });
    format!(
        "How quiet the machine was: from the fastest to the slowest round of a case, lopper's time differs by a factor of \
{our_median:.2} in the median and {our_most:.2} at most, the others' by {their_median:.2} and {their_most:.2}."
    )
}

/// Says which cases miss their targets.
pub fn missed(cases: &[Case], targets: &[TargetRow]) -> String {
    let (mut count, mut missed) = (0, Vec::new());
    for case in cases {
        let PeerRow { what, size, batch, threads, .. } = case.row;
        let threads = if *threads == 1 { "1 thread".to_string() } else { format!("{threads} threads") };
        for (at_most, peer, ratio) in case.targets(targets) {
            count += 1;
            let engine = if peer == "best" { case.best().0 } else { peer };
            if ratio > at_most {
                missed.push(format!(
                    "- {what}, {size} px, batch {batch}, {threads}: {ratio:.3} of {engine}'s time; the target is {at_most:.2}"
                ));
            }
        }
    }
    match (count, missed.len()) {
        (0, _) => String::new(),
        (1, 0) => "The target is met.".into(),
        (_, 0) => format!("All {count} targets are met."),
        (_, misses) => format!("Targets missed: {misses} of {count}.\n\n{}", missed.join("\n")),
    }
}

/// Returns the middle of `values`, of which there is at least one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
