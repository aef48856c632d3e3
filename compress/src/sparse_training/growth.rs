//! Which groups of a layer die and which grow.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A layer before an update.
pub(super) struct Before<'a> {
    /// Whether each group lives.
    pub alive: &'a [bool],
    /// The mean |w| of each group.
    pub magnitudes: &'a [f64],
    /// What the groups to grow are ranked by: the mean |gradient|, or random numbers.
    pub promises: &'a [f64],
}

impl Before<'_> {
    /// The groups that live after an update that leaves `target` of them, at least one, and moves the share `moved` of those
    /// that would stay. Those of the smallest magnitude die; of the groups that then do not live, those of the largest promise
    /// grow. A group may die and grow at once: it then stays as it is. Of equals, the first dies and the first grows.
    pub fn moved(&self, moved: f64, target: usize) -> Vec<bool> {
        let count = self.alive.iter().filter(|&&alive| alive).count();
        let target = target.clamp(1, self.alive.len());
        let stay = count.min(target);
        let kept = stay - ((moved * stay as f64) as usize).min(stay);
        let mut alive = vec![false; self.alive.len()];
        let mut live: Vec<usize> = (0..alive.len()).filter(|&i| self.alive[i]).collect();
        // The last to die first: larger magnitudes, then later groups.
        live.sort_by(|&a, &b| self.magnitudes[b].total_cmp(&self.magnitudes[a]).then(b.cmp(&a)));
        live[..kept].iter().for_each(|&i| alive[i] = true);
        let mut dead: Vec<usize> = (0..alive.len()).filter(|&i| !alive[i]).collect();
        dead.sort_by(|&a, &b| self.promises[b].total_cmp(&self.promises[a]).then(a.cmp(&b)));
        dead[..target - kept].iter().for_each(|&i| alive[i] = true);
        alive
    }
}

/// The groups that live if `target` do, at least one and as many as are `alive`: these, and of the others those of the largest
/// `ranks`. Of equals, the first.
pub(super) fn grown(alive: &[bool], ranks: &[f64], target: usize) -> Vec<bool> {
    let live = alive.iter().filter(|&&alive| alive).count();
    Before { alive, magnitudes: ranks, promises: ranks }.moved(0.0, target.max(live))
}

/// How many groups of each layer are among the `target` live ones of the largest magnitude in all of them, and at least one.
/// A layer is the magnitudes of its groups and whether they live. Of equals, the later ones stay.
pub(super) fn survivors(layers: &[(Vec<f64>, Vec<bool>)], target: usize) -> Vec<usize> {
    let mut live: Vec<(f64, usize)> = Vec::new();
    for (layer, (magnitudes, alive)) in layers.iter().enumerate() {
        let of_layer = magnitudes.iter().zip(alive).filter(|(_, alive)| **alive);
        live.extend(of_layer.map(|(&magnitude, _)| (magnitude, layer)));
    }
    // Stable: equal ones stay in order, of which the first go.
    live.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut counts = vec![0; layers.len()];
    live.iter().rev().take(target).for_each(|&(_, layer)| counts[layer] += 1);
    counts.into_iter().map(|count| count.max(1)).collect()
}

/// `count` random numbers in [0, 1), fixed by `seed`, the layer and the step.
pub(super) fn random(count: usize, seed: u64, layer: usize, step: usize) -> Vec<f64> {
    let key = seed ^ ((layer as u64) << 40) ^ (step as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(key);
    (0..count).map(|_| generator.random()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_keep_as_many_as_survive_of_all() {
        let layers = [(vec![5.0, 1.0, 3.0], vec![true; 3]), (vec![2.0, 0.5, 9.0], vec![true, true, false])];
        assert_eq!(survivors(&layers, 3), [2, 1], "5, 3 and 2");
        assert_eq!(survivors(&layers, 1), [1, 1], "each keeps one");
        assert_eq!(survivors(&layers, 9), [3, 2]);
    }

    #[test]
    fn the_largest_others_grow() {
        let grown = |alive: [bool; 4], target| grown(&alive, &[2.0, 9.0, 3.0, 3.0], target);
        assert_eq!(grown([false; 4], 2), [false, true, true, false], "of equals, the first");
        assert_eq!(grown([true, false, false, false], 2), [true, true, false, false]);
        assert_eq!(grown([true, false, true, true], 1), [true, false, true, true], "none dies");
        assert_eq!(grown([false; 4], 0), [false, true, false, false], "at least one");
    }

    const MAGNITUDES: [f64; 6] = [5.0, 1.0, 3.0, 0.0, 0.0, 0.0];
    const ALIVE: [bool; 6] = [true, true, true, false, false, false];

    fn moved(promises: [f64; 6], moved: f64, target: usize) -> Vec<usize> {
        let before = Before { alive: &ALIVE, magnitudes: &MAGNITUDES, promises: &promises };
        let after = before.moved(moved, target);
        (0..6).filter(|&i| after[i]).collect()
    }

    #[test]
    fn the_smallest_die_and_the_most_promising_grow() {
        assert_eq!(moved([0.0, 0.0, 0.0, 1.0, 9.0, 2.0], 0.34, 3), [0, 2, 4]);
        assert_eq!(moved([0.0, 0.0, 0.0, 1.0, 9.0, 2.0], 0.67, 3), [0, 4, 5]);
        assert_eq!(moved([0.0, 10.0, 0.0, 1.0, 9.0, 2.0], 0.34, 3), [0, 1, 2], "dies and grows");
        assert_eq!(moved([0.0, 0.0, 0.0, 1.0, 9.0, 2.0], 0.3, 3), [0, 1, 2], "less than one");
        assert_eq!(moved([0.0; 6], 0.34, 3), [0, 1, 2], "of equals, the first");
        assert_eq!(moved([0.0, 0.0, 0.0, 1.0, 9.0, 2.0], 0.0, 2), [0, 2], "sparser");
        assert_eq!(moved([0.0, 0.0, 0.0, 1.0, 9.0, 2.0], 0.67, 2), [0, 4], "sparser, and moved");
        assert_eq!(moved([0.0, 0.0, 0.0, 1.0, 9.0, 2.0], 0.0, 0), [0], "at least one");
        assert_eq!(moved([0.0, 0.0, 0.0, 1.0, 9.0, 2.0], 0.0, 4), [0, 1, 2, 4], "denser");
    }
}
