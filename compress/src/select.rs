//! Selection: turns scores into the set of groups to drop, layer by layer or over all layers together.

use crate::granularity::Quota;
use crate::names::named;
use serde::{Deserialize, Serialize};

/// Whether every layer loses the same fraction, or layers compete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Context {
    /// Every layer loses the same fraction of its groups.
    Local,
    /// The groups with the lowest scores are dropped across all layers, so each layer finds its own sparsity.
    #[default]
    Global,
    /// The layers of a stage compete: those whose outputs have the same size of image.
    Stage,
}

named!(Context, "context");

/// Which groups compete with each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// Those of a layer, or of all layers.
    Context(Context),
    /// Those of a run of `m` neighbors, of which `n` stay at the end: no run loses more, and all lose the same.
    Quota(Quota),
}

impl From<Context> for Rule {
    fn from(context: Context) -> Self {
        Self::Context(context)
    }
}

/// The groups of a layer.
#[derive(Clone)]
pub(crate) struct Scored {
    /// The score of each group, a finite number.
    pub scores: Vec<f32>,
    /// The groups that are already dropped.
    pub dead: Vec<bool>,
}

/// [`select_beside`] the groups that are dead already: they stay dropped, however many they are.
#[cfg(test)]
pub(crate) fn select(layers: &[Scored], rule: impl Into<Rule>, sparsity: f64) -> Vec<Vec<bool>> {
    let dead = layers.iter().map(|layer| layer.dead.clone()).collect();
    select_beside(layers, rule, sparsity, dead)
}

/// For each layer, which groups are dropped at `sparsity`: the lowest `round(sparsity · groups)` (of each run, of each
/// layer, or of all layers together), those that are dead already first, and never all of a layer. Of two
/// equal groups the one that comes first goes first. Dead groups return if there are more than `sparsity` asks for, except
/// those of `dropped`.
pub(crate) fn select_beside(
    layers: &[Scored],
    rule: impl Into<Rule>,
    sparsity: f64,
    mut dropped: Vec<Vec<bool>>,
) -> Vec<Vec<bool>> {
    match rule.into() {
        // Stages are told apart by the caller, who knows the layers.
        Rule::Context(Context::Local | Context::Stage) => {
            for (layer, dropped) in layers.iter().zip(dropped.chunks_mut(1)) {
                drop_lowest(std::slice::from_ref(layer), sparsity, dropped);
            }
        }
        Rule::Context(Context::Global) => drop_lowest(layers, sparsity, &mut dropped),
        Rule::Quota(quota) => {
            layers.iter().zip(&mut dropped).for_each(|(layer, dropped)| {
                drop_lowest_of_runs(layer, quota, sparsity, dropped);
            });
        }
    }
    dropped
}

/// Drops the lowest `round(sparsity · m)` groups of each run of `m`, dead ones first, and at most `m − n`.
fn drop_lowest_of_runs(layer: &Scored, Quota { n, m }: Quota, sparsity: f64, dropped: &mut [bool]) {
    let count = ((sparsity * m as f64).round() as usize).min(m.saturating_sub(n));
    let mut run: Vec<usize> = Vec::with_capacity(m);
    for first in (0..dropped.len()).step_by(m) {
        run.clear();
        run.extend(first..(first + m).min(dropped.len()));
        run.sort_by_key(|&i| (!layer.dead[i], in_order(layer.scores[i])));
        run[..count].iter().for_each(|&i| dropped[i] = true);
    }
}

/// The position of a group in the order of dropping: dead groups first, then by score, then in graph order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    alive: bool,
    /// The score, by [`in_order`].
    score: i32,
    layer: usize,
    group: usize,
}

/// An integer for each finite number that sorts like the numbers. −0 and +0 are equal.
fn in_order(score: f32) -> i32 {
    let bits = (score + 0.0).to_bits() as i32;
    if bits < 0 { i32::MIN.wrapping_sub(bits) } else { bits }
}

fn drop_lowest(layers: &[Scored], sparsity: f64, dropped: &mut [Vec<bool>]) {
    let groups: usize = layers.iter().map(|layer| layer.scores.len()).sum();
    drop_count(layers, (sparsity * groups as f64).round() as usize, dropped);
}

