//! The page of `lopper sensitivity`: a heat map for each technique, the plan that follows, and all points.

use super::figures::{count, ms, percent};
use super::html::{Text, folded, section, table};
use super::page::frame;
use crate::sensitivity::{Point, Sensitivity};

/// Losses of accuracy from which on a cell has the full color.
const FULL: f64 = 0.2;

/// Returns the page of `found`.
pub fn sensitivity_page(title: &str, found: &Sensitivity) -> String {
    let mut ways: Vec<&str> = Vec::new();
    found.points.iter().for_each(|point| {
        if !ways.contains(&point.way.as_str()) {
            ways.push(&point.way);
        }
    });
    let link = |(i, way): (usize, &&str)| format!("<a href=\"#way-{}\">{}</a> ", i + 1, Text(way));
    let links: String = ways.iter().enumerate().map(link).collect();
    let maps: String = ways.iter().enumerate().map(|(i, way)| map(found, i + 1, way)).collect();
    let links = format!(
        "<a href=\"#uncut\">Uncut</a> {links}<a href=\"#plan\">Plan</a> <a href=\"#points\">All points</a>"
    );
    frame(title, &links, &format!("{}{maps}{}{}", opening(found), plan(found), points(found)))
}

/// What was measured.
fn opening(found: &Sensitivity) -> String {
    let uncut = &found.uncut;
    let unfinished = match found.planned.saturating_sub(found.points.len()) {
        0 => String::new(),
        missing => {
            format!("<p><strong>{missing} of {} points are still missing.</strong></p>\n", found.planned)
        }
    };
    let facts = [
        (percent(uncut.top1), "top-1, uncut".to_string()),
        (format!("{}–{}", percent(uncut.interval.0), percent(uncut.interval.1)), "95 % interval".into()),
        (format!("{} ms", ms(uncut.ms)), "one image, the plan's steps as measured".into()),
        (
            count(found.images as u64),
            format!("images, a stratified sample of {}", count(found.of_images as u64)),
        ),
        (Text(&found.criterion).to_string(), "criterion: the lowest scores go first".into()),
    ];
    let facts: String =
        facts.iter().map(|(value, what)| format!("<li><b>{value}</b><small>{what}</small></li>")).collect();
    format!(
        "<article id=\"uncut\">\n<h2>What each cut costs</h2>\n{unfinished}<ul class=\"facts\">{facts}</ul>\n<p>One cut at a time, \
         nothing trained afterwards. A cell shows the accuracy that is lost, in points, with the estimated milliseconds below; \
         the deeper its color, the more is lost. The interval of a loss compares the same images before and after.</p>\n</article>\n"
    )
}

/// The heat map of a technique.
fn map(found: &Sensitivity, number: usize, way: &str) -> String {
    let rows: Vec<_> = found.rows().into_iter().filter(|(of, ..)| *of == way).collect();
    let mut fractions: Vec<f64> =
        rows.iter().flat_map(|(.., points)| points.iter().map(|p| p.fraction)).collect();
    fractions.sort_by(f64::total_cmp);
    fractions.dedup();
    let headings: Vec<String> =
        std::iter::once("layers".to_string()).chain(fractions.iter().map(|f| short_percent(*f))).collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut head = String::from("<div class=\"scroll\"><table class=\"heat\"><thead><tr>");
    headings.iter().for_each(|heading| head += &format!("<th scope=\"col\">{heading}</th>"));
    head += "</tr></thead>\n<tbody>\n";
    for (_, layers, points) in &rows {
        head += &format!(
            "<tr><th scope=\"row\" title=\"{}\">{}</th>",
            Text(layers.join(", ")),
            Text(name(layers))
        );
        for fraction in &fractions {
            head += &points.iter().find(|p| p.fraction == *fraction).map_or("<td></td>".into(), |p| cell(p));
        }
        head += "</tr>\n";
    }
    format!(
        "<article id=\"way-{number}\">\n<h2>{}</h2>\n{head}</tbody></table></div>\n</article>\n",
        Text(way)
    )
}

