//! The table of published figures beside those of a run.

use super::Row;
use crate::findings::{Compared, Verdict};
use lopper_models::data::thousands;
use std::fmt::Write as _;

const HEADINGS: [&str; 5] = ["stage", "figure", "published", "ours (95 % interval)", "ours"];

/// Longest name of a stage; the tables of a report have the whole names.
const LONGEST: usize = 13;

/// The table as text of at most 80 columns, with the remarks below it; empty if nothing was published.
pub fn text(rows: &[Row]) -> String {
    let lines = lines(rows);
    if lines.is_empty() {
        return String::new();
    }
    let mut text = "published against ours\n".to_string();
    for cells in [HEADINGS.map(str::to_string)].into_iter().chain(lines) {
        let [stage, figure, published, ours, verdict] = cells;
        let stage: String = match stage.chars().count() > LONGEST {
            true => stage.chars().take(LONGEST - 1).chain(['…']).collect(),
            false => stage,
        };
        let line = format!("{stage:LONGEST$}  {figure:12}  {published:>14}  {ours:>20}  {verdict}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for note in notes(rows) {
        let _ = writeln!(text, "{note}");
    }
    text
}

/// The same as Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let lines = lines(rows);
    if lines.is_empty() {
        return String::new();
    }
    let mut text = "## Published against ours\n\n".to_string();
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    text += &row(&HEADINGS.map(str::to_string));
    text += "| --- | --- | ---: | ---: | --- |\n";
    lines.iter().for_each(|cells| text += &row(cells));
    notes(rows).for_each(|note| text += &format!("\n{note}\n"));
    text
}

/// The remarks on the published figures of each stage.
pub fn notes(rows: &[Row]) -> impl Iterator<Item = String> {
    let of = |row: &Row| Some((row.stage.clone(), row.findings.published.clone()?.note));
    let notes = rows.iter().filter_map(of).filter(|(_, note)| !note.is_empty());
    notes.map(|(stage, note)| format!("{stage}: {note}"))
}

/// The cells of the table: stage, figure, published, ours, verdict.
pub fn lines(rows: &[Row]) -> Vec<[String; 5]> {
    let of = |row: &Row| {
        let figures = row.findings.published.iter().flat_map(|found| &found.figures);
        figures.map(|figure| cells(&row.stage, figure)).collect::<Vec<_>>()
    };
    rows.iter().flat_map(of).collect()
}

fn cells(stage: &str, compared: &Compared) -> [String; 5] {
    let Compared { figure, published, ours, interval, verdict } = compared;
    let format = |value: f64| match figure.as_str() {
        "top1" | "sparsity_by_epoch" => format!("{:.2}", 100.0 * value),
        name if name.starts_with("f1_") => format!("{value:.4}"),
        _ => thousands(value as u64),
    };
    let listed = |values: &[f64]| match values {
        [] => "–".to_string(),
        [value] => format(*value),
        [a, b] => format!("{} / {}", format(*a), format(*b)),
        values => format!("{} counts", values.len()),
    };
    let (published, mut ours) = match figure.as_str() {
        // The last epoch's, as a list does not fit.
        "sparsity_by_epoch" => [published, ours].map(|v| v.last().map_or("–".into(), |&v| format(v))).into(),
        _ => (listed(published), listed(ours)),
    };
    if let Some((low, high)) = interval {
        ours += &match figure.as_str() {
            "top1" => format!(" ({:.1}–{:.1})", 100.0 * low, 100.0 * high),
            _ => format!(" ({low:.3}–{high:.3})"),
        };
    }
    let verdict = match verdict {
        None => "",
        Some(Verdict::Equal) => "equal",
        Some(Verdict::Differs) => "not equal",
        Some(Verdict::OtherClasses) => "other classes",
        Some(Verdict::Within) => "no difference",
        Some(Verdict::Higher) => "higher",
        Some(Verdict::Lower) => "lower",
    };
    [stage.into(), name(figure), published, ours, verdict.into()]
}

/// A figure's name in the table.
fn name(figure: &str) -> String {
    match figure {
        "top1" => "top-1 %".into(),
        "f1_weighted" => "weighted F1".into(),
        "params" => "parameters".into(),
        "params_by_layer" => "… by layer".into(),
        "kept" => "filters".into(),
        "sparsity_by_epoch" => "sparsity %".into(),
        "images" => "images".into(),
        figure => match figure.strip_prefix("f1_tta_") {
            Some(views) => format!("F1, {views} views"),
            None => figure.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{Comparison, Findings};

    fn rows() -> Vec<Row> {
        let compared = |figure: &str, published: &[f64], ours: &[f64], interval, verdict| Compared {
            figure: figure.into(),
            published: published.to_vec(),
            ours: ours.to_vec(),
            interval,
            verdict,
        };
        let figures = vec![
            compared("top1", &[0.8252], &[0.8311], Some((0.819, 0.8429)), Some(Verdict::Within)),
            compared("f1_tta_20", &[0.9951], &[0.99], Some((0.98, 0.999)), Some(Verdict::Lower)),
            compared("params", &[134_309_962.0], &[134_309_962.0], None, Some(Verdict::Equal)),
            compared("kept", &[64.0; 13], &[64.0; 12], None, Some(Verdict::Differs)),
            compared("images", &[31_919.0, 7_290.0], &[8_600.0, 7_290.0], None, Some(Verdict::Differs)),
            compared("params", &[256_779.0], &[256_522.0], None, Some(Verdict::OtherClasses)),
            compared("sparsity_by_epoch", &[0.0759, 0.3], &[0.075, 0.3], None, None),
        ];
        let published = Some(Comparison { figures, note: "A remark.".into() });
        let stage = "sparsified_and_pruned_for_long".into();
        vec![Row { stage, findings: Findings { published, ..Findings::default() }, ..Row::default() }]
    }

    #[test]
    fn the_table_fits_a_terminal() {
        let text = text(&rows());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for words in
            ["134,309,962", "82.52", "(81.9–84.3)", "no difference", "13 counts", "F1, 20 views", "A remark."]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert_eq!(super::text(&[]), "");
    }

    #[test]
    fn markdown_names_whole_stages() {
        let text = markdown(&rows());
        assert!(text.contains("| sparsified_and_pruned_for_long | top-1 % | 82.52 |"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with('|')).count(), 9);
    }
}
