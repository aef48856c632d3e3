//! The rows as a table: wide for Markdown files, and within 80 columns for a terminal.

use super::Row;
use lopper_models::data::thousands;
use std::fmt::Write as _;

/// Columns of a terminal.
const COLUMNS: usize = 80;

/// The shortest width to which words are cut.
const SHORTEST: usize = 6;

/// Headings of the wide table. The first two columns are words, the others figures.
const WIDE: [&str; 11] = [
    "stage",
    "what",
    "top-1 %",
    "95 % interval",
    "parameters",
    "MMACs",
    "file kB",
    "latency ms",
    "quartiles",
    "logit diff",
    "seconds",
];

/// Headings of the short table. `±%` is half the distance of the latency's quartiles over its median.
const SHORT: [&str; 9] = ["stage", "what", "top-1 %", "95 %", "params", "MACs", "ms", "±%", "diff"];

/// Number of columns of words, which are left-aligned.
const WORDS: usize = 2;

/// Formats the rows as a Markdown table that is also aligned as plain text.
pub fn wide(rows: &[Row]) -> String {
    let cells: Vec<[String; 11]> = rows.iter().map(wide_cells).collect();
    let widths = widths(&WIDE, &cells);
    let mut text = String::new();
    let mut line = |cell: &dyn Fn(usize) -> String| {
        for (i, &width) in widths.iter().enumerate() {
            let _ = if i < WORDS {
                write!(text, "| {:width$} ", cell(i))
            } else {
                write!(text, "| {:>width$} ", cell(i))
            };
        }
        text.push_str("|\n");
    };
    line(&|i| WIDE[i].to_string());
    line(&|i| if i < WORDS { "-".repeat(widths[i]) } else { "-".repeat(widths[i] - 1) + ":" });
    for row in &cells {
        line(&|i| row[i].clone());
    }
    text
}

