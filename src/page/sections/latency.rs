//! Latency of each layer, before and after a stage.

use crate::details::StepTime;
use crate::page::figures::{change, ms};
use crate::page::html::{Text, bar, folded, table};
use crate::report::{Report, Row};

/// The steps of the plan with their times.
pub fn latency(_: &Report, row: &Row) -> String {
    let steps = row.details.as_ref().map_or(&[][..], |details| &details.steps);
    if steps.is_empty() {
        return String::new();
    }
    let fresh = steps.iter().all(|step| step.before.is_none());
    let time = |step: &Option<StepTime>| step.as_ref().map_or(0.0, |step| step.ms);
    let longest = steps.iter().flat_map(|step| [time(&step.before), time(&step.after)]).fold(1e-9, f64::max);
    let sum = |of: fn(&crate::details::StepTimes) -> &Option<StepTime>| -> f64 {
        steps.iter().map(|step| time(of(step))).sum()
    };
    let (before, after) = (sum(|step| &step.before), sum(|step| &step.after));
    let shown = |step: &Option<StepTime>| step.as_ref().map_or("–".to_string(), |step| ms(step.ms));
    let rows = steps.iter().map(|step| {
        let mut cells = vec![Text(&step.layer).to_string()];
        if !fresh {
            cells.push(shown(&step.before));
        }
        cells.push(shown(&step.after));
        if !fresh {
            let known = step.before.is_some() && step.after.is_some();
            cells.push(if known { change(time(&step.before), time(&step.after)) } else { "–".into() });
        }
        let kernel = step.after.as_ref().or(step.before.as_ref()).map_or("", |step| &step.kernel);
        cells.push(Text(kernel).to_string());
        let old = if fresh { String::new() } else { bar("before", time(&step.before) / longest) };
        cells.push(format!("{old}{}", bar("after", time(&step.after) / longest)));
        cells
    });
    let (heading, headings) = match fresh {
        true => (format!("Latency by layer: {} ms", ms(after)), &["layer", "ms", "kernel", ""][..]),
        false => (
            format!("Latency by layer: {} → {} ms", ms(before), ms(after)),
            &["layer", "before, ms", "after, ms", "change", "kernel", ""][..],
        ),
    };
    let note = "<p class=\"note\">Medians of each step of the inference plan on one image; runs of both plans alternate. \
        Timing every step adds to each, so the sums exceed the latencies of the table.</p>\n";
    folded(
        &heading,
        &format!("<div class=\"bars\">{note}{}</div>\n", table(headings, &[headings.len() - 2], rows)),
    )
}