/// A cell of the heat map, with all of its figures when it is pointed at.
fn cell(point: &Point) -> String {
    let (low, high) = point.loss_interval;
    let depth = (point.loss / FULL).clamp(0.0, 1.0).sqrt();
    let title = format!(
        "{}: {:.2} points lost ({:.2} to {:.2}), top-1 {}, {} ms, {} lost and {} gained images",
        short_percent(point.fraction),
        100.0 * point.loss,
        100.0 * low,
        100.0 * high,
        percent(point.tally.top1),
        ms(point.tally.ms),
        point.lost,
        point.gained
    );
    format!(
        "<td style=\"background:rgba(var(--miss),{depth:.3})\" title=\"{title}\">{:.1}<br><small>{} ms</small></td>",
        100.0 * point.loss,
        ms(point.tally.ms)
    )
}

/// The plan that follows.
fn plan(found: &Sensitivity) -> String {
    let Some(plan) = &found.plan else { return String::new() };
    let together = plan.together.as_ref().map_or(String::new(), |point| {
        let (low, high) = point.loss_interval;
        format!(
            "<p>Together, the cuts leave {} top-1: {:.2} points less ({:.2} to {:.2}), in an estimated {} instead of {} ms.</p>\n",
            percent(point.tally.top1),
            100.0 * point.loss,
            100.0 * low,
            100.0 * high,
            ms(point.tally.ms),
            ms(found.uncut.ms)
        )
    });
    let rows = plan.cuts.iter().map(|cut| {
        vec![
            Text(cut.layers.join(", ")).to_string(),
            short_percent(cut.fraction),
            format!("{:.2}", 100.0 * cut.loss),
        ]
    });
    let cuts = table(&["layers", "cut", "points lost alone"], &[], rows);
    format!(
        "<article id=\"plan\">\n<h2>The plan that follows</h2>\n<p>It cuts, {}.</p>\n{together}{cuts}</article>\n",
        plan.rule()
    )
}

/// Every point.
fn points(found: &Sensitivity) -> String {
    let rows = found.points.iter().map(|point| {
        let (low, high) = point.tally.interval;
        let (less, more) = point.loss_interval;
        vec![
            Text(name(&point.layers)).to_string(),
            Text(&point.way).to_string(),
            short_percent(point.fraction),
            percent(point.tally.top1),
            format!("{:.2}–{:.2}", 100.0 * low, 100.0 * high),
            format!("{:.2}", 100.0 * point.loss),
            format!("{:.2} to {:.2}", 100.0 * less, 100.0 * more),
            ms(point.tally.ms),
            count(point.tally.params),
            count(point.tally.macs),
        ]
    });
    let headings =
        ["layers", "way", "cut", "top-1", "95 %", "points lost", "95 %", "est. ms", "parameters", "MACs"];
    let all = table(&headings, &[1], rows);
    format!("<article id=\"points\">\n{}</article>\n", section("", "All points", &folded("The table", &all)))
}

/// The first layer, and the number of those that are cut with it.
fn name(layers: &[String]) -> String {
    match layers {
        [] => String::new(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} +{}", rest.len()),
    }
}

fn short_percent(share: f64) -> String {
    let text = format!("{:.1}", 100.0 * share);
    format!("{} %", text.trim_end_matches(".0"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::NetworkClock;
    use crate::sensitivity::Tally;

    fn found(layer: &str) -> Sensitivity {
        let tally = |correct| Tally::new(correct, 200, [10, 20], 0.5);
        let point = Point::new("prune".into(), vec![layer.into(), "b".into()], 0.25, tally(80), [12, 2]);
        Sensitivity {
            model: "m".into(),
            criterion: "random".into(),
            images: 200,
            of_images: 900,
            binding: std::collections::BTreeMap::new(),
            clock: NetworkClock::default(),
            planned: 2,
            uncut: tally(90),
            points: vec![point],
            plan: None,
        }
    }

    #[test]
    fn a_page_shows_losses_and_what_is_missing() {
        let page = sensitivity_page("prices", &found("conv1"));
        assert!(page.contains("1 of 2 points are still missing"));
        assert!(page.contains("conv1 +1") && page.contains("25 %: 5.00 points lost"), "{page}");
        assert!(page.contains("40.00 %") && !page.contains("{{"));
    }

    #[test]
    fn names_are_never_markup() {
        let page = sensitivity_page("<script>", &found("<b>\"x\""));
        assert!(!page.contains("<b>\"x\"") && !page.contains("<title><script>"));
    }
}
