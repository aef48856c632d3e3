//! Patterns are derived exactly: they cover every nonzero weight, list every zero, and recognize the granularity that a
//! mask was made with.

use crate::support::Random;
use lopper_kernels::pattern::{Pattern, Structure};
use proptest::prelude::*;

/// The granularity that a mask is drawn with.
#[derive(Debug, Clone, Copy)]
enum Granularity {
    Dense,
    Filters,
    InputChannels,
    Both,
    Blocks(usize),
    NofM(usize, usize),
    Weights,
}

fn granularity() -> impl Strategy<Value = Granularity> {
    prop_oneof![
        Just(Granularity::Dense),
        Just(Granularity::Filters),
        Just(Granularity::InputChannels),
        Just(Granularity::Both),
        (2usize..5).prop_map(Granularity::Blocks),
        prop_oneof![Just((1, 4)), Just((2, 4)), Just((3, 8)), Just((5, 16))]
            .prop_map(|(n, m)| Granularity::NofM(n, m)),
        Just(Granularity::Weights),
    ]
}

/// A mask `[O, taps, C]` of random zeros of this granularity.
fn mask(granularity: Granularity, [o, taps, c]: [usize; 3], random: &mut Random) -> Vec<f32> {
    let (filters, inputs) = (random.flags(o), random.flags(c));
    let rows: Vec<Vec<bool>> = (0..o).map(|_| random.flags(taps * c)).collect();
    let groups: Vec<Vec<usize>> = (0..o * taps * c).map(|_| shuffled(16, random)).collect();
    let live = |o: usize, tap: usize, ch: usize| match granularity {
        Granularity::Dense => true,
        Granularity::Filters => filters[o],
        Granularity::InputChannels => inputs[ch],
        Granularity::Both => filters[o] && inputs[ch],
        Granularity::Blocks(b) => rows[o / b][tap * c + ch],
        // The first n of a random order of the m channels are kept.
        Granularity::NofM(n, m) => {
            let order = groups[(o * taps + tap) * c + ch / m].iter().filter(|&&i| i < m);
            order.take(n).any(|&i| i == ch % m)
        }
        Granularity::Weights => rows[o][tap * c + ch],
    };
    let mut values = Vec::with_capacity(o * taps * c);
    for (filter, tap) in (0..o).flat_map(|filter| (0..taps).map(move |tap| (filter, tap))) {
        values.extend((0..c).map(|channel| f32::from(live(filter, tap, channel))));
    }
    values
}

fn shuffled(len: usize, random: &mut Random) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.sort_by_cached_key(|_| random.bits());
    order
}

/// The number of nonzero values.
fn count(values: &[f32]) -> usize {
    values.iter().filter(|value| **value != 0.0).count()
}

