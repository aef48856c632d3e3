//! Scoring the plain and the augmented views of images.

use crate::findings::View;
use crate::progress::note;
use crate::training::Stoppable;
use lopper_engine::train::Logits;
use lopper_engine::train::metrics::{Scores, Views, score};
use lopper_engine::{Device, Result};
use lopper_models::data::Loader;
use std::time::Instant;

/// The scores of a network on the images of a loader.
pub struct Scored {
    /// Those of the plain view of each image.
    pub plain: Scores,
    /// Those of the average over all views, if there are augmented ones.
    pub averaged: Option<Scores>,
    /// The scores by the number of views, in increasing order, from the plain view alone.
    pub curve: Vec<View>,
}

/// Scores `network` on the images of `plain` and, for each of the `counts`, on the average of the plain view with weight
/// `beta` and of that many augmented views, which `augmented` makes. `counts` rise.
pub fn score_views(
    network: &mut dyn Logits,
    plain: &mut Loader,
    augmented: &Loader,
    (counts, beta): (&[usize], f64),
    device: &Device,
) -> Result<Scored> {
    let Some(&last) = counts.last() else {
        let plain = score(network, &mut Stoppable(plain), device)?;
        return Ok(Scored { plain, averaged: None, curve: Vec::new() });
    };
    let begin = Instant::now();
    let mut views = Views::plain(network, &mut Stoppable(plain), device)?;
    let first = views.scores(beta);
    let mut curve = vec![View::new(0, &first, begin.elapsed().as_secs_f64())];
    let mut augmented = plain.transformed_like(augmented);
    let mut averaged = None;
    for count in 1..=last {
        views.add(network, &mut Stoppable(&mut augmented), device)?;
        if counts.contains(&count) {
            let scores = views.scores(beta);
            let view = View::new(count, &scores, begin.elapsed().as_secs_f64());
            note(view.text());
            curve.push(view);
            averaged = Some(scores);
        }
    }
    Ok(Scored { plain: first, averaged, curve })
}
