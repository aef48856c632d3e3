//! Epochs that are resumed in the middle, and the identity of a data set.

use super::bad_images::spoil;
use super::*;

/// An epoch can start at any batch: its batches are the same, and earlier ones are not produced.
#[test]
fn a_resumed_epoch_gives_the_remaining_batches() {
    let dir = folder();
    for (workers, batch) in [(0, 1), (1, 2), (3, 1)] {
        let mut loader = open_dir(&DataConfig { workers, batch, ..config() }, &dir).train;
        let whole = batches(&mut loader, 1);
        for first in 0..=whole.len() + 1 {
            let rest: Vec<(usize, Batch)> =
                loader.epoch_from(1, first).unwrap().map(Result::unwrap).collect();
            let numbers: Vec<usize> = rest.iter().map(|(number, _)| *number).collect();
            assert_eq!(numbers, (first..whole.len()).collect::<Vec<_>>());
            let rest: Vec<Batch> = rest.into_iter().map(|(_, batch)| batch).collect();
            assert!(
                same(&rest, &whole[first.min(whole.len())..]),
                "from batch {first} with {workers} workers"
            );
        }
    }
}

#[test]
fn skipped_images_are_saved_and_their_batch_numbers_omitted() {
    let dir = folder();
    let spoilt = spoil(dir.path());
    let config = DataConfig { batch: 1, skip_bad_images: true, ..config() };
    let mut loader = open_dir(&config, &dir).train;
    assert_eq!(loader.skipped().len(), 3, "known when the folder is opened");
    let numbers: Vec<usize> = loader.epoch_from(0, 0).unwrap().map(|batch| batch.unwrap().0).collect();
    assert_eq!(numbers.len() + spoilt.len(), loader.len());
    assert!(numbers.is_sorted() && *numbers.last().unwrap() >= numbers.len() - 1);
    let mut other = open_dir(&config, &dir).train;
    other.restore(loader.state()).unwrap();
    assert_eq!((other.skipped(), other.skipped().len()), (loader.skipped(), 3));
}

#[test]
fn different_file_lists_have_different_identities() {
    let dir = folder();
    let identity = |config: &DataConfig| {
        let mut bytes = Vec::new();
        open_dir(config, &dir).train.identify(&mut |more| bytes.extend_from_slice(more));
        bytes
    };
    let before = identity(&config());
    assert_eq!(identity(&DataConfig { cache: true, ..config() }), before);
    assert_ne!(identity(&DataConfig { limit: Some(1), ..config() }), before);
    spoil(dir.path());
    assert_ne!(identity(&config()), before);
}