/// Drops the `count` lowest groups, or all but the best of each layer if these are fewer.
fn drop_count(layers: &[Scored], count: usize, dropped: &mut [Vec<bool>]) {
    let mut ranks = Vec::with_capacity(layers.iter().map(|layer| layer.scores.len()).sum());
    for (layer, Scored { scores, dead }) in layers.iter().enumerate() {
        let start = ranks.len();
        ranks.extend(scores.iter().zip(dead).enumerate().map(|(group, (&score, &dead))| Rank {
            alive: !dead,
            score: in_order(score),
            layer,
            group,
        }));
        // The best group of a layer always stays, so that no layer is emptied.
        if let Some(best) = (start..ranks.len()).max_by_key(|&i| ranks[i]) {
            ranks.swap_remove(best);
        }
    }
    let count = count.min(ranks.len());
    if count > 0 {
        ranks.select_nth_unstable(count - 1);
    }
    for rank in &ranks[..count] {
        dropped[rank.layer][rank.group] = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layer(scores: &[f32]) -> Scored {
        Scored { scores: scores.to_vec(), dead: vec![false; scores.len()] }
    }

    fn counts(dropped: &[Vec<bool>]) -> Vec<usize> {
        dropped.iter().map(|layer| layer.iter().filter(|&&d| d).count()).collect()
    }

    #[test]
    fn local_cuts_layers_alike_and_global_against_each_other() {
        let layers = [layer(&[1.0, 2.0, 3.0, 4.0]), layer(&[10.0, 20.0, 30.0, 40.0])];
        assert_eq!(counts(&select(&layers, Context::Local, 0.5)), [2, 2]);
        // Four of eight: all of the first layer but its best, and then the lowest of the second.
        let global = select(&layers, Context::Global, 0.5);
        assert_eq!(global, [vec![true, true, true, false], vec![true, false, false, false]]);
    }

    #[test]
    fn ties_go_in_order() {
        let layers = [layer(&[1.0; 3]), layer(&[1.0; 3])];
        let dropped = select(&layers, Context::Global, 0.5);
        assert_eq!(dropped, [vec![true, true, false], vec![true, false, false]]);
    }

    #[test]
    fn dead_groups_go_first_and_never_return() {
        let mut scored = layer(&[0.0, 5.0, 9.0, 1.0]);
        scored.dead = vec![false, false, true, false];
        assert_eq!(select(&[scored], Context::Local, 0.5), [vec![true, false, true, false]]);
        let mut scored = layer(&[0.0, 5.0, 9.0, 1.0]);
        scored.dead = vec![true, false, true, true];
        assert_eq!(select(&[scored], Context::Local, 0.25), [vec![true, false, true, true]]);
    }

    #[test]
    fn the_best_dead_groups_return_first() {
        let scored = Scored { dead: vec![true, true, true, false], ..layer(&[0.0, 5.0, 1.0, 0.5]) };
        let at = |sparsity, fixed: [bool; 4]| {
            select_beside(std::slice::from_ref(&scored), Context::Local, sparsity, vec![fixed.to_vec()])
        };
        assert_eq!(at(0.5, [false; 4]), [vec![true, false, true, false]]);
        assert_eq!(at(0.0, [false; 4]), [vec![false; 4]]);
        assert_eq!(at(0.0, [false, true, false, false]), [vec![false, true, false, false]]);
    }

    #[test]
    fn a_quota_cuts_every_run_alike() {
        let rule = Rule::Quota(Quota { n: 2, m: 4 });
        let mut layer = layer(&[4.0, 1.0, 3.0, 2.0, 9.0, 9.0, 9.0, 9.0]);
        let at = |layer: &Scored, sparsity| select(std::slice::from_ref(layer), rule, sparsity).concat();
        let [no, yes] = [false, true];
        assert_eq!(at(&layer, 0.5), [no, yes, no, yes, yes, yes, no, no]);
        assert_eq!(at(&layer, 0.25), [no, yes, no, no, yes, no, no, no]);
        assert_eq!(at(&layer, 0.1), [no; 8]);
        assert_eq!(at(&layer, 1.0), at(&layer, 0.5), "the quota stays");
        // The dead go first, and count.
        layer.dead[0] = true;
        assert_eq!(at(&layer, 0.5), [yes, yes, no, no, yes, yes, no, no]);
    }

    proptest! {
        #[test]
        fn scores_sort_like_numbers(a in -1e30f32..1e30, b in -1e30f32..1e30, zero in prop::bool::ANY) {
            let b = if zero { -a } else { b };
            prop_assert_eq!(in_order(a).cmp(&in_order(b)), a.partial_cmp(&b).unwrap());
            prop_assert_eq!(in_order(0.0), in_order(-0.0));
        }

        #[test]
        fn the_count_is_exact_and_the_dropped_are_the_lowest(
            scores in prop::collection::vec(prop::collection::vec(0u8..20, 1..12), 1..6),
            sparsity in 0.0..=1.0f64,
        ) {
            let layers: Vec<Scored> =
                scores.iter().map(|s| layer(&s.iter().map(|&v| f32::from(v)).collect::<Vec<_>>())).collect();
            let asked = |groups: usize, layers: usize| {
                ((sparsity * groups as f64).round() as usize).min(groups - layers)
            };
            let sizes: Vec<usize> = scores.iter().map(Vec::len).collect();

            let local = select(&layers, Context::Local, sparsity);
            prop_assert_eq!(counts(&local), sizes.iter().map(|&n| asked(n, 1)).collect::<Vec<_>>());
            let global = select(&layers, Context::Global, sparsity);
            prop_assert_eq!(counts(&global).iter().sum::<usize>(), asked(sizes.iter().sum(), sizes.len()));

            // No group is dropped while a worse one stays, a layer's best aside.
            let worst_kept = scores.iter().zip(&global).flat_map(|(s, d)| {
                let best = s.iter().max().copied();
                s.iter().zip(d).filter(move |(v, d)| !**d && Some(**v) != best).map(|(v, _)| *v)
            }).min();
            let pairs = scores.iter().flatten().zip(global.iter().flatten());
            let best_dropped = pairs.filter(|(_, d)| **d).map(|(v, _)| *v).max();
            if let (Some(kept), Some(dropped)) = (worst_kept, best_dropped) {
                prop_assert!(dropped <= kept, "dropped {dropped}, kept {kept}");
            }
        }
    }
}
