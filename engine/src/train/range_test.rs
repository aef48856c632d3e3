//! The learning rate range test (Smith, "Cyclical learning rates for training neural networks", 2017), as fastai's
//! `lr_find` defines it: the rate grows exponentially from step to step, and the smoothed loss shows where the network
//! learns and where it diverges.

use super::{Callback, Flow, Rates, Step};
use crate::number::{self, Range};
use crate::{Error, Result};

/// Share of the smoothed loss that a step keeps, and the multiple of the best one at which the test ends: fastai's.
const KEPT: f64 = 0.98;
const DIVERGED: f64 = 4.0;
/// Steps at the end, and one part in this many at the start, that suggestions leave out.
const END: usize = 5;
const START: usize = 10;

/// A step of a range test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tested {
    /// The learning rate of the step.
    pub rate: f64,
    /// Its loss.
    pub loss: f64,
    /// The loss smoothed over the steps so far: an exponential moving average, corrected for its start at zero.
    pub smoothed: f64,
}

/// Learning rates that a test suggests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suggestions {
    /// In the middle of the longest valley.
    pub valley: f64,
    /// Where the loss falls fastest.
    pub steepest: f64,
    /// A tenth of the rate with the lowest loss.
    pub minimum_tenth: f64,
}

/// Sets the rates of a training and records its losses. It ends the training after the last step, or as soon as the
/// smoothed loss is four times its lowest value. The network is changed: train a copy.
#[derive(Clone, Debug)]
pub struct RangeTest {
    first: f64,
    last: f64,
    steps: usize,
    average: f64,
    best: f64,
    tested: Vec<Tested>,
}

impl RangeTest {
    /// A test of `steps` steps with rates from `first` to `last`.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `0 < first < last` in single precision and there are steps enough for a suggestion.
    pub fn new(first: f64, last: f64, steps: usize) -> Result<Self> {
        number::single("first learning rate", first, Range::AboveZero)?;
        number::single("last learning rate", last, Range::AboveZero)?;
        if first >= last {
            return Err(Error::invalid(format!(
                "learning rates: expected the first below the last, found {first} and {last}"
            )));
        }
        if steps < 2 * START {
            return Err(Error::invalid(format!("steps: expected at least {}, found {steps}", 2 * START)));
        }
        Ok(Self { first, last, steps, average: 0.0, best: f64::INFINITY, tested: Vec::new() })
    }

    /// Number of steps, if the loss does not diverge.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The steps so far.
    pub fn tested(&self) -> &[Tested] {
        &self.tested
    }

    /// The learning rate of `step`.
    fn rate(&self, step: usize) -> f64 {
        self.first * (self.last / self.first).powf(step as f64 / self.steps as f64)
    }

    /// Records a step. Returns whether the test is over.
    fn record(&mut self, loss: f64) -> Flow {
        let rate = self.rate(self.tested.len());
        self.average = KEPT * self.average + (1.0 - KEPT) * loss;
        let smoothed = self.average / (1.0 - KEPT.powi(self.tested.len() as i32 + 1));
        self.best = self.best.min(smoothed);
        self.tested.push(Tested { rate, loss, smoothed });
        match smoothed > DIVERGED * self.best || self.tested.len() == self.steps {
            true => Flow::Stop,
            false => Flow::Continue,
        }
    }

    /// The suggestions, or `None` if the loss diverged before there were steps enough. They leave out the first tenth
    /// of the planned steps and the last five, as fastai does.
    pub fn suggestions(&self) -> Option<Suggestions> {
        let end = self.tested.len().checked_sub(END)?;
        suggest(self.tested.get(self.steps / START..end)?)
    }
}

/// The suggestions of fastai's `valley`, `steep` and `minimum`; `None` for fewer than two steps.
fn suggest(tested: &[Tested]) -> Option<Suggestions> {
    let slope = |pair: &[Tested]| (pair[1].smoothed - pair[0].smoothed) / (pair[1].rate / pair[0].rate).ln();
    let steepest = tested.windows(2).min_by(|a, b| slope(a).total_cmp(&slope(b)))?[0];
    let lowest = tested.iter().min_by(|a, b| a.smoothed.total_cmp(&b.smoothed))?;
    let valley = tested[valley(&tested.iter().map(|step| step.smoothed).collect::<Vec<_>>())];
    Some(Suggestions { valley: valley.rate, steepest: steepest.rate, minimum_tenth: lowest.rate / 10.0 })
}