/// Formats the rows as a table of at most 80 columns: figures are rounded, and words are cut if they do not fit.
pub fn short(rows: &[Row]) -> String {
    let cells: Vec<[String; 9]> = rows.iter().map(short_cells).collect();
    let mut widths = widths(&SHORT, &cells);
    let gaps = 2 * (widths.len() - 1);
    // What a stage does can be read in its recipe; its name is needed to find it.
    for column in [1, 0] {
        let excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(COLUMNS);
        widths[column] = widths[column].saturating_sub(excess).max(SHORTEST.min(widths[column]));
    }
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        let mut line = String::new();
        for (i, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
            let gap = if i == 0 { "" } else { "  " };
            let _ = match i < WORDS {
                true => write!(line, "{gap}{:width$}", cut(cell, width)),
                false => write!(line, "{gap}{cell:>width$}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(&SHORT.map(str::to_string));
    cells.iter().for_each(|row| line(row));
    text
}

/// The width of each column.
fn widths<const N: usize>(headings: &[&str; N], cells: &[[String; N]]) -> [usize; N] {
    std::array::from_fn(|i| {
        let longest = cells.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
        longest.max(headings[i].chars().count())
    })
}

/// `text`, cut to `width` characters.
fn cut(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_string(),
    }
}

fn wide_cells(row: &Row) -> [String; 11] {
    let percent = |v: f64| format!("{:.2}", 100.0 * v);
    let (low, high) = row.latency_quartiles_ms;
    [
        row.stage.clone(),
        row.what.clone(),
        row.top1.map_or("–".into(), percent),
        row.interval.map_or("–".into(), |(low, high)| format!("{}–{}", percent(low), percent(high))),
        thousands(row.params),
        format!("{:.1}", row.macs as f64 / 1e6),
        thousands(row.bytes / 1000),
        format!("{:.3}", row.latency_ms),
        format!("{low:.3}–{high:.3}"),
        row.logit_difference.map_or("–".into(), |d| format!("{d:.1e}")),
        format!("{:.1}", row.seconds),
    ]
}

fn short_cells(row: &Row) -> [String; 9] {
    let percent = |v: f64| format!("{:.1}", 100.0 * v);
    let (low, high) = row.latency_quartiles_ms;
    let spread = 50.0 * (high - low) / row.latency_ms;
    [
        row.stage.clone(),
        row.what.clone(),
        row.top1.map_or("–".into(), |v| format!("{:.2}", 100.0 * v)),
        row.interval.map_or("–".into(), |(low, high)| format!("{}–{}", percent(low), percent(high))),
        thousand_times(row.params as f64),
        thousand_times(row.macs as f64),
        three_digits(row.latency_ms),
        if spread.is_finite() { format!("{spread:.0}") } else { "–".into() },
        row.logit_difference.map_or("–".into(), |d| format!("{d:.0e}")),
    ]
}

/// `value` with three digits and a suffix: `589k`, `11.2M`, `5.13G`.
pub fn thousand_times(value: f64) -> String {
    let mut value = value;
    for suffix in ["", "k", "M", "G"] {
        if value < 999.5 {
            return format!(
                "{}{suffix}",
                if suffix.is_empty() { format!("{value:.0}") } else { three_digits(value) }
            );
        }
        value /= 1000.0;
    }
    format!("{value:.0}T")
}

/// `value` with at least three digits: `0.873`, `5.13`, `84.3`, `1630`.
fn three_digits(value: f64) -> String {
    match value.abs() {
        v if v < 0.9995 => format!("{value:.3}"),
        v if v < 9.995 => format!("{value:.2}"),
        v if v < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_engine::train::Accuracy;
    use proptest::prelude::*;

    fn row() -> Row {
        let mut row = Row {
            stage: "baseline".into(),
            what: "vgg16_bn, 5 epochs".into(),
            params: 134_309_962,
            macs: 5_130_000_000,
            bytes: 537_000_000,
            latency_ms: 52.5,
            latency_quartiles_ms: (51.0, 54.15),
            logit_difference: Some(2.1e-6),
            seconds: 12.0,
            ..Row::default()
        };
        row.set_accuracy(&Accuracy { correct: 90, total: 100 });
        row
    }

    #[test]
    fn wide_columns_are_aligned() {
        let text = wide(&[row()]);
        let widths: Vec<usize> = text.lines().map(|l| l.chars().count()).collect();
        assert_eq!(widths.len(), 3);
        assert!(widths.iter().all(|&w| w == widths[0]), "{text}");
        for figure in ["90.00", "134,309,962", "5130.0", "52.500", "51.000–54.150"] {
            assert!(text.contains(figure), "{figure}: {text}");
        }
    }

    #[test]
    fn the_short_table_has_all_figures() {
        let text = short(&[row()]);
        let line = text.lines().nth(1).unwrap();
        let expected = "baseline  vgg16_bn, 5 epochs    90.00  82.6–94.5    134M  5.13G  52.5   3  2e-6";
        assert_eq!(line, expected);
    }

    #[test]
    fn figures_have_three_digits() {
        for (value, expected) in [
            (0.0, "0"),
            (999.0, "999"),
            (1000.0, "1.00k"),
            (9_996.0, "10.0k"),
            (99_960.0, "100k"),
            (999_600.0, "1.00M"),
            (11_181_642.0, "11.2M"),
            (5.13e9, "5.13G"),
            (2.5e12, "2T"),
        ] {
            assert_eq!(thousand_times(value), expected);
        }
    }

    proptest! {
        #[test]
        fn the_short_table_fits_a_terminal(
            name in "[a-z_-]{1,64}", what in ".{0,90}", params: u64, macs: u64, ms in 1e-4f64..1e5, top1: bool,
        ) {
            let params = params % 10_000_000_000;
            let macs = macs % 1_000_000_000_000;
            let mut row = Row { stage: name, what, params, macs, latency_ms: ms, ..row() };
            row.latency_quartiles_ms = (0.5 * ms, 1.5 * ms);
            if !top1 {
                row.interval = None;
            }
            let text = short(&[row.clone(), row]);
            prop_assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{}", text);
            prop_assert_eq!(text.lines().count(), 3);
        }
    }
}
