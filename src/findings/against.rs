//! A stage against another on the same images.

use crate::details::Paired;
use serde::{Deserialize, Serialize};

/// How the network of a stage classifies the validation images, compared with that of another stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Against {
    /// The other stage.
    pub stage: String,
    /// Images that only this stage's network finds.
    pub gained: u32,
    /// Images that only the other one finds.
    pub lost: u32,
    /// This accuracy less the other.
    pub difference: f64,
    /// Its 95 % interval.
    pub interval: (f64, f64),
    /// The two-sided p-value of McNemar's exact test.
    pub p: f64,
}

/// The largest p-value that counts as a difference.
const LEVEL: f64 = 0.05;

impl Against {
    /// The comparison with `stage` on `images` images.
    pub fn new(stage: &str, paired: Paired, images: u64) -> Self {
        let Paired { gained, lost, interval, p } = paired;
        let difference = (f64::from(gained) - f64::from(lost)) / images as f64;
        Self { stage: stage.to_string(), gained, lost, difference, interval, p }
    }

    /// Whether the two differ at the level of 5 %.
    pub fn differs(&self) -> bool {
        self.p <= LEVEL
    }

    /// The comparison in a sentence.
    pub fn text(&self) -> String {
        let points = |share: f64| format!("{:+.2}", 100.0 * share).replace('-', "−");
        let (low, high) = self.interval;
        let verdict = match (self.differs(), self.difference > 0.0) {
            (false, _) => "no difference is shown",
            (true, true) => "better",
            (true, false) => "worse",
        };
        format!(
            "against {}: {} points ({} to {}), {} images gained and {} lost, McNemar p = {}: {verdict}",
            self.stage,
            points(self.difference),
            points(low),
            points(high),
            self.gained,
            self.lost,
            short(self.p)
        )
    }
}

/// A p-value in two digits.
fn short(p: f64) -> String {
    match p {
        p if p < 1e-3 => format!("{p:.1e}"),
        p => format!("{p:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_says_what_it_shows() {
        let text = |gained, lost| Against::new("base", Paired::of(gained, lost, 200), 200).text();
        let better = text(30, 10);
        assert!(
            better.starts_with("against base: +10.00 points") && better.ends_with("p = 0.002: better"),
            "{better}"
        );
        assert!(text(10, 30).ends_with("worse") && text(10, 30).contains("−10.00 points"));
        assert!(text(5, 3).ends_with("p = 0.727: no difference is shown"), "{}", text(5, 3));
        assert!(text(60, 0).contains("p = 1.7e-18"), "{}", text(60, 0));
    }
}
