//! What the recipe asks a stage to report besides: the stage that it controls, a range test, scores on other images.

use crate::details::Valued;
use crate::findings::{Evaluation, Found, View};
use crate::page::figures::{count, duration};
use crate::page::html::{Text, section, table};
use crate::page::svg::{Axis, Curve, curves};
use crate::report::{Report, Row};

/// Steps at the end of a range test that do not decide the range of its picture: their losses may be many times as large.
const LAST_STEPS: usize = 5;

/// The findings of a stage.
pub fn findings(report: &Report, row: &Row) -> String {
    let found = &row.findings;
    let control = found.control.as_ref().map_or(String::new(), |control| {
        format!(
            "<p>This stage is a control: {}. What the stage that it belongs to does not gain over it, its technique has \
             not gained.</p>\n",
            Text(control)
        )
    });
    let range = found.lr_find.as_ref().map_or(String::new(), range);
    let evaluation = found.evaluation.as_ref().map_or(String::new(), evaluation);
    let lines: String =
        found.against.iter().map(|other| format!("<li>{}</li>\n", Text(other.text()))).collect();
    let against =
        if lines.is_empty() { String::new() } else { format!("<ul class=\"note\">\n{lines}</ul>\n") };
    let against = section("against", "On the same images", &against);
    let certificates = certificates(report, row);
    format!("{control}{certificates}{against}{range}{evaluation}")
}

/// What the stage claims about the function of its network; what earlier stages claim is shown there.
fn certificates(report: &Report, row: &Row) -> String {
    let of = |row: &Row| row.details.as_ref().map_or(Vec::new(), |details| details.certificates.clone());
    let inherited = row.from.as_ref().and_then(|name| report.stage(name)).map_or(0, |from| of(from).len());
    let own = of(row).into_iter().skip(inherited);
    let lines: String = own.map(|certificate| format!("<li>{}</li>\n", Text(certificate))).collect();
    let lines = if lines.is_empty() { lines } else { format!("<ul class=\"note\">\n{lines}</ul>\n") };
    section("certificates", "Certificate", &lines)
}

/// The losses of a range test by rate, and its suggestions.
fn range(found: &Found) -> String {
    let curve = |name: &str, of: fn(&crate::findings::TestedRate) -> f64| Curve {
        name: name.into(),
        points: found.steps.iter().map(|step| (step.rate, of(step))).collect(),
        intervals: Vec::new(),
    };
    let shown = found.steps.len().saturating_sub(LAST_STEPS).max(1);
    let y = Axis::over(found.steps.iter().take(shown).map(|step| step.smoothed));
    let x = Axis::logarithmic(found.steps.iter().map(|step| step.rate));
    // Losses beyond the range would be drawn over the rest of the page.
    let inside = |curve: Curve| Curve {
        points: curve.points.into_iter().filter(|(_, loss)| (y.low..=y.high).contains(loss)).collect(),
        ..curve
    };
    let chart = curves(
        "Learning rate range test",
        [(x, "learning rate (logarithmic)"), (y, "loss")],
        &[inside(curve("loss", |step| step.loss)), inside(curve("smoothed", |step| step.smoothed))],
    );
    let text = format!(
        "<p class=\"note\">Each step trains with a larger rate. Suggestions: {:.1e} in the middle of the longest valley of \
         the smoothed loss, {:.1e} where it falls fastest, {:.1e} as a tenth of the rate with the lowest loss.</p>\n",
        found.valley, found.steepest, found.minimum_tenth
    );
    section("range", "Range test", &format!("<div class=\"charts\">{chart}</div>\n{text}"))
}

/// Scores on the images that the recipe names, and their curve over augmented views.
fn evaluation(found: &Evaluation) -> String {
    let percent = |Valued { value, interval: (low, high) }: &Valued| {
        format!("{:.2} % ({:.2}–{:.2})", 100.0 * value, 100.0 * low, 100.0 * high)
    };
    let top1 = percent(&Valued { value: found.top1, interval: found.interval });
    let mut text =
        format!("<p>{} {} images: top-1 {top1}", count(found.images as u64), Text(&found.images_of));
    if let Some(f1) = &found.weighted_f1 {
        text += &format!(", weighted F1 {}", percent(f1));
    }
    if let Some(f1) = &found.chosen_f1 {
        text += &format!(", of the chosen classes {}", percent(f1));
    }
    text += ". Intervals are 95 %.</p>\n";
    if found.tta.len() > 1 {
        text += &views(&found.tta);
    }
    section("evaluation", "Evaluation", &text)
}

/// The scores by the number of augmented views.
fn views(views: &[View]) -> String {
    let x = Axis::over(views.iter().map(|view| view.views as f64));
    let f1 = Curve {
        name: "weighted F1".into(),
        points: views.iter().map(|v| (v.views as f64, 100.0 * v.weighted_f1.unwrap_or(f64::NAN))).collect(),
        intervals: views
            .iter()
            .map(|view| {
                view.weighted_f1_interval.map_or((f64::NAN, f64::NAN), |(l, h)| (100.0 * l, 100.0 * h))
            })
            .collect(),
    };
    let ends = f1.intervals.iter().flat_map(|&(low, high)| [low, high]);
    let y = Axis::over(f1.points.iter().map(|point| point.1).chain(ends));
    let chart = curves(
        "Test-time augmentation, 95 % interval",
        [(x, "augmented views of each image"), (y, "weighted F1, %")],
        &[f1],
    );
    let lines = views.iter().map(|view| {
        vec![
            view.views.to_string(),
            format!("{:.2}", 100.0 * view.top1),
            view.weighted_f1.map_or("–".into(), |f1| format!("{:.2}", 100.0 * f1)),
            duration(view.seconds),
        ]
    });
    let table = table(&["views", "top-1 %", "weighted F1 %", "time so far"], &[], lines);
    format!("<div class=\"charts\">{chart}</div>\n{table}")
}
