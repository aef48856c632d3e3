//! Gradient accumulation: several batches make one step, as if they were one large batch.

use crate::autograd::exec::ParamGradients;
use crate::autograd::tape::Tape;
use crate::train::data::{Batch, Numbered};
use crate::{Device, Result};

/// The batches of one step.
pub(super) struct Group {
    /// The number of the first one in its epoch.
    pub first: usize,
    /// The number of the last one.
    pub last: usize,
    pub batches: Vec<Batch>,
}

impl Group {
    /// Number of images.
    pub fn images(&self) -> usize {
        self.batches.iter().map(|batch| batch.labels.len()).sum()
    }
}

/// Groups the batches with numbers `0..size`, `size..2 · size` and so on. A group is complete as soon as its last batch
/// is read; it has fewer batches at the end of an epoch, and where a number is missing. An error takes the place of the
/// group that it is in.
pub(super) fn grouped(batches: Numbered<'_>, size: usize) -> impl Iterator<Item = Result<Group>> + '_ {
    let mut batches = batches.peekable();
    std::iter::from_fn(move || {
        let (first, batch) = match batches.next()? {
            Ok(item) => item,
            Err(error) => return Some(Err(error)),
        };
        let mut group = Group { first, last: first, batches: vec![batch] };
        while !(group.last + 1).is_multiple_of(size) {
            let belongs = |item: &Result<(usize, Batch)>| match item {
                Ok((number, _)) => number / size == first / size,
                Err(_) => true,
            };
            match batches.next_if(belongs) {
                Some(Ok((number, batch))) => {
                    group.last = number;
                    group.batches.push(batch);
                }
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        Some(Ok(group))
    })
}

/// Adds `more` to `sum`.
pub(super) fn add(sum: &mut ParamGradients, more: ParamGradients, device: &Device) -> Result<()> {
    for (path, gradient) in more {
        let total = match sum.remove(&path) {
            None => gradient,
            Some(before) => {
                let mut tape = Tape::no_grad(device);
                let (a, b) = (tape.constant(before), tape.constant(gradient));
                tape.add(&a, &b)?.value().clone()
            }
        };
        sum.insert(path, total);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, Tensor};

    fn groups(numbers: &[Option<usize>], size: usize) -> Vec<Option<Vec<u32>>> {
        let item = |number: &Option<usize>| match number {
            Some(n) => Ok((*n, Batch::new(Tensor::zeros(&[1]), vec![*n as u32]))),
            None => Err(Error::invalid("unreadable")),
        };
        let items: Vec<Result<(usize, Batch)>> = numbers.iter().map(item).collect();
        let label = |group: Group| {
            assert_eq!(group.first as u32, group.batches[0].labels[0]);
            assert_eq!(group.last as u32, group.batches.last().unwrap().labels[0]);
            group.batches.iter().map(|batch| batch.labels[0]).collect()
        };
        grouped(Box::new(items.into_iter()), size).map(|group| group.ok().map(label)).collect()
    }

    #[test]
    fn groups_start_at_multiples_of_their_size() {
        let all = |numbers: &[usize]| numbers.iter().map(|&n| Some(n)).collect::<Vec<_>>();
        let some = |groups: &[&[u32]]| groups.iter().map(|g| Some(g.to_vec())).collect::<Vec<_>>();
        assert_eq!(groups(&all(&[0, 1, 2, 3, 4]), 2), some(&[&[0, 1], &[2, 3], &[4]]));
        assert_eq!(groups(&all(&[4, 5, 6]), 4), some(&[&[4, 5, 6]]));
        assert_eq!(groups(&all(&[0, 2, 3, 5]), 3), some(&[&[0, 2], &[3, 5]]));
        assert_eq!(groups(&all(&[1, 2]), 1), some(&[&[1], &[2]]));
        assert_eq!(groups(&[Some(0), Some(1), Some(2), None], 2), [Some(vec![0, 1]), None]);
    }
}
