//! Steps of several batches: as with one batch of their size.

use crate::support::exact::{fit, images};
use lopper_engine::data::{Batch, Batches};
use lopper_engine::train::Reduce;
use lopper_engine::{Graph, ParamGradients, Result};

/// The same eight images, which are small integers, in every epoch, in batches of `size`.
struct Eight {
    size: usize,
    classes: Vec<String>,
}

impl Eight {
    fn in_batches_of(size: usize) -> Self {
        Self { size, classes: Vec::new() }
    }
}

impl Batches for Eight {
    fn len(&self) -> usize {
        8 / self.size
    }
    fn samples(&self) -> usize {
        8
    }
    fn image_shape(&self) -> [usize; 3] {
        [1, 1, 3]
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn epoch(&mut self, _: usize) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        let size = self.size;
        Ok(Box::new((0..self.len()).map(move |number| {
            let first = number * size;
            Ok(images(first..first + size))
        })))
    }
}

/// Trains with batches of `size` images and a step for each `accumulate` batches.
fn fit_in_batches(size: usize, accumulate: usize, reduce: Option<&mut dyn Reduce>) -> Graph {
    fit(&mut Eight::in_batches_of(size), accumulate, reduce)
}

fn same_bits(a: &Graph, b: &Graph) -> bool {
    a.params().zip(b.params()).all(|((_, a), (_, b))| a.value().same_bits(b.value()))
}

#[test]
fn several_batches_make_the_step_of_one() {
    let whole = fit_in_batches(8, 1, None);
    assert!(same_bits(&fit_in_batches(4, 2, None), &whole));
    assert!(same_bits(&fit_in_batches(2, 4, None), &whole));
    assert!(same_bits(&fit_in_batches(4, 5, None), &whole), "an epoch ends a step");
    assert!(!same_bits(&fit_in_batches(4, 1, None), &whole));
}

#[test]
fn replicas_combine_the_mean_gradient_once_a_step() {
    let mut calls = 0;
    let mut count = |_: &mut ParamGradients| -> Result<()> {
        calls += 1;
        Ok(())
    };
    fit_in_batches(2, 2, Some(&mut count));
    assert_eq!(calls, 4);
}
