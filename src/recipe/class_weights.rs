//! Weights of classes in the training loss.

use lopper_engine::number::{self, Range};
use lopper_engine::{Error, Result};
use serde::Deserialize;
use std::str::FromStr;

/// How much the images of each class count in the loss.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "Given")]
pub enum ClassWeights {
    /// In inverse proportion to the number of training images, so that all classes count alike: scikit-learn's
    /// `balanced`, images / (classes · images of the class).
    Balanced,
    /// A weight for each class, in their order.
    Each(Vec<f64>),
}

/// The serialized form.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected \"balanced\" or a list with a number for each class")]
enum Given {
    Name(Name),
    Each(Vec<f64>),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Name {
    Balanced,
}

impl From<Given> for ClassWeights {
    fn from(given: Given) -> Self {
        match given {
            Given::Name(Name::Balanced) => Self::Balanced,
            Given::Each(weights) => Self::Each(weights),
        }
    }
}

/// Parses `balanced`, or numbers separated by commas.
impl FromStr for ClassWeights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "balanced" {
            return Ok(Self::Balanced);
        }
        let numbers: Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
        numbers
            .map(Self::Each)
            .map_err(|_| "expected balanced, or a number for each class, separated by commas".to_string())
    }
}

impl ClassWeights {
    /// Returns an error if a weight is negative or not a number, or if all are 0.
    pub fn check(&self) -> Result<()> {
        let Self::Each(weights) = self else { return Ok(()) };
        for &weight in weights {
            number::single("class_weights", weight, Range::AtLeastZero)?;
        }
        match weights.iter().any(|&weight| weight > 0.0) {
            true => Ok(()),
            false => Err(Error::invalid("class_weights: expected a weight above 0, found none")),
        }
    }

    /// Returns the weight of each class, if their training images are `counts`. A class without images has weight 0 if
    /// weights are balanced: nothing is learned about it anyway.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless there are as many weights as classes.
    pub fn weights(&self, counts: &[usize]) -> Result<Vec<f32>> {
        match self {
            Self::Balanced => {
                let images: usize = counts.iter().sum();
                let share = images as f64 / counts.len() as f64;
                let weight = |&count: &usize| if count > 0 { (share / count as f64) as f32 } else { 0.0 };
                Ok(counts.iter().map(weight).collect())
            }
            Self::Each(weights) if weights.len() == counts.len() => {
                Ok(weights.iter().map(|&weight| weight as f32).collect())
            }
            Self::Each(weights) => Err(Error::invalid(format!(
                "class_weights: expected a weight for each of {} classes, found {}",
                counts.len(),
                weights.len()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_weights_give_classes_equal_shares() {
        let counts = [10, 30, 0, 40];
        let weights = ClassWeights::Balanced.weights(&counts).unwrap();
        assert_eq!(weights, [2.0, 2.0 / 3.0, 0.0, 0.5]);
        assert_eq!(ClassWeights::Each(vec![1.0, 2.5]).weights(&[3, 4]).unwrap(), [1.0, 2.5]);
        let message = ClassWeights::Each(vec![1.0]).weights(&[3, 4]).unwrap_err().to_string();
        assert!(message.contains("a weight for each of 2 classes, found 1"), "{message}");
    }

    #[test]
    fn weights_are_read_from_recipes_and_options() {
        let read = |json: &str| serde_json::from_str::<ClassWeights>(json);
        assert_eq!(read("\"balanced\"").unwrap(), ClassWeights::Balanced);
        assert_eq!(read("[1, 0.5]").unwrap(), ClassWeights::Each(vec![1.0, 0.5]));
        let message = read("\"even\"").unwrap_err().to_string();
        assert!(message.contains("expected \"balanced\" or a list"), "{message}");
        assert_eq!("1, 0.5".parse(), Ok(ClassWeights::Each(vec![1.0, 0.5])));
        assert_eq!("balanced".parse(), Ok(ClassWeights::Balanced));
        assert!("even".parse::<ClassWeights>().is_err() && "".parse::<ClassWeights>().is_err());
        for (weights, words) in
            [(vec![-1.0], "at least 0"), (vec![0.0, 0.0], "found none"), (vec![1e39], "overflows")]
        {
            let message = ClassWeights::Each(weights).check().unwrap_err().to_string();
            assert!(message.starts_with("class_weights: ") && message.contains(words), "{message}");
        }
    }
}
