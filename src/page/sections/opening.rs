//! The opening of a stage: why its techniques work, what came out, and what that shows.

use crate::details::Paired;
use crate::page::figures::{bytes, change, count, duration, ms, percent};
use crate::page::html::Text;
use crate::page::why::why;
use crate::report::{Report, Row};

/// The opening.
pub fn opening(report: &Report, row: &Row) -> String {
    let mut text = String::new();
    let techniques = row.details.as_ref().map_or(&[][..], |details| &details.techniques);
    // The reason to train is told only where nothing else happens.
    let others = techniques.iter().any(|name| name != "train");
    for why in techniques.iter().filter(|name| !others || *name != "train").filter_map(|name| why(name)) {
        text += &format!(
            "<p><strong>Why {}?</strong> {}</p>\n<p class=\"formula\">{}</p>\n",
            why.technique, why.text, why.formula
        );
    }
    let from = row.from.as_ref().and_then(|name| report.stage(name));
    text += &facts(row, from);
    if let (Some(from), Some(shown)) = (from, from.and_then(|from| shown(row, from))) {
        text += &format!("<p class=\"note\">Against <em>{}</em>: {shown}</p>\n", Text(&from.stage));
    }
    text
}

/// The figures of the stage, with their change from the stage that it starts from.
fn facts(row: &Row, from: Option<&Row>) -> String {
    let mut items = vec![("what it did", Text(&row.what).to_string())];
    if let (Some(top1), Some((low, high))) = (row.top1, row.interval) {
        items.push(("top-1, 95 % interval", format!("{} ({}–{})", percent(top1), bare(low), bare(high))));
    }
    let against = |text: String, of: fn(&Row) -> f64| match from {
        Some(from) => format!("{text} <small>{}</small>", change(of(from), of(row))),
        None => text,
    };
    items.push(("parameters", against(count(row.params), |row| row.params as f64)));
    items.push((
        "multiply-accumulates",
        against(format!("{:.1} M", row.macs as f64 / 1e6), |row| row.macs as f64),
    ));
    items.push(("model file", against(bytes(row.bytes), |row| row.bytes as f64)));
    items.push(("latency", against(format!("{} ms", ms(row.latency_ms)), |row| row.latency_ms)));
    if let Some(difference) = row.logit_difference {
        items.push(("largest change of a logit", format!("{difference:.1e}")));
    }
    items.push(("time", duration(row.seconds)));
    let items: String =
        items.iter().map(|(name, value)| format!("<li><small>{name}</small><b>{value}</b></li>")).collect();
    format!("<ul class=\"facts\">{items}</ul>\n")
}

fn bare(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}

/// What the accuracies of `row` and of the stage `from` which it starts show, and what they do not.
fn shown(row: &Row, from: &Row) -> Option<String> {
    let ((top1, (low, high)), (before, (low_before, high_before))) =
        ((row.top1?, row.interval?), (from.top1?, from.interval?));
    let points = format!("{:+.2}", 100.0 * (top1 - before)).replace('-', "−");
    let trained = row.details.as_ref().is_some_and(|details| !details.epochs.is_empty());
    if row.logit_difference.is_some() && !trained {
        return Some(format!(
            "the stage claims to keep the function, and the largest change of a logit confirms it up to rounding; the \
             accuracy changed by {points} points."
        ));
    }
    let seen = match row.paired(from) {
        Some((paired, _)) => on_the_same(&paired, &points),
        None => apart(low <= high_before && low_before <= high, &points),
    };
    let trained = match trained {
        true => {
            " The stage also trained, and training alone can move the accuracy: a control that trains as long would tell."
        }
        false => "",
    };
    Some(format!("{seen}{trained}"))
}

/// What a comparison on the same images shows.
fn on_the_same(paired: &Paired, points: &str) -> String {
    let &Paired { gained, lost, interval: (low, high), .. } = paired;
    let verdict = match low <= 0.0 && 0.0 <= high {
        true => "which includes zero: these images do not show that the accuracy changed.",
        false => "which excludes zero: on such images, the accuracy changed.",
    };
    let [low, high] = [low, high].map(|end| format!("{:+.2}", 100.0 * end).replace('-', "−"));
    format!(
        "{points} points, {gained} images gained and {lost} lost. On the same images, the 95 % interval of the difference \
         is {low} to {high} points, {verdict}"
    )
}

/// What two intervals show that overlap or do not.
fn apart(overlap: bool, points: &str) -> String {
    match overlap {
        true => format!(
            "{points} points, but the intervals overlap: these images do not show that the accuracy changed."
        ),
        false => {
            format!("{points} points, and the intervals are apart: on such images, the accuracy changed.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::details::{ClassLine, Details, Metrics};
    use lopper_engine::train::Accuracy;

    fn row(correct: usize) -> Row {
        let mut row = Row::default();
        row.set_accuracy(&Accuracy { correct, total: 1000 });
        row
    }

    #[test]
    fn intervals_decide_what_is_shown() {
        assert!(shown(&row(810), &row(800)).unwrap().contains("+1.00 points, but the intervals overlap"));
        assert!(shown(&row(500), &row(800)).unwrap().contains("−30.00 points, and the intervals are apart"));
        let exact = Row { logit_difference: Some(1e-6), ..row(800) };
        assert!(shown(&exact, &row(800)).unwrap().contains("confirms it"));
        assert_eq!(shown(&Row::default(), &row(800)), None);
    }

    #[test]
    fn the_same_images_decide_if_they_are_known() {
        let known = |correct, right: &str| {
            let class = ClassLine { images: 1000, ..ClassLine::default() };
            let metrics = Some(Metrics { classes: vec![class], ..Metrics::default() });
            let right = Some(right.repeat(50));
            Row { details: Some(Details { metrics, right, ..Details::default() }), ..row(correct) }
        };
        let (before, better) = (known(600, "fff00"), known(750, "ff0ff"));
        let text = shown(&better, &before).unwrap();
        assert!(text.contains("400 images gained and 200 lost") && text.contains("excludes zero"), "{text}");
        let text = shown(&before, &before).unwrap();
        assert!(text.contains("0 images gained and 0 lost") && text.contains("includes zero"), "{text}");
    }
}