proptest! {
    #[test]
    fn a_pattern_is_its_mask(
        granularity in granularity(),
        o in 1usize..13,
        taps in 1usize..5,
        c in prop_oneof![1usize..9, Just(16), Just(32)],
        seed: u64,
    ) {
        let mut random = Random(seed);
        let shape = [o, taps, c];
        // N:M divides whole groups of channels.
        let granularity = match granularity {
            Granularity::NofM(_, m) if c % m != 0 => Granularity::Weights,
            other => other,
        };
        let mask = mask(granularity, shape, &mut random);
        let pattern = Pattern::of(&mask, shape);
        for (filter, row) in mask.chunks_exact(taps * c).enumerate() {
            for (position, &value) in row.iter().enumerate() {
                prop_assert_eq!(
                    pattern.is_live(filter, position), value != 0.0,
                    "{:?} as {}: weight {} of filter {}", granularity, pattern, position, filter
                );
            }
            let first = seed as usize % row.len();
            let len = (1 + (seed >> 32) as usize % 32).min(row.len() - first);
            let bits = row[first..][..len].iter().rev().fold(0, |bits, v| bits << 1 | u32::from(*v != 0.0));
            prop_assert_eq!(pattern.live_bits(filter, first, len), bits);
            let positions: Vec<usize> = pattern.positions(filter).collect();
            prop_assert!(positions.iter().all(|&position| row[position] != 0.0));
            prop_assert_eq!(positions.len(), count(row));
            prop_assert_eq!(pattern.filters().contains(&(filter as u32)), count(row) > 0);
        }
        for channel in 0..c {
            let used = mask.iter().skip(channel).step_by(c).any(|value| *value != 0.0);
            prop_assert_eq!(pattern.inputs().contains(&(channel as u32)), used);
        }
        let some: Vec<u32> = (0..o as u32).filter(|i| seed >> i & 1 == 1).collect();
        let read = |channel: &u32| {
            let weights = |i: &u32| mask[*i as usize * taps * c..][..taps * c].iter().skip(*channel as usize);
            some.iter().any(|i| weights(i).step_by(c).any(|value| *value != 0.0))
        };
        prop_assert_eq!(pattern.channels_of(&some), (0..c as u32).filter(read).collect::<Vec<u32>>());
        prop_assert_eq!(pattern.nonzeros(), count(&mask));
        prop_assert_eq!(pattern.density(), count(&mask) as f64 / mask.len() as f64);
        check_structure(granularity, &pattern)?;

        // Weights have the pattern of their mask; their values do not matter.
        let negative = random.flags(mask.len());
        let weights: Vec<f32> =
            mask.iter().zip(negative).map(|(m, negative)| if negative { -3.5 * m } else { 0.25 * m }).collect();
        prop_assert_eq!(&Pattern::of(&weights, shape), &pattern);
    }

    #[test]
    fn dead_filters_are_counted_by_group(groups in 1usize..4, filters in 1usize..5, seed: u64) {
        let shape = [groups * filters, 3, 2];
        let live = Random(seed).flags(shape[0]);
        let pattern = Pattern::of_filters(&live, shape);
        let mask: Vec<f32> = live.iter().flat_map(|&live| [f32::from(live); 6]).collect();
        prop_assert_eq!(&pattern, &Pattern::of(&mask, shape));
        prop_assert_eq!(pattern.has_dead_filters(), live.contains(&false));
        prop_assert_eq!(pattern.zeros_of_live_filters(), 0.0);
        let want: Vec<usize> =
            live.chunks_exact(filters).map(|group| group.iter().filter(|live| **live).count()).collect();
        prop_assert_eq!(pattern.filters_by_group(groups), want);
    }
}

/// Checks that the structure of a mask is at least as regular as its granularity: chance may add regularity.
fn check_structure(granularity: Granularity, pattern: &Pattern) -> Result<(), TestCaseError> {
    let found = pattern.structure();
    let fits = match granularity {
        Granularity::Dense | Granularity::Filters | Granularity::InputChannels | Granularity::Both => {
            found == Structure::Dense
        }
        Granularity::Blocks(b) => match found {
            Structure::Blocks { filters } => filters % b == 0 || filters == pattern.shape()[0],
            // Rows that are equal or dead by chance, or a last block that is the only one.
            Structure::Dense => true,
            Structure::NofM { .. } | Structure::Weights => b >= pattern.shape()[0] && pattern.shape()[0] == 1,
        },
        Granularity::NofM(n, m) => match found {
            Structure::NofM { n: found_n, m: found_m } => n * found_m == found_n * m,
            Structure::Dense | Structure::Blocks { .. } => true,
            Structure::Weights => false,
        },
        Granularity::Weights => true,
    };
    prop_assert!(fits, "{:?} is seen as {:?}", granularity, found);
    Ok(())
}

/// Rows of `█` and `·`, one tap each.
fn of_picture(rows: &[&str]) -> Pattern {
    let values: Vec<f32> = rows.iter().flat_map(|row| row.chars().map(|c| f32::from(c == '█'))).collect();
    Pattern::of(&values, [rows.len(), 1, rows[0].chars().count()])
}

#[test]
fn the_pictures_have_their_names() {
    let pictures: [(&[&str], &str); 9] = [
        (&["████████", "████████", "████████", "████████"], "dense"),
        (&["████████", "········", "████████", "········"], "filters"),
        (&["██·█·███", "██·█·███", "██·█·███", "██·█·███"], "input channels"),
        (&["██·█·███", "········", "██·█·███", "········"], "filters and input channels"),
        (&["█·██··█·", "█·██··█·", "·█··██·█", "·█··██·█"], "blocks of 2"),
        (&["█·█··██·", "·██·█··█", "██····██", "·█·█·█·█"], "2:4"),
        (&["█··█·██·", "·██·····", "██·····█", "····██··"], "weights"),
        (&["█·█··██·", "········", "██··█··█", "·█·█·█·█"], "filters, 2:4"),
        (&["········", "········", "········", "········"], "filters and input channels"),
    ];
    for (rows, name) in pictures {
        assert_eq!(of_picture(rows).to_string(), name);
    }
    let weights = of_picture(&["█··█·██·", "········"]);
    assert_eq!((weights.density(), weights.zeros_of_live_filters()), (0.25, 0.5));
}
