//! Several runs of a recipe with different seeds: means with intervals.

use super::Row;
use lopper_engine::train::metrics::mean95;
use serde::{Deserialize, Serialize};

/// What runs with several seeds have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seeds {
    /// The seeds; the report's own is the first.
    pub seeds: Vec<u64>,
    /// The stages that every run has finished.
    pub stages: Vec<SeededStage>,
}

/// A stage over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeededStage {
    /// Its name.
    pub stage: String,
    /// Its accuracy with each seed.
    pub top1: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Its 95 % interval by Student's t.
    pub interval: Option<(f64, f64)>,
    /// Its difference from other stages, seed by seed.
    pub against: Vec<SeededDifference>,
}

/// The difference of two stages over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeededDifference {
    /// The other stage.
    pub stage: String,
    /// Mean over the seeds of this accuracy less the other.
    pub mean: f64,
    /// Its 95 % interval by Student's t: seeds are paired, as both stages share what a seed decides.
    pub interval: Option<(f64, f64)>,
}

impl Seeds {
    /// The stages of `runs`, the tables of runs of one recipe with these `seeds`; `None` for fewer than two.
    pub fn of(seeds: &[u64], runs: &[&[Row]]) -> Option<Self> {
        let first = runs.first().filter(|_| runs.len() > 1 && runs.len() == seeds.len())?;
        let stages = first.iter().filter_map(|row| SeededStage::of(row, runs)).collect();
        Some(Self { seeds: seeds.to_vec(), stages })
    }

    /// The means as a table.
    pub fn text(&self) -> String {
        let width = self.stages.iter().map(|stage| stage.stage.chars().count()).max().unwrap_or(0).max(5);
        let mut text = format!("means over {} seeds (95 % interval by Student's t)\n", self.seeds.len());
        for stage in &self.stages {
            text += &format!("{:width$}  top-1 {}\n", stage.stage, percent(stage.mean, stage.interval));
            for other in &stage.against {
                let difference = percent(other.mean, other.interval);
                text += &format!("{:width$}    against {}: {difference} points\n", "", other.stage);
            }
        }
        text
    }
}

impl SeededStage {
    fn of(row: &Row, runs: &[&[Row]]) -> Option<Self> {
        let top1_of = |stage: &str| {
            runs.iter()
                .map(|rows| rows.iter().find(|row| row.stage == stage)?.top1)
                .collect::<Option<Vec<f64>>>()
        };
        let top1 = top1_of(&row.stage)?;
        let (mean, interval) = mean95(&top1)?;
        let difference = |other: &str| {
            let theirs = top1_of(other)?;
            let differences: Vec<f64> = top1.iter().zip(theirs).map(|(ours, theirs)| ours - theirs).collect();
            let (mean, interval) = mean95(&differences)?;
            Some(SeededDifference { stage: other.to_string(), mean, interval })
        };
        let against = row.findings.against.iter().filter_map(|against| difference(&against.stage)).collect();
        Some(Self { stage: row.stage.clone(), top1, mean, interval, against })
    }
}

/// A share in percent with its interval.
pub fn percent(mean: f64, interval: Option<(f64, f64)>) -> String {
    let points = |share: f64| format!("{:.2}", 100.0 * share).replace('-', "−");
    match interval {
        Some((low, high)) => format!("{} ({} to {})", points(mean), points(low), points(high)),
        None => points(mean),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::details::Paired;
    use crate::findings::{Against, Findings};

    fn run(base: f64, cut: f64) -> Vec<Row> {
        let row = |stage: &str, top1| Row { stage: stage.into(), top1: Some(top1), ..Row::default() };
        let against = vec![Against::new("base", Paired::of(1, 2, 10), 10)];
        let cut = Row { findings: Findings { against, ..Findings::default() }, ..row("cut", cut) };
        vec![row("base", base), cut]
    }

    #[test]
    fn differences_are_paired_by_seed() {
        let runs = [run(0.5, 0.4), run(0.7, 0.6), run(0.6, 0.5)];
        let found = Seeds::of(&[1, 2, 3], &runs.each_ref().map(Vec::as_slice)).unwrap();
        let cut = &found.stages[1];
        assert!((cut.mean - 0.5).abs() < 1e-12);
        let (low, high) = cut.interval.unwrap();
        // s = 0.1: ± 4.3027 · 0.1 / √3.
        assert!((high - low - 2.0 * 4.302_652_73 * 0.1 / 3f64.sqrt()).abs() < 1e-7);
        let difference = &cut.against[0];
        let (low, high) = difference.interval.unwrap();
        assert!((difference.mean + 0.1).abs() < 1e-12 && high - low < 1e-12, "the same in every run");
        assert!(found.text().contains("against base: −10.00"), "{}", found.text());
        assert_eq!(Seeds::of(&[1], &[&runs[0]]), None);
    }
}
