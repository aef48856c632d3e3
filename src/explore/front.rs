//! The front: the networks that no other one beats in both accuracy and latency.

use super::state::State;
use crate::report::Row;
use serde::Serialize;

/// A line of the table.
#[derive(Serialize)]
pub struct Line {
    name: String,
    technique: String,
    /// Whether no other network is at least as accurate and at least as fast.
    front: bool,
    top1: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    latency_ms: f64,
    latency_low_ms: f64,
    latency_high_ms: f64,
    params: u64,
    macs: u64,
    bytes: u64,
    plan: Option<String>,
}

/// For each of `rows`, whether it is on the front. A row without an accuracy is not.
pub fn on_front(rows: &[Row]) -> Vec<bool> {
    let beats = |other: &Row, row: &Row| match (other.top1, row.top1) {
        (Some(a), Some(b)) => {
            a >= b && other.latency_ms <= row.latency_ms && (a > b || other.latency_ms < row.latency_ms)
        }
        _ => false,
    };
    rows.iter().map(|row| row.top1.is_some() && !rows.iter().any(|other| beats(other, row))).collect()
}

/// The table of `state`, fastest first.
pub fn table(state: &State) -> Vec<Line> {
    let rows = state.rows();
    let front = on_front(&rows);
    let line = |(row, front): (&Row, bool)| {
        let tried = state.tried.iter().find(|tried| tried.name == row.stage);
        Line {
            name: row.stage.clone(),
            technique: tried.map_or(String::new(), |tried| tried.technique.clone()),
            front,
            top1: row.top1,
            low: row.interval.map(|interval| interval.0),
            high: row.interval.map(|interval| interval.1),
            latency_ms: row.latency_ms,
            latency_low_ms: row.latency_quartiles_ms.0,
            latency_high_ms: row.latency_quartiles_ms.1,
            params: row.params,
            macs: row.macs,
            bytes: row.bytes,
            plan: tried.and_then(|tried| tried.plan.clone()),
        }
    };
    let mut lines: Vec<Line> = rows.iter().zip(front).map(line).collect();
    lines.sort_by(|a, b| a.latency_ms.total_cmp(&b.latency_ms));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_has_what_nothing_beats() {
        let row = |top1: Option<f64>, latency_ms: f64| Row { top1, latency_ms, ..Row::default() };
        let rows = [
            row(Some(0.9), 4.0),
            row(Some(0.8), 2.0),
            row(Some(0.7), 3.0),
            row(Some(0.8), 2.0),
            row(None, 1.0),
            row(Some(0.8), 2.5),
        ];
        assert_eq!(on_front(&rows), [true, true, false, true, false, false]);
    }
}
