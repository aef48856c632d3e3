//! The confusion matrix, and precision, recall and F1 by class.

use super::{Estimate, Outcome};

/// How many images of each class were classified as each class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// `[label, predicted]`.
    counts: Vec<u64>,
    /// Images of each label without a prediction: one of their logits is NaN.
    undecided: Vec<u64>,
}

/// The counts behind the precision and recall of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassScores {
    /// Images of the class.
    pub support: u64,
    /// Images classified as the class.
    pub predicted: u64,
    /// Images of the class that were classified as the class.
    pub hits: u64,
}

impl ClassScores {
    /// The share of the images classified as the class that belong to it; `None` if there are none.
    pub fn precision(&self) -> Option<Estimate> {
        Estimate::proportion(self.hits, self.predicted)
    }

    /// The share of the images of the class that are classified as the class; `None` if there are none.
    pub fn recall(&self) -> Option<Estimate> {
        Estimate::proportion(self.hits, self.support)
    }

    /// The harmonic mean of precision and recall, `2 TP / (2 TP + FP + FN)`; `None` if the class is neither the label
    /// nor the prediction of any image.
    pub fn f1(&self) -> Option<Estimate> {
        let either = self.support + self.predicted - self.hits;
        Some(Estimate::proportion(self.hits, either)?.map(|jaccard| 2.0 * jaccard / (1.0 + jaccard)))
    }
}

