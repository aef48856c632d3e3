//! Latencies of several networks, measured in turn.
//!
//! ```text
//!   round 1   A A A   B B B   C C C
//!   round 2   C C C   B B B   A A A         each letter is a run; a turn ends after some milliseconds
//!   round 3   A A A   …
//! ```
//!
//! A machine that is busy or hot for a while slows the networks of that while alike, so their ratios hold: measured one
//! after another, minutes apart, equal networks differ by up to two times. The rounds go back and forth, so that no
//! network always follows the same one. A turn counts once, by its median, and the spread is that of the turns.

use super::test_images;
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Result, memory};
use std::time::{Duration, Instant};

/// Rounds of a final table.
pub const ROUNDS: usize = 15;
/// Rounds of a table that more rows will follow.
pub const FEW_ROUNDS: usize = 5;

/// Time of a turn in a table: short, so that the machine does not change in a round.
pub const TURN: Duration = Duration::from_millis(4);
/// A run that takes longer than this hardly notices that the weights are no longer in the cache.
const LONG: Duration = Duration::from_millis(2);
/// If the rounds of a final table differ by more than this share, up to [`MORE`] times as many follow.
const STEADY: f64 = 0.1;
/// See [`STEADY`].
const MORE: usize = 4;
/// Time after which no further round begins, if there were at least [`FEWEST`].
const LONGEST: Duration = Duration::from_secs(20);
/// Fewest rounds.
const FEWEST: usize = 3;
/// One part in this many of the available memory may hold plans between the rounds. Other plans are made anew.
const SHARE: u64 = 4;

/// Latency over the rounds, in milliseconds: of the first network as measured, of the others by the ratios of their times to the
/// first one's in the same rounds, at its median. A machine that changes its speed from round to round changes the medians of
/// networks unequally, but not these ratios.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rounds {
    /// Median.
    pub median: f64,
    /// Lower and upper quartile.
    pub quartiles: (f64, f64),
}

/// Measures each network on one image of its shape `[H, W, C]`, in `rounds` rounds: fewer if they take long, and more for a
/// final table if the machine is busy.
///
/// # Errors
/// Those of planning and running.
pub fn in_turn(networks: &[(&Graph, [usize; 3])], rounds: usize, device: &Device) -> Result<Vec<Rounds>> {
    let networks: Vec<_> = networks.iter().map(|&(graph, [h, w, c])| (graph, [1, h, w, c])).collect();
    in_turn_by_batch(&networks, rounds, TURN, device)
}

/// Measures as [`in_turn`] does, on images of shape `[N, H, W, C]`, in turns of at least the time `length`.
///
/// # Errors
/// Those of planning and running.
pub fn in_turn_by_batch(
    networks: &[(&Graph, [usize; 4])],
    rounds: usize,
    length: Duration,
    device: &Device,
) -> Result<Vec<Rounds>> {
    let (begin, mut room) = (Instant::now(), memory::available() / SHARE);
    let mut seats: Vec<(Option<Plan>, Vec<f64>)> = networks.iter().map(|_| (None, Vec::new())).collect();
    let most = if rounds >= ROUNDS { MORE * rounds } else { rounds };
    for round in 0..most {
        let late = round >= FEWEST && begin.elapsed() > LONGEST;
        if late || round >= rounds && seats.iter().all(|(_, times)| Rounds::of(times.clone()).is_steady()) {
            break;
        }
        for place in 0..networks.len() {
            let at = if round % 2 == 0 { place } else { networks.len() - 1 - place };
            let (graph, shape) = networks[at];
            let images = test_images(shape.iter().product());
            let (kept, times) = &mut seats[at];
            let known = kept.is_some();
            let mut plan = match kept.take() {
                Some(plan) => plan,
                None => {
                    let mut plan = Plan::new(graph, shape, device)?;
                    plan.run(&images)?; // its pages are fresh
                    plan
                }
            };
            times.push(turn(&mut plan, &images, length)?);
            let bytes = plan.memory().weights as u64 + plan.memory().arena as u64;
            if known || bytes <= room {
                room = if known { room } else { room - bytes };
                *kept = Some(plan);
            }
        }
    }
    Ok(by_ratio(&seats.into_iter().map(|(_, times)| times).collect::<Vec<_>>()))
}

/// The median time of the runs of a turn. The first does not count, unless it is long: it brings the weights back into
/// the cache.
fn turn(plan: &mut Plan, images: &[f32], length: Duration) -> Result<f64> {
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.len() < 2 || begin.elapsed() < length {
        let start = Instant::now();
        plan.run(images)?;
        let time = start.elapsed();
        times.push(1e3 * time.as_secs_f64());
        if time > LONG && begin.elapsed() >= length {
            break;
        }
    }
    if times.len() > 1 {
        times.remove(0);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

impl Rounds {
    /// Whether the quartiles are near one another.
    fn is_steady(&self) -> bool {
        self.quartiles.1 - self.quartiles.0 <= STEADY * self.median
    }

    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| match times.len() {
            0 => 0.0,
            len => times[(share * (len - 1) as f64).round() as usize],
        };
        Self { median: at(0.5), quartiles: (at(0.25), at(0.75)) }
    }
}

/// The rounds of each network, from its times in each.
fn by_ratio(networks: &[Vec<f64>]) -> Vec<Rounds> {
    let Some((first, others)) = networks.split_first() else { return Vec::new() };
    let whole = Rounds::of(first.clone());
    let at_median = |times: &Vec<f64>| {
        Rounds::of(times.iter().zip(first).map(|(time, first)| time / first * whole.median).collect())
    };
    std::iter::once(whole).chain(others.iter().map(at_median)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_models::Options;

    #[test]
    fn quartiles_enclose_the_median() {
        let rounds = Rounds::of(vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(rounds, Rounds { median: 3.0, quartiles: (2.0, 4.0) });
        assert_eq!(Rounds::of(vec![7.0]).quartiles, (7.0, 7.0));
        assert_eq!(Rounds::of(Vec::new()), Rounds::default());
    }

    /// On a machine that becomes slower by half in the midst, the medians of a network and of one that takes half of its time
    /// fall in different states: 4 and 3.
    #[test]
    fn ratios_are_formed_within_a_round() {
        let found = by_ratio(&[vec![4.0, 4.0, 4.0, 6.0, 6.0], vec![2.0, 2.0, 3.0, 3.0, 3.0]]);
        assert_eq!((found[0].median, found[1].median), (4.0, 2.0));
        assert_eq!(by_ratio(&[]), []);
    }

    #[test]
    fn every_network_is_measured() {
        let options = Options::new(vec!["a".into(), "b".into()], [32, 32, 3]);
        let graph = lopper_models::build("resnet8", &options).unwrap();
        let networks = [(&graph, [32, 32, 3]), (&graph, [48, 32, 3])];
        let found = in_turn(&networks, 4, &Device::cpu()).unwrap();
        assert_eq!(found.len(), 2);
        for Rounds { median, quartiles: (low, high) } in found {
            assert!(0.0 < low && low <= median && median <= high);
        }
        assert_eq!(in_turn(&[], 4, &Device::cpu()).unwrap(), []);
    }
}
