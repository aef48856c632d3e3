//! Filters of each layer, before and after a stage.

use crate::page::figures::{change, count};
use crate::page::html::{Text, bar, section, table};
use crate::report::{Report, Row};

/// The filters of each layer whose number or weights changed.
pub fn filters(_: &Report, row: &Row) -> String {
    let Some(details) = &row.details else { return String::new() };
    let changed = |line: &&crate::details::LayerSizes| line.before != line.after;
    let lines: Vec<_> = details.layers.iter().filter(changed).collect();
    if lines.is_empty() {
        return String::new();
    }
    let fresh = lines.iter().all(|line| line.before.is_none());
    let largest = lines
        .iter()
        .flat_map(|line| [&line.before, &line.after])
        .filter_map(|size| size.as_ref().map(|size| size.filters))
        .max()
        .unwrap_or(1)
        .max(1) as f64;
    let rows = lines.iter().map(|line| {
        let number = |size: &Option<crate::details::LayerSize>| {
            size.map_or("–".to_string(), |size| match size.live < size.filters {
                true => format!("{} <small>of {} live</small>", size.live, size.filters),
                false => size.filters.to_string(),
            })
        };
        let share = |live: usize| live as f64 / largest;
        let mut bars = String::new();
        if let (Some(before), false) = (&line.before, fresh) {
            bars += &bar("before", share(before.filters));
        }
        if let Some(after) = &line.after {
            bars += &bar("after", share(after.live));
        }
        let params = |size: &Option<crate::details::LayerSize>| size.map_or(0, |size| size.params);
        let mut cells = vec![Text(&line.layer).to_string()];
        if !fresh {
            cells.push(number(&line.before));
        }
        cells.extend([number(&line.after), count(params(&line.after))]);
        if !fresh {
            cells.push(change(params(&line.before) as f64, params(&line.after) as f64));
        }
        cells.push(bars);
        cells
    });
    let (heading, headings, note) = match fresh {
        true => ("Filters by layer", &["layer", "filters", "weights", ""][..], ""),
        false => (
            "Filters by layer, before and after",
            &["layer", "before", "after", "weights", "change", ""][..],
            "<p class=\"note\">Gray is before, blue after; only layers that changed are listed. A live filter has a weight \
             that is not zero.</p>\n",
        ),
    };
    section("bars", heading, &format!("{note}{}", table(headings, &[], rows)))
}