/// The index about half of the way down the longest valley. The valley ends where the longest strictly decreasing
/// subsequence of `losses` ends, at the first of several, and is as many steps long as the subsequence. The index
/// skips a third of the valley and, rounded down on its own, a sixth.
fn valley(losses: &[f64]) -> usize {
    // The longest decreasing subsequence that ends at each loss.
    let mut lengths = vec![1; losses.len()];
    let mut end = 0;
    for i in 0..losses.len() {
        let before = (0..i).filter(|&j| losses[j] > losses[i]).map(|j| lengths[j]).max();
        lengths[i] = before.unwrap_or(0) + 1;
        if lengths[i] > lengths[end] {
            end = i;
        }
    }
    let length = if losses.len() < 2 { 0 } else { lengths[end] };
    (end + length / 3 + length / 6).saturating_sub(length)
}

impl Callback for RangeTest {
    fn before_step(&mut self, step: &mut Step) -> Result<()> {
        step.rates = Rates { learning_rate: self.rate(self.tested.len()), ..step.rates };
        Ok(())
    }

    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        Ok(self.record(step.loss.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn test_of(losses: &[f64]) -> RangeTest {
        let mut test = RangeTest::new(1e-7, 10.0, losses.len().max(20)).unwrap();
        for &loss in losses {
            if test.record(loss) == Flow::Stop {
                break;
            }
        }
        test
    }

    #[test]
    fn rates_grow_from_the_first_to_the_last_and_losses_are_smoothed() {
        let test = test_of(&[2.0, 1.0, 4.0]);
        assert_eq!(test.tested[0].rate, 1e-7);
        assert!((test.rate(20) / 10.0 - 1.0).abs() < 1e-12);
        assert!((test.rate(10) / 1e-3 - 1.0).abs() < 1e-9);
        assert!((test.tested[0].smoothed - 2.0).abs() < 1e-12, "corrected for the start at zero");
        // 0.02·(0.98·2 + 1) / (1 − 0.98²)
        assert!((test.tested[1].smoothed - (0.98 * 2.0 + 1.0) / 1.98).abs() < 1e-12);
    }

    #[test]
    fn a_loss_that_diverges_ends_the_test() {
        let mut losses = vec![1.0; 30];
        losses.extend([1e3; 70]);
        let test = test_of(&losses);
        assert!(test.tested.len() < 35, "{}", test.tested.len());
        assert_eq!(test_of(&vec![1.0; 40]).tested.len(), 40);
        let few = test_of(&[1.0, 2.0, 1e9, 1.0]);
        assert_eq!((few.tested.len(), few.suggestions()), (3, None));
    }

    #[test]
    fn suggestions_by_hand() {
        let step = |(i, smoothed): (i32, f64)| Tested { rate: 10f64.powi(i - 6), loss: 0.0, smoothed };
        // The valley falls from 9 to 1 in seven steps; the steepest step is the one from 7 to 3.
        let steps: Vec<Tested> = (0..).zip([9.0, 8.0, 7.0, 3.0, 2.5, 2.0, 1.0, 5.0]).map(step).collect();
        let found = suggest(&steps).unwrap();
        assert!((found.minimum_tenth / 0.1 - 1.0).abs() < 1e-12);
        assert!((found.steepest / 1e-4 - 1.0).abs() < 1e-12);
        // It ends at step 6 and has seven: −1 + 7 / 3 + 7 / 6 = 2.
        assert!((found.valley / 1e-4 - 1.0).abs() < 1e-12);
        assert_eq!(suggest(&steps[..1]), None);
        assert_eq!(valley(&[1.0, 2.0, 3.0]), 0);
    }

    #[test]
    fn invalid_tests_are_refused() {
        for (first, last, steps, words) in [
            (0.0, 1.0, 100, "first learning rate: expected above 0"),
            (1e-7, f64::NAN, 100, "last learning rate"),
            (1.0, 1.0, 100, "expected the first below the last"),
            (1e-7, 1.0, 19, "steps: expected at least 20, found 19"),
        ] {
            let message = RangeTest::new(first, last, steps).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }

    proptest! {
        /// The longest decreasing subsequence, tried out, and the index inside the valley.
        #[test]
        fn the_valley_is_the_longest_decreasing_subsequence(losses in prop::collection::vec(0..6u8, 2..10)) {
            let losses: Vec<f64> = losses.into_iter().map(f64::from).collect();
            let decreases = |set: u32| {
                let chosen: Vec<f64> = (0..losses.len()).filter(|i| set >> i & 1 == 1).map(|i| losses[i]).collect();
                chosen.windows(2).all(|pair| pair[1] < pair[0])
            };
            let best = (1..1u32 << losses.len()).filter(|&set| decreases(set));
            let longest = best.clone().map(u32::count_ones).max().unwrap();
            // The first place where one of that length can end.
            let end = best.filter(|set| set.count_ones() == longest).map(|set| 31 - set.leading_zeros()).min().unwrap();
            let expected = (end + longest / 3 + longest / 6).saturating_sub(longest) as usize;
            prop_assert_eq!(valley(&losses), expected);
        }
    }
}
