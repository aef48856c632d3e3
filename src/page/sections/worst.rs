//! The images with the largest losses.

use crate::details::TopLoss;
use crate::page::html::{Text, folded};
use crate::report::{Report, Row};

/// The images that a stage's network gets most wrong.
pub fn worst(report: &Report, row: &Row) -> String {
    let losses = losses(row);
    let items: String = losses.iter().map(|loss| item(report, loss)).collect();
    let list = if items.is_empty() { items } else { format!("<ul class=\"images\">{items}</ul>\n") };
    folded("Images most wrong", &list)
}

fn losses(row: &Row) -> &[TopLoss] {
    let metrics = row.details.as_ref().and_then(|details| details.metrics.as_ref());
    metrics.map_or(&[], |metrics| &metrics.top_losses)
}

fn item(report: &Report, loss: &TopLoss) -> String {
    // A picture is stored with the first stage that shows the image.
    let same = report
        .stages
        .iter()
        .flat_map(losses)
        .find(|other| other.image == loss.image && other.picture.is_some());
    let picture = loss.picture.as_ref().or(same.and_then(|other| other.picture.as_ref()));
    let picture = picture.filter(|uri| uri.starts_with("data:image/jpeg;base64,"));
    let image = picture.map_or(String::new(), |uri| {
        format!("<img src=\"{}\" alt=\"{}\" loading=\"lazy\">", Text(uri), Text(&loss.image))
    });
    let predicted = loss.predicted.as_deref().unwrap_or("nothing");
    let shown = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.2}"));
    let probability = loss.probability.map_or("–".into(), |p| format!("{:.1} %", 100.0 * p));
    format!(
        "<li>{image}<b>{}</b>, taken for <b>{}</b><br><small>loss {}, {probability} for its class<br>{}</small></li>\n",
        Text(&loss.class),
        Text(predicted),
        shown(loss.loss),
        Text(&loss.image)
    )
}