impl Confusion {
    /// Counts `outcomes` of a network with `classes` classes.
    ///
    /// # Panics
    /// Panics if a label or a prediction is not below `classes`.
    pub fn of(classes: usize, outcomes: &[Outcome]) -> Self {
        let mut confusion = Self { classes, counts: vec![0; classes * classes], undecided: vec![0; classes] };
        for outcome in outcomes {
            let label = outcome.label as usize;
            match outcome.predicted {
                Some(predicted) => confusion.counts[label * classes + predicted as usize] += 1,
                None => confusion.undecided[label] += 1,
            }
        }
        confusion
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of images of class `label` that were classified as `predicted`.
    pub fn count(&self, label: usize, predicted: usize) -> u64 {
        self.counts[label * self.classes + predicted]
    }

    /// Number of images of class `label` without a prediction, since one of their logits is NaN.
    pub fn undecided(&self, label: usize) -> u64 {
        self.undecided[label]
    }

    /// Number of images.
    pub fn images(&self) -> u64 {
        self.counts.iter().chain(&self.undecided).sum()
    }

    /// The counts of every class.
    pub fn by_class(&self) -> Vec<ClassScores> {
        let mut scores: Vec<ClassScores> = (0..self.classes)
            .map(|class| ClassScores {
                support: self.undecided[class],
                predicted: 0,
                hits: self.count(class, class),
            })
            .collect();
        for label in 0..self.classes {
            for predicted in 0..self.classes {
                scores[label].support += self.count(label, predicted);
                scores[predicted].predicted += self.count(label, predicted);
            }
        }
        scores
    }

    /// The mean F1 of the classes that are the label or the prediction of an image; `None` if there are no images.
    pub fn macro_f1(&self) -> Option<Estimate> {
        let scores = self.by_class();
        let weights = vec![1.0 / occurring(&scores); self.classes];
        self.average_f1(&scores, &weights, &vec![0.0; self.classes])
    }

    /// The mean F1 of all classes, weighted by their numbers of images; `None` if there are no images.
    pub fn weighted_f1(&self) -> Option<Estimate> {
        self.weighted_f1_of(&(0..self.classes).collect::<Vec<_>>())
    }

    /// The mean F1 of the classes in `labels`, weighted by their numbers of images; `None` if they have none. Images of
    /// other classes count only where they are classified as one of these.
    ///
    /// # Panics
    /// Panics if a label is not below the number of classes.
    pub fn weighted_f1_of(&self, labels: &[usize]) -> Option<Estimate> {
        let scores = self.by_class();
        let mut support = vec![0.0; self.classes];
        labels.iter().for_each(|&label| support[label] = scores[label].support as f64);
        let sum: f64 = support.iter().sum();
        if sum == 0.0 {
            return None;
        }
        let weights: Vec<f64> = support.iter().map(|images| images / sum).collect();
        let share = |&images: &f64| if images > 0.0 { self.images() as f64 / sum } else { 0.0 };
        self.average_f1(&scores, &weights, &support.iter().map(share).collect::<Vec<_>>())
    }

    /// The mean precision of the classes that are the label or the prediction of an image, where a class that is never
    /// predicted counts as 0; `None` if there are no images.
    pub fn macro_precision(&self) -> Option<Estimate> {
        let scores = self.by_class();
        let part = |class: &ClassScores| Part::new(class.hits, class.predicted);
        self.macro_share(&scores, part, |_, predicted| predicted)
    }

    /// The mean recall of the classes that are the label or the prediction of an image, where a class without images
    /// counts as 0; `None` if there are no images.
    pub fn macro_recall(&self) -> Option<Estimate> {
        let scores = self.by_class();
        let part = |class: &ClassScores| Part::new(class.hits, class.support);
        self.macro_share(&scores, part, |label, _| Some(label))
    }

    /// The mean over the occurring classes k of the share hitsₖ / sumₖ of the images that `class_of` assigns to k. Such
    /// an image contributes ([label = predicted] − shareₖ) · N / sumₖ / classes to the gradient.
    fn macro_share(
        &self,
        scores: &[ClassScores],
        part: impl Fn(&ClassScores) -> Part,
        class_of: impl Fn(usize, Option<usize>) -> Option<usize>,
    ) -> Option<Estimate> {
        let (classes, images) = (occurring(scores), self.images() as f64);
        let parts: Vec<Part> = scores.iter().map(part).collect();
        let value = parts.iter().map(|part| part.share).sum::<f64>() / classes;
        self.average(value, |label, predicted| {
            let Some(class) = class_of(label, predicted) else { return 0.0 };
            let hit = f64::from(predicted == Some(label));
            (hit - parts[class].share) * images / parts[class].sum / classes
        })
    }

    /// Σ w F1. With p the shares of the cells, r and c their sums by label and by prediction, F1ₖ = 2pₖₖ / (rₖ + cₖ), an
    /// image of label i classified as j contributes
    ///
    /// ```text
    ///   g(i, j) = Σₖ wₖ (2·[i = j = k] − F1ₖ·([i = k] + [j = k])) / (rₖ + cₖ)   + sᵢ·(F1ᵢ − Σ w F1)
    /// ```
    ///
    /// to the gradient. The last term is that of the weights: `slopes` s are the derivatives of wᵢ by rᵢ if w = rᵢ / Σ r
    /// over some classes, and 0 if w is fixed.
    fn average_f1(&self, scores: &[ClassScores], weights: &[f64], slopes: &[f64]) -> Option<Estimate> {
        let images = self.images() as f64;
        let f1: Vec<f64> = scores.iter().map(|class| class.f1().map_or(0.0, |f1| f1.value)).collect();
        let value = weights.iter().zip(&f1).map(|(w, f1)| w * f1).sum::<f64>();
        // wₖ / (rₖ + cₖ), which only cells that are empty need if the sums are 0.
        let slope: Vec<f64> = scores
            .iter()
            .zip(weights)
            .map(|(class, w)| w * images / (class.support + class.predicted).max(1) as f64)
            .collect();
        self.average(value, |label, predicted| {
            let own = slopes[label] * (f1[label] - value) - slope[label] * f1[label];
            let other = predicted.map_or(0.0, |class| slope[class] * f1[class]);
            let hit = if predicted == Some(label) { 2.0 * slope[label] } else { 0.0 };
            own - other + hit
        })
    }

    /// An average of class scores with this `value`, whose variance follows by the delta method from what an image of
    /// each label and prediction contributes to its `gradient` g: (Σ p g² − (Σ p g)²) / N. `None` if there are no images.
    fn average(&self, value: f64, gradient: impl Fn(usize, Option<usize>) -> f64) -> Option<Estimate> {
        let images = self.images();
        let n = (images > 0).then_some(images as f64)?;
        let (mut first, mut second) = (0.0, 0.0);
        let mut add = |count: u64, label: usize, predicted: Option<usize>| {
            // The gradient at an empty cell may divide by zero.
            if count > 0 {
                let gradient = gradient(label, predicted);
                first += count as f64 / n * gradient;
                second += count as f64 / n * gradient * gradient;
            }
        };
        for label in 0..self.classes {
            add(self.undecided[label], label, None);
            (0..self.classes).for_each(|class| add(self.count(label, class), label, Some(class)));
        }
        Some(Estimate::average(value, (second - first * first).max(0.0) / n, images))
    }
}

/// Number of classes that are the label or the prediction of an image.
fn occurring(scores: &[ClassScores]) -> f64 {
    scores.iter().filter(|class| class.support + class.predicted > 0).count() as f64
}

/// A share of images, 0 if there are none.
struct Part {
    share: f64,
    sum: f64,
}

impl Part {
    fn new(hits: u64, sum: u64) -> Self {
        Self { share: hits as f64 / sum.max(1) as f64, sum: sum as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn outcome(label: u32, predicted: Option<u32>) -> Outcome {
        Outcome {
            label,
            predicted,
            rank: predicted.map(|p| u32::from(p != label)),
            confidence: 0.5,
            loss: 0.0,
        }
    }

    fn confusion(counts: &[(u32, u32, usize)], classes: usize) -> Confusion {
        let repeated = counts.iter().flat_map(|&(l, p, n)| vec![outcome(l, Some(p)); n]);
        Confusion::of(classes, &repeated.collect::<Vec<_>>())
    }

    #[test]
    fn scores_by_hand() {
        // Class 0: 3 of 4 found, 1 of 2 wrong from class 1; class 2 occurs only as a prediction, class 3 not at all.
        let matrix = confusion(&[(0, 0, 3), (0, 1, 1), (1, 1, 1), (1, 0, 1), (1, 2, 2)], 4);
        let classes = matrix.by_class();
        assert_eq!(classes[0], ClassScores { support: 4, predicted: 4, hits: 3 });
        assert_eq!(classes[1], ClassScores { support: 4, predicted: 2, hits: 1 });
        assert_eq!(classes[2], ClassScores { support: 0, predicted: 2, hits: 0 });
        let value = |estimate: Option<Estimate>| estimate.map(|estimate| estimate.value);
        assert_eq!([0, 1].map(|k| value(classes[k].precision())), [Some(0.75), Some(0.5)]);
        assert_eq!([1, 2].map(|k| value(classes[k].recall())), [Some(0.25), None]);
        assert_eq!(value(classes[2].f1()), Some(0.0));
        assert_eq!((classes[3].f1(), classes[3].precision()), (None, None));
        let f1 = [0.75, 2.0 / 6.0];
        assert!((value(matrix.macro_f1()).unwrap() - (f1[0] + f1[1]) / 3.0).abs() < 1e-15);
        assert!((value(matrix.weighted_f1()).unwrap() - (f1[0] + f1[1]) / 2.0).abs() < 1e-15);
        assert!((value(matrix.macro_precision()).unwrap() - (0.75 + 0.5) / 3.0).abs() < 1e-15);
        assert!((value(matrix.macro_recall()).unwrap() - (0.75 + 0.25) / 3.0).abs() < 1e-15);
        assert_eq!(Confusion::of(3, &[]).macro_f1(), None);
    }

    /// The definition: scikit-learn's `f1_score(labels=…, average="weighted")`.
    #[test]
    fn the_f1_of_some_classes_is_the_mean_over_them() {
        let matrix = confusion(&[(0, 0, 3), (0, 1, 1), (1, 1, 4), (1, 0, 2), (2, 2, 5), (2, 0, 1)], 4);
        let f1: Vec<f64> = matrix.by_class().iter().map(|c| c.f1().map_or(0.0, |f1| f1.value)).collect();
        let some = matrix.weighted_f1_of(&[2, 0]).unwrap();
        assert!((some.value - (6.0 * f1[2] + 4.0 * f1[0]) / 10.0).abs() < 1e-15);
        let one = matrix.weighted_f1_of(&[1]).unwrap();
        assert!((one.value - f1[1]).abs() < 1e-15 && one.interval.0 < f1[1]);
        assert_eq!(matrix.weighted_f1_of(&[0, 1, 2, 3]), matrix.weighted_f1());
        assert_eq!(matrix.weighted_f1_of(&[3]), None);
        assert_eq!(matrix.weighted_f1_of(&[]), None);
    }

    #[test]
    fn an_image_without_a_prediction_counts_as_missed() {
        let outcomes = [outcome(0, None), outcome(0, Some(0)), outcome(1, Some(1))];
        let matrix = Confusion::of(2, &outcomes);
        assert_eq!(matrix.by_class()[0], ClassScores { support: 2, predicted: 1, hits: 1 });
        assert_eq!((matrix.undecided(0), matrix.images()), (1, 3));
        let f1 = matrix.macro_f1().unwrap().value;
        assert!((f1 - (2.0 / 3.0 + 1.0) / 2.0).abs() < 1e-15);
    }

    #[test]
    fn a_network_that_is_always_right_has_an_interval() {
        let matrix = confusion(&[(0, 0, 20), (1, 1, 20)], 2);
        for estimate in
            [matrix.macro_f1(), matrix.weighted_f1(), matrix.macro_precision(), matrix.macro_recall()]
        {
            let Estimate { value, interval: (low, high) } = estimate.unwrap();
            assert_eq!((value, high), (1.0, 1.0));
            assert!((0.9..0.93).contains(&low), "{low}");
        }
    }

    /// The standard error by the delta method against that of a thousand resamples.
    #[test]
    fn the_variance_agrees_with_the_bootstrap() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        let images: Vec<Outcome> = (0..600)
            .map(|_| {
                let label = [0, 0, 0, 0, 0, 1, 1, 2, 2, 3][rng.random_range(0..10)];
                let predicted = if rng.random_bool(0.7) { label } else { rng.random_range(0..4) };
                outcome(label, rng.random_bool(0.98).then_some(predicted))
            })
            .collect();
        let averages: [fn(&Confusion) -> Option<Estimate>; 5] = [
            Confusion::macro_f1,
            Confusion::weighted_f1,
            |confusion| confusion.weighted_f1_of(&[1, 3]),
            Confusion::macro_precision,
            Confusion::macro_recall,
        ];
        for average in averages {
            let estimate = average(&Confusion::of(4, &images)).unwrap();
            let values: Vec<f64> = (0..1000)
                .map(|_| {
                    let sample: Vec<Outcome> = (0..600).map(|_| images[rng.random_range(0..600)]).collect();
                    average(&Confusion::of(4, &sample)).unwrap().value
                })
                .collect();
            let mean = values.iter().sum::<f64>() / 1000.0;
            let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 999.0).sqrt();
            let (low, high) = estimate.interval;
            let ours = (high - low) / (2.0 * 1.96);
            assert!((ours / deviation - 1.0).abs() < 0.08, "{ours} for {deviation}");
        }
    }
}
