//! The choice of the units that go: the lowest of each pool, within the limits of each group.

use super::fit::Fit;
use super::goal::Pool;
use std::collections::BTreeMap;

/// A group whose units are scored.
pub(super) struct Scored<'a> {
    /// The layers that make its units.
    pub layers: Vec<String>,
    /// The score of each unit, a finite number.
    pub scores: &'a [f32],
}

/// For each of `groups`, which units go: of each of `pools` the lowest, but no group falls below its floor, and each then
/// keeps the nearest width that pays. Of two equal units the one that comes first goes first.
pub(super) fn lowest(groups: &[Scored], pools: &[Pool], fit: &Fit) -> Vec<Vec<bool>> {
    let orders: Vec<Vec<usize>> = groups.iter().map(|group| ascending(group.scores)).collect();
    let mut lost = vec![0; groups.len()];
    let by_layers: BTreeMap<&[String], usize> =
        groups.iter().enumerate().map(|(index, group)| (group.layers.as_slice(), index)).collect();
    for pool in pools {
        let members = pool.groups.iter().filter_map(|layers| by_layers.get(layers.as_slice()).copied());
        let mut candidates: Vec<(usize, usize)> = Vec::new();
        for member in members {
            let group = &groups[member];
            let floor = fit.floor(&group.layers, group.scores.len());
            let free = orders[member].len().saturating_sub(floor);
            candidates.extend(orders[member][..free].iter().map(|&unit| (member, unit)));
        }
        let rank = |&(member, unit): &(usize, usize)| (groups[member].scores[unit] + 0.0, member, unit);
        candidates.sort_by(|a, b| {
            let ((a, ..), (b, ..)) = (rank(a), rank(b));
            a.total_cmp(&b)
        });
        candidates.iter().take(pool.count).for_each(|&(member, _)| lost[member] += 1);
    }
    let dropped = |((group, order), lost): ((&Scored, &Vec<usize>), usize)| {
        let units = order.len();
        let kept = match lost {
            0 => units,
            lost => fit.nearest(&group.layers, units, units - lost),
        };
        let mut dropped = vec![false; units];
        order[..units - kept].iter().for_each(|&unit| dropped[unit] = true);
        dropped
    };
    groups.iter().zip(&orders).zip(lost).map(dropped).collect()
}

/// The positions of `scores` in ascending order; equal ones stay in order.
pub(super) fn ascending(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // Adding 0 makes −0 and +0 equal.
    order.sort_by(|&a, &b| (scores[a] + 0.0).total_cmp(&(scores[b] + 0.0)));
    order
}

#[cfg(test)]
mod tests {
    use super::super::fit::Widths;
    use super::*;

    fn layer(name: &str) -> Vec<String> {
        vec![name.to_string()]
    }

    fn counts(dropped: &[Vec<bool>]) -> Vec<usize> {
        dropped.iter().map(|units| units.iter().filter(|&&gone| gone).count()).collect()
    }

    #[test]
    fn groups_of_a_pool_compete_down_to_their_floors() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [9.0, 10.0, 20.0, 30.0]);
        let groups = [Scored { layers: layer("a"), scores: &a }, Scored { layers: layer("b"), scores: &b }];
        let pool = |count| [Pool { groups: vec![layer("a"), layer("b")], count }];
        let free = Fit::default();
        assert_eq!(
            lowest(&groups, &pool(4), &free),
            [[true, true, true, false], [true, false, false, false]]
        );
        let floor = Fit { floors: [(layer("a"), 2)].into(), ..Fit::default() };
        assert_eq!(counts(&lowest(&groups, &pool(4), &floor)), [2, 2]);
        assert_eq!(counts(&lowest(&groups, &pool(8), &floor)), [2, 3], "a floor holds whatever is asked");
        let even = Fit { widths: Widths::multiple(2), ..Fit::default() };
        assert_eq!(counts(&lowest(&groups, &pool(4), &even)), [2, 0], "1 becomes 2, and 3 becomes 4");
        let apart =
            [Pool { groups: vec![layer("a")], count: 1 }, Pool { groups: vec![layer("b")], count: 2 }];
        assert_eq!(counts(&lowest(&groups, &apart, &free)), [1, 2]);
    }

    #[test]
    fn ties_go_in_order() {
        assert_eq!(ascending(&[0.0, 1.0, -0.0, -1.0]), [3, 0, 2, 1]);
        let scores = [1.0; 3];
        let groups = [layer("a"), layer("b")].map(|layers| Scored { layers, scores: &scores });
        let pool = [Pool { groups: vec![layer("a"), layer("b")], count: 3 }];
        let dropped = lowest(&groups, &pool, &Fit::default());
        assert_eq!(dropped, [[true, true, false], [true, false, false]]);
    }
}
