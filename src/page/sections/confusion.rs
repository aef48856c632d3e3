//! Scores of each class and the confusion matrix.

use crate::details::{Metrics, Valued};
use crate::page::html::{Text, folded, table};
use crate::report::{Report, Row};

/// Most classes whose matrix shows counts.
const COUNTED: usize = 50;

/// The classes of a stage, folded away.
pub fn confusion(_: &Report, row: &Row) -> String {
    let Some(metrics) = row.details.as_ref().and_then(|details| details.metrics.as_ref()) else {
        return String::new();
    };
    let score = |valued: &Option<Valued>| match valued {
        Some(Valued { value, interval: (low, high) }) => {
            let [value, low, high] = [value, low, high].map(|v| 100.0 * v);
            format!("{value:.1} <small>{low:.1}–{high:.1}</small>")
        }
        None => "–".into(),
    };
    let lines = metrics.classes.iter().map(|line| {
        let class = Text(&line.class).to_string();
        vec![class, line.images.to_string(), score(&line.precision), score(&line.recall), score(&line.f1)]
    });
    let headings = ["class", "images", "precision %", "recall %", "F1 %"];
    let overall: Vec<String> =
        [("top-5", &metrics.top5), ("macro F1", &metrics.macro_f1), ("weighted F1", &metrics.weighted_f1)]
            .into_iter()
            .filter(|(_, valued)| valued.is_some())
            .map(|(name, valued)| format!("{name} {} %", score(valued)))
            .collect();
    let overall = format!(
        "<p class=\"note\">{}, calibration error {:.2} %. Intervals are 95 %.</p>\n",
        overall.join(", "),
        100.0 * metrics.calibration_error
    );
    folded(
        "Confusion matrix and scores of each class",
        &format!("{overall}{}{}", matrix(metrics), table(&headings, &[], lines)),
    )
}

/// The matrix: a row for each class, a column for each prediction.
fn matrix(metrics: &Metrics) -> String {
    let size = metrics.confusion.len();
    if size == 0 || size > COUNTED {
        return pairs(metrics);
    }
    let names: Vec<String> = metrics.classes.iter().map(|line| Text(&line.class).to_string()).collect();
    let mut headings = vec!["class ↓ &nbsp; prediction →"];
    headings.extend(names.iter().map(String::as_str));
    let mut text = String::from("<div class=\"matrix scroll\"><table><thead><tr>");
    headings.iter().for_each(|heading| text += &format!("<th scope=\"col\">{heading}</th>"));
    text += "</tr></thead><tbody>\n";
    for (label, counts) in metrics.confusion.iter().enumerate() {
        let images = metrics.classes.get(label).map_or(1, |line| line.images).max(1) as f64;
        text += &format!("<tr><th scope=\"row\">{}</th>", names.get(label).map_or("", String::as_str));
        for (predicted, &count) in counts.iter().enumerate() {
            let color = if label == predicted { "hit" } else { "miss" };
            let alpha = if count == 0 { 0.0 } else { 0.08 + 0.72 * count as f64 / images };
            let shown = if count == 0 { "·".to_string() } else { count.to_string() };
            text += &format!("<td style=\"background:rgba(var(--{color}),{alpha:.2})\">{shown}</td>");
        }
        text += "</tr>\n";
    }
    text + "</tbody></table></div>\n"
}

/// The classes that are taken for one another most often, if there are too many for a matrix.
fn pairs(metrics: &Metrics) -> String {
    let mut found: Vec<(u64, usize, usize)> = Vec::new();
    for (label, counts) in metrics.confusion.iter().enumerate() {
        let wrong = counts.iter().enumerate().filter(|&(predicted, &count)| predicted != label && count > 0);
        found.extend(wrong.map(|(predicted, &count)| (count, label, predicted)));
    }
    if found.is_empty() {
        return String::new();
    }
    found.sort_by(|a, b| b.0.cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let name =
        |class: usize| metrics.classes.get(class).map_or(String::new(), |line| Text(&line.class).to_string());
    let lines = found
        .iter()
        .take(20)
        .map(|&(count, label, predicted)| vec![name(label), name(predicted), count.to_string()]);
    table(&["class", "taken for", "images"], &[1], lines)
}
