//! Dead channels and the constants that they hold.

use crate::details::DeadChannels;
use crate::page::html::{Text, section, table};
use crate::page::svg::{Axis, Chart, Scale};
use crate::report::{Report, Row};

/// Most groups whose constants are drawn.
const DRAWN: usize = 24;

/// Height of a line of the picture.
const LINE: f64 = 28.0;

/// The dead channels of a stage.
pub fn constants(_: &Report, row: &Row) -> String {
    let channels = row.details.as_ref().map_or(&[][..], |details| &details.channels);
    if channels.is_empty() {
        return String::new();
    }
    let headings = ["layers", "channels", "dead", "zero", "constant", "not read", "largest constant"];
    let lines = channels.iter().map(|group| {
        let dead = group.zero + group.constant + group.uneven + group.unread;
        let largest = group.constants.iter().fold(0.0f32, |max, c| max.max(c.abs()));
        vec![
            Text(group.layers.join(", ")).to_string(),
            group.channels.to_string(),
            dead.to_string(),
            group.zero.to_string(),
            group.constant.to_string(),
            group.unread.to_string(),
            if group.constants.is_empty() { "–".into() } else { format!("{largest:.4}") },
        ]
    });
    let drawn: Vec<&DeadChannels> =
        channels.iter().filter(|group| !group.constants.is_empty()).take(DRAWN).collect();
    section(
        "constants",
        "Dead channels and their constants",
        &format!(
            "<p class=\"note\">A channel is dead if every filter behind it is zero. Behind a batch norm it is rarely zero \
             itself: it holds the constant β − γμ/√(σ² + ε), or 0 if that is negative and a ReLU follows. Pruning that \
             drops these constants changes the function; exact pruning hands them to the layers that read them.</p>\n{}{}",
            table(&headings, &[], lines),
            picture(&drawn)
        ),
    )
}

/// A line for each group with a mark at each constant.
fn picture(groups: &[&DeadChannels]) -> String {
    if groups.is_empty() {
        return String::new();
    }
    let values = groups.iter().flat_map(|group| group.constants.iter().map(|&c| f64::from(c))).chain([0.0]);
    let count = groups.len() as f64;
    let y = Axis { low: -count, high: 0.0, scale: Scale::Linear };
    let height = 56.0 + LINE * count;
    let mut chart = Chart::plain(height, (Axis::over(values), "constant"), y);
    for (i, group) in groups.iter().enumerate() {
        let middle = chart.up(-(i as f64) - 0.5);
        let [left, ..] = chart.frame();
        chart.text("name", left + 3.0, middle - 1.0, group.layers.first().map_or("", String::as_str));
        for &constant in &group.constants {
            let at = chart.along(f64::from(constant));
            let (top, bottom) = (middle + 2.0, middle + 12.0);
            chart.add(&format!("<path class=\"line bar c1\" d=\"M{at:.1} {top:.1}V{bottom:.1}\"/>"));
        }
    }
    let zero = chart.along(0.0);
    let [.., top, bottom] = chart.frame();
    chart.add(&format!("<path class=\"line mark\" d=\"M{zero:.1} {top:.1}V{bottom:.1}\"/>"));
    let svg = chart.svg("Constants of dead channels by layer");
    format!("<figure><figcaption>Constants, a mark for each channel</figcaption>{svg}</figure>\n")
}
