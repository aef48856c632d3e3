//! A stratified sample of images, as large as the interval that is asked for needs.

use lopper_engine::train::metrics::wilson95;

/// The smallest number of images whose 95 % interval of an accuracy reaches at most `half` to either side, wherever the
/// accuracy lies: it is widest at ½.
pub fn images_for(half: f64) -> usize {
    let reaches = |images: usize| {
        let (low, high) = wilson95(0.5, images as f64);
        (high - low) / 2.0 <= half
    };
    // Wilson's interval at ½ has the half width z / 2√(n + z²).
    let mut most = 1;
    while !reaches(most) {
        most *= 2;
    }
    let (mut low, mut high) = (most / 2, most);
    while low + 1 < high {
        let middle = usize::midpoint(low, high);
        if reaches(middle) { high = middle } else { low = middle }
    }
    high
}

/// The positions, ascending, of about `count` of the images with these `labels`: of each class its share, rounded by
/// largest remainders, and evenly spread over the order of the data set.
pub fn stratified(labels: &[u32], count: usize) -> Vec<usize> {
    if count >= labels.len() {
        return (0..labels.len()).collect();
    }
    let classes = labels.iter().max().map_or(0, |&label| label as usize + 1);
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); classes];
    labels.iter().enumerate().for_each(|(i, &label)| members[label as usize].push(i));
    let exact = |members: &[usize]| members.len() * count;
    let mut quotas: Vec<usize> = members.iter().map(|members| exact(members) / labels.len()).collect();
    let mut order: Vec<usize> = (0..classes).collect();
    // The largest remainders first; of equal ones the first class.
    order.sort_by_key(|&class| std::cmp::Reverse(exact(&members[class]) % labels.len()));
    let missing = count - quotas.iter().sum::<usize>();
    order.iter().take(missing).for_each(|&class| quotas[class] += 1);
    let mut chosen: Vec<usize> = members
        .iter()
        .zip(&quotas)
        .flat_map(|(members, &quota)| {
            (0..quota).map(move |i| members[(2 * i + 1) * members.len() / (2 * quota)])
        })
        .collect();
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_interval_needs_so_many_images() {
        // n = z² (1 / 4h² − 1), z = 1.96: 2397.3 and 381.0 (rounded up).
        assert_eq!([0.02, 0.05].map(images_for), [2398, 381]);
        for half in [0.3, 0.1, 0.013] {
            let n = images_for(half) as f64;
            let width = |n: f64| wilson95(0.5, n).1 - 0.5;
            assert!(width(n) <= half && width(n - 1.0) > half, "{half}: {n}");
        }
    }

    proptest! {
        #[test]
        fn every_class_keeps_its_share(labels in prop::collection::vec(0u32..7, 1..400), count in 1usize..500) {
            let chosen = stratified(&labels, count);
            prop_assert_eq!(chosen.len(), count.min(labels.len()));
            prop_assert!(chosen.is_sorted_by(|a, b| a < b), "no image twice");
            for class in 0..7 {
                let of = |positions: &mut dyn Iterator<Item = u32>| positions.filter(|&label| label == class).count();
                let all = of(&mut labels.iter().copied()) as f64;
                let sampled = of(&mut chosen.iter().map(|&i| labels[i])) as f64;
                let share = all * chosen.len() as f64 / labels.len() as f64;
                prop_assert!((sampled - share).abs() < 1.0, "class {}: {} of {}", class, sampled, share);
            }
        }
    }
}
