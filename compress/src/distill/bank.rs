//! The memory bank of contrastive distillation: embeddings of the images of the last batches, by both networks.
//!
//! ```text
//!   batch ─► embeddings ─► the oldest entries are replaced ─► each image: its own entry, against all of other classes
//! ```
//!
//! Tian et al. 2020 keep an entry for each image of the data set, find it by the image's number, and draw negatives from
//! images of other classes. Batches do not number their images here, so that the bank is a queue, as in He et al. 2020,
//! "Momentum contrast": its entries are newer, and all those of other classes are negatives. The bank is part of a
//! checkpoint.

use super::losses::{Anchor, Rows, unit};
use lopper_engine::data::Batch;
use lopper_engine::train::State;
use lopper_engine::{Error, Result};

/// The networks whose embeddings are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Student,
    Teacher,
}

impl Network {
    pub const ALL: [Self; 2] = [Self::Student, Self::Teacher];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Student => Self::Teacher,
            Self::Teacher => Self::Student,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Student => "student",
            Self::Teacher => "teacher",
        }
    }
}

/// Embeddings by both networks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Bank {
    /// Most entries.
    capacity: usize,
    /// Values of an embedding.
    width: usize,
    /// `[entries, width]` by [`Network`].
    embeddings: [Vec<f64>; 2],
    /// The classes of each entry: two, if the image is a mixture.
    classes: Vec<[u32; 2]>,
    /// The entry to replace next, once all places are taken.
    next: usize,
    /// `log ē` by the network that is contrasted, once it is known.
    log_means: [Option<f64>; 2],
}

impl Bank {
    /// A bank for `capacity` embeddings of `width` values.
    pub fn new(capacity: usize, width: usize) -> Self {
        Self { capacity, width, ..Self::default() }
    }

    /// The embeddings by `network`, `[entries, width]`, each of length 1.
    pub fn embeddings(&self, network: Network) -> &[f64] {
        &self.embeddings[network as usize]
    }

    /// Puts the outputs of the heads of `[student, teacher]`, `[N, width]`, for the images of `batch` in, in place of the
    /// oldest entries, and returns what each image is contrasted with.
    ///
    /// # Errors
    /// If the batch has more images than the bank.
    pub fn insert(&mut self, heads: [&Rows; 2], batch: &Batch) -> Result<Vec<Anchor>> {
        let images = batch.labels.len();
        if images > self.capacity {
            return Err(Error::invalid(format!(
                "distillation bank: expected room for the {images} images of a batch, found {}",
                self.capacity
            )));
        }
        let places: Vec<usize> = (0..images).map(|image| self.place(classes(batch, image))).collect();
        for (embeddings, heads) in self.embeddings.iter_mut().zip(heads) {
            for (row, &place) in heads.iter().zip(&places) {
                embeddings[place * self.width..][..self.width].copy_from_slice(&unit(row).0);
            }
        }
        let differs = |a: [u32; 2], b: [u32; 2]| a.iter().all(|class| !b.contains(class));
        let anchor = |&positive: &usize| {
            let own = self.classes[positive];
            let negatives = (0..self.classes.len()).filter(|&place| differs(own, self.classes[place]));
            Anchor { positive, negatives: negatives.collect() }
        };
        Ok(places.iter().map(anchor).collect())
    }

    /// Makes an entry of these classes: a new one, or the oldest.
    fn place(&mut self, classes: [u32; 2]) -> usize {
        let place = self.next;
        self.next = (self.next + 1) % self.capacity;
        if place == self.classes.len() {
            self.classes.push(classes);
            self.embeddings.iter_mut().for_each(|e| e.resize(e.len() + self.width, 0.0));
        }
        self.classes[place] = classes;
        place
    }

    /// `log ē` for `network`: what was first found.
    pub fn log_mean(&mut self, network: Network, find: impl FnOnce(&Self) -> Option<f64>) -> Option<f64> {
        let known = self.log_means[network as usize].or_else(|| find(self));
        self.log_means[network as usize] = known;
        known
    }

    /// Adds its state to `state`, under `name`, if it holds anything.
    pub fn remember(&self, name: &str, state: &mut State) {
        if self.classes.is_empty() {
            return;
        }
        let mut put = |what: &str, values: Vec<f64>| state.arrays.insert(format!("{name}/{what}"), values);
        for network in Network::ALL {
            put(network.name(), self.embeddings(network).to_vec());
            if let Some(mean) = self.log_means[network as usize] {
                put(&mean_name(network), vec![mean]);
            }
        }
        put("classes", self.classes.iter().flatten().copied().map(f64::from).collect());
        put("place", vec![self.next as f64]);
    }

