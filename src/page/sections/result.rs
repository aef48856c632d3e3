//! The table of the stages and its picture.

use crate::page::figures::{bytes, count, duration, ms};
use crate::page::html::{Text, table};
use crate::page::svg::pareto;
use crate::report::{Report, Row};

const HEADINGS: [&str; 9] = [
    "stage",
    "what",
    "top-1 %<br><small>95 % interval</small>",
    "parameters",
    "MMACs",
    "file",
    "latency, ms<br><small>quartiles</small>",
    "largest change<br>of a logit",
    "time",
];

/// The result.
pub fn result(report: &Report) -> String {
    let rows = report.stages.iter().enumerate().map(|(i, row)| line(i, row));
    let mut text = String::from("<section class=\"part\" id=\"result\">\n<h2>Result</h2>\n");
    if let Some(run) = &report.run {
        let missing = run.planned.len().saturating_sub(report.stages.len());
        if missing > 0 {
            text += &format!(
                "<p><strong>{missing} of {} stages are not finished.</strong></p>\n",
                run.planned.len()
            );
        }
    }
    text += &table(&HEADINGS, &[1], rows);
    if let Some(picture) = pareto(&report.stages) {
        text += &format!(
            "<div class=\"wide\"><figure><figcaption>Accuracy against latency</figcaption>{picture}</figure></div>\n\
             <p class=\"note\">A point is a stage; its area grows with the model file. Bars are the 95 % interval of the \
             accuracy and the quartiles of the latency. A dashed line leads from a stage to those that start from its \
             network.</p>\n"
        );
    }
    text += NOTES;
    text + "</section>\n"
}

const NOTES: &str = "<p class=\"note\"><strong>What the intervals show.</strong> The 95 % interval of an accuracy covers the chance \
    in which images were drawn for validation: with others, the same network would score elsewhere in it. It does not \
    cover the chance of training: another seed moves an accuracy, too, often by about as much. So two overlapping \
    intervals do not show a difference, and a stage that trains after a cut can gain from the training alone; only a \
    control, trained as long without the technique, can tell them apart. All stages are scored on the same images, so \
    the difference of two stages varies less than either accuracy: only the images that one of them finds tell them \
    apart, and each stage below has the interval of its difference.</p>\n\
    <p class=\"note\"><strong>Latencies</strong> are medians over rounds in which all networks take turns on one image, with the \
    quartiles of the rounds: equal networks have equal latencies within these.</p>\n";

fn line(index: usize, row: &Row) -> Vec<String> {
    let percent = |v: f64| format!("{:.2}", 100.0 * v);
    let accuracy = match (row.top1, row.interval) {
        (Some(top1), Some((low, high))) => {
            format!("{}<br><small>{}–{}</small>", percent(top1), percent(low), percent(high))
        }
        _ => "–".into(),
    };
    let (fast, slow) = row.latency_quartiles_ms;
    vec![
        format!("<a href=\"#stage-{}\">{}</a>", index + 1, Text(&row.stage)),
        Text(&row.what).to_string(),
        accuracy,
        count(row.params),
        format!("{:.1}", row.macs as f64 / 1e6),
        bytes(row.bytes),
        format!("{}<br><small>{}–{}</small>", ms(row.latency_ms), ms(fast), ms(slow)),
        row.logit_difference.map_or("–".into(), |d| format!("{d:.1e}")),
        duration(row.seconds),
    ]
}
