//! The criteria that compare weights with their values at the beginning (Zhou et al. 2019, "Deconstructing lottery
//! tickets: zeros, signs, and the supermask", table 1 and figure 3).
//!
//! ```text
//!                           keeps the weights …              the mean over the group of
//!   large_init              that began large                 |w₀|
//!   small_init              that began small                 −|w₀|
//!   small_final             that ended small                 −|w|
//!   large_init_large_final  that began and ended large       min(|w₀|, |w|)
//!   small_init_small_final  that began and ended small       −max(|w₀|, |w|)
//!   magnitude_increase      that grew                        |w| − |w₀|
//!   movement                that moved                       |w − w₀|
//!   movmag                  that moved and ended large       |w (w − w₀)|
//! ```
//!
//! `updating_magnitude_increase`, `updating_movement` and `updating_movmag` compare with the weights behind the last removal
//! instead: a group that was spared once has to move again (the criteria of fasterai that need an update).
//!
//! `large_final` is [`LargeFinal`](super::LargeFinal). `small_*` are controls: a criterion that means anything beats them.

use super::{LayerView, Need, Reduction, Score, described};
use lopper_engine::Result;

/// The source of all of them.
const PAPER: &str = "Zhou et al. 2019, Deconstructing lottery tickets: zeros, signs, and the supermask";

/// The mean over each group of `of(w₀, w)`.
fn means(layer: &LayerView, of: impl Fn(f64, f64) -> f64) -> Result<Vec<f32>> {
    let (initial, weight) = (layer.initial_weight()?, layer.weight());
    let means = Reduction::Mean.of(layer.groups(), |i| of(f64::from(initial[i]), f64::from(weight[i])));
    Ok(means.into_iter().map(|mean| mean as f32).collect())
}

macro_rules! criteria {
    ($need:expr; $($(#[$doc:meta])* $name:ident, $text:literal, $formula:literal, $of:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name;

        described!($name, $formula, PAPER);

        impl Score for $name {
            fn name(&self) -> &str {
                $text
            }

            fn needs(&self) -> &[Need] {
                &[$need]
            }

            fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
                means(layer, $of)
            }
        }
    )*};
}

criteria! {
    Need::InitialWeights;
    /// `large_init`: the mean of `|w₀|`.
    LargeInit, "large_init", "mean |w₀| over the group", |initial: f64, _| initial.abs();
    /// `small_init`: the mean of `−|w₀|`.
    SmallInit, "small_init", "mean −|w₀| over the group", |initial: f64, _| -initial.abs();
    /// `large_init_large_final`: the mean of `min(|w₀|, |w|)`.
    LargeInitLargeFinal, "large_init_large_final", "mean min(|w₀|, |w|) over the group", |initial: f64, weight: f64| initial.abs().min(weight.abs());
    /// `small_init_small_final`: the mean of `−max(|w₀|, |w|)`.
    SmallInitSmallFinal, "small_init_small_final", "mean −max(|w₀|, |w|) over the group", |initial: f64, weight: f64| -initial.abs().max(weight.abs());
    /// `magnitude_increase`: the mean of `|w| − |w₀|`.
    MagnitudeIncrease, "magnitude_increase", "mean |w| − |w₀| over the group", |initial: f64, weight: f64| weight.abs() - initial.abs();
    /// `movement`: the mean of `|w − w₀|`.
    Movement, "movement", "mean |w − w₀| over the group", |initial: f64, weight: f64| (weight - initial).abs();
    /// `movmag`: the mean of `|w (w − w₀)|`.
    Movmag, "movmag", "mean |w (w − w₀)| over the group", |initial: f64, weight: f64| (weight * (weight - initial)).abs();
}

criteria! {
    Need::UpdatedWeights;
    /// `updating_magnitude_increase`: the mean of `|w| − |w₀|`, w₀ behind the last removal.
    UpdatingMagnitudeIncrease, "updating_magnitude_increase", "mean |w| − |w₀|, w₀ behind the last removal", |initial: f64, weight: f64| weight.abs() - initial.abs();
    /// `updating_movement`: the mean of `|w − w₀|`, w₀ behind the last removal.
    UpdatingMovement, "updating_movement", "mean |w − w₀|, w₀ behind the last removal", |initial: f64, weight: f64| (weight - initial).abs();
    /// `updating_movmag`: the mean of `|w (w − w₀)|`, w₀ behind the last removal.
    UpdatingMovmag, "updating_movmag", "mean |w (w − w₀)|, w₀ behind the last removal", |initial: f64, weight: f64| (weight * (weight - initial)).abs();
}

/// `small_final`: the mean of `−|w|`, which needs no initial weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct SmallFinal;

described!(SmallFinal, "mean −|w| over the group", PAPER);

impl Score for SmallFinal {
    fn name(&self) -> &str {
        "small_final"
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        let means = Reduction::Mean.of(layer.groups(), |i| -f64::from(layer.weight()[i].abs()));
        Ok(means.into_iter().map(|mean| mean as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criteria::testing::{score_rows, score_since};

    #[test]
    fn each_comparison_agrees_with_a_hand_example() {
        let (initial, weight) = ([1.0, -3.0, 0.5, 0.0], [-2.0, -1.0, 4.0, 0.5]);
        let scores = |criterion: &dyn Score| score_since(criterion, &[2, 2], &initial, &weight);
        assert_eq!(scores(&LargeInit), [2.0, 0.25]);
        assert_eq!(scores(&SmallInit), [-2.0, -0.25]);
        assert_eq!(scores(&LargeInitLargeFinal), [1.0, 0.25]);
        assert_eq!(scores(&SmallInitSmallFinal), [-2.5, -2.25]);
        assert_eq!(scores(&MagnitudeIncrease), [-0.5, 2.0]);
        assert_eq!(scores(&Movement), [2.5, 2.0]);
        assert_eq!(scores(&Movmag), [4.0, 7.125]);
        assert_eq!(scores(&UpdatingMagnitudeIncrease), scores(&MagnitudeIncrease));
        assert_eq!(scores(&UpdatingMovement), scores(&Movement));
        assert_eq!(scores(&UpdatingMovmag), scores(&Movmag));
        assert_eq!(score_rows(&SmallFinal, &[2, 2], &weight), [-1.5, -2.25]);
    }
}