    /// Restores what [`Bank::remember`] added, and removes it from `state`.
    ///
    /// # Errors
    /// If a part is missing or has another length.
    pub fn recall(&mut self, name: &str, state: &mut State) -> Result<()> {
        *self = Self::new(self.capacity, self.width);
        let mut take = |what: &str| state.arrays.remove(&format!("{name}/{what}"));
        let means = Network::ALL.map(|network| take(&mean_name(network)));
        let parts = [take("student"), take("teacher"), take("classes"), take("place")];
        if parts.iter().all(Option::is_none) {
            return Ok(());
        }
        let damaged = || {
            Error::invalid(format!(
                "checkpoint: the state of distillation is damaged: `{name}` has wrong parts"
            ))
        };
        let [Some(student), Some(teacher), Some(classes), Some(place)] = parts else { return Err(damaged()) };
        let &[next] = place.as_slice() else { return Err(damaged()) };
        let (next, entries) = (next as usize, classes.len() / 2);
        let lengths = [student.len(), teacher.len(), classes.len()];
        let expected = [entries * self.width, entries * self.width, 2 * entries];
        let fits = lengths == expected && entries <= self.capacity;
        // Places are taken in order, until there are no more.
        let full = entries == self.capacity;
        let in_order = if full { next < entries } else { next == entries };
        if !fits || !in_order {
            return Err(damaged());
        }
        self.embeddings = [student, teacher];
        self.classes = classes.chunks_exact(2).map(|pair| [pair[0] as u32, pair[1] as u32]).collect();
        self.next = next;
        self.log_means = means.map(|mean| mean?.first().copied());
        Ok(())
    }
}

fn mean_name(network: Network) -> String {
    format!("log mean of {}", network.name())
}

/// The classes of image number `image`.
fn classes(batch: &Batch, image: usize) -> [u32; 2] {
    let (first, mixed) = (batch.labels[image], batch.mixed.as_ref());
    [first, mixed.map_or(first, |mixed| mixed.labels[image])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_engine::Tensor;
    use lopper_engine::data::Mixed;

    fn batch(labels: &[u32]) -> Batch {
        Batch::new(Tensor::zeros(&[labels.len(), 1, 1, 1]), labels.to_vec())
    }

    fn heads(values: &[f64]) -> Rows {
        Rows::new(values.to_vec(), 2).unwrap()
    }

    #[test]
    fn the_oldest_entries_are_replaced_and_other_classes_are_negatives() {
        let mut bank = Bank::new(3, 2);
        let first =
            bank.insert([&heads(&[3.0, 4.0, 0.0, 2.0]), &heads(&[1.0, 0.0, 0.0, -1.0])], &batch(&[0, 1]));
        let anchor = |positive, negatives: &[usize]| Anchor { positive, negatives: negatives.to_vec() };
        assert_eq!(first.unwrap(), [anchor(0, &[1]), anchor(1, &[0])]);
        assert_eq!(bank.embeddings(Network::Student), [0.6, 0.8, 0.0, 1.0]);
        let both = heads(&[5.0, 0.0, 0.0, 7.0]);
        let second = bank.insert([&both, &both], &batch(&[1, 1])).unwrap();
        // The first image gives way to the fourth.
        assert_eq!(second, [anchor(2, &[]), anchor(0, &[])]);
        assert_eq!(bank.embeddings(Network::Teacher), [0.0, 1.0, 0.0, -1.0, 1.0, 0.0]);
        let mut mixed = batch(&[0, 2]);
        mixed.mixed = Some(Mixed { labels: vec![1, 0], share: 0.5 });
        assert_eq!(bank.insert([&both, &both], &mixed).unwrap(), [anchor(1, &[]), anchor(2, &[0])]);
        let error = Bank::new(1, 2).insert([&both, &both], &batch(&[0, 1])).unwrap_err().to_string();
        assert!(error.contains("room for the 2 images of a batch, found 1"), "{error}");
    }

    #[test]
    fn a_bank_is_restored_bit_for_bit() {
        let mut bank = Bank::new(3, 2);
        let both = heads(&[1.0, 3.0, -7.0, 0.1]);
        let mut state = State::default();
        bank.remember("bank", &mut state);
        assert!(state.is_empty());
        for labels in [[0, 1], [2, 1]] {
            bank.insert([&both, &both], &batch(&labels)).unwrap();
            bank.log_mean(Network::Teacher, |_| Some(0.3));
            let mut state = State::default();
            bank.remember("bank", &mut state);
            let mut again = Bank::new(3, 2);
            again.recall("bank", &mut state.clone()).unwrap();
            assert_eq!(again, bank);
            assert_eq!(again.log_mean(Network::Teacher, |_| None), Some(0.3));
            for part in ["student", "classes", "place"] {
                let mut cut = state.clone();
                cut.arrays.get_mut(&format!("bank/{part}")).unwrap().pop();
                assert!(
                    again.recall("bank", &mut cut).unwrap_err().to_string().contains("damaged"),
                    "{part}"
                );
            }
            state.arrays.remove("bank/teacher");
            assert!(again.recall("bank", &mut state).is_err());
        }
    }
}
