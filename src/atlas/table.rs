//! Crossovers as tables, for terminals and Markdown.

use super::crossover::{Crossing, Crossover};

/// A table of words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The text above it.
    pub title: String,
    /// The columns' names.
    pub head: Vec<String>,
    /// The rows, each as long as the head.
    pub rows: Vec<Vec<String>>,
}

/// How to read a table of crossovers.
pub const LEGEND: &str = "Percent of zero weights from which the way is faster, with the range over the rounds; `=`: \
    the kernel skips nothing; `never`: not at any sparsity measured; an empty cell: the layer has no such zeros. \
    `!` marks a kernel that was forced, where the plan chooses another.";

impl Table {
    /// Tables of crossovers, two for each device, batch size and number of threads: against direct dense kernels and
    /// against the best. A row is a layer, a column a way.
    pub fn of_crossovers(crossovers: &[Crossover]) -> Vec<Self> {
        let mut tables = Vec::new();
        for place in distinct(crossovers, |c| (c.device.clone(), c.batch, c.threads)) {
            let here: Vec<&Crossover> =
                crossovers.iter().filter(|c| (c.device.clone(), c.batch, c.threads) == place).collect();
            let (device, batch, threads) = place;
            for (base, crossing) in BASES {
                let title = match threads {
                    0 => format!("Against {base}: {device}, batch {batch}"),
                    1 => format!("Against {base}: {device}, 1 thread, batch {batch}"),
                    _ => format!("Against {base}: {device}, {threads} threads, batch {batch}"),
                };
                tables.push(Self::of(title, &here, crossing));
            }
        }
        tables
    }

    fn of(title: String, here: &[&Crossover], crossing: fn(&Crossover) -> &Crossing) -> Self {
        let columns = distinct(here, |c| (c.way.clone(), c.packed.clone()));
        let name = |(way, packed): &(String, String)| match packed.as_str() {
            "forced" => format!("{way}!"),
            _ => way.clone(),
        };
        let rows =
            distinct(here, |c| (c.layer.clone(), c.shape.clone())).into_iter().map(|(layer, shape)| {
                let cell = |(way, packed): &(String, String)| {
                    let of = |c: &&&Crossover| (&c.layer, &c.way, &c.packed) == (&layer, way, packed);
                    here.iter().find(of).map_or(String::new(), |c| cell(c, crossing(c)))
                };
                let words = if layer == shape {
                    vec![layer.clone(), String::new()]
                } else {
                    vec![layer.clone(), shape]
                };
                words.into_iter().chain(columns.iter().map(cell)).collect()
            });
        let rows = rows.collect();
        let head = ["layer", "shape"].map(String::from).into_iter().chain(columns.iter().map(name)).collect();
        Self { title, head, rows }
    }

    /// Aligned columns.
    pub fn text(&self) -> String {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let width = |i: usize| lines().map(|line| line[i].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut text = format!("{}\n", self.title);
        for line in lines() {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
        }
        text
    }

    /// A Markdown table below its title.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            let escaped = cells.iter().map(|cell| cell.replace('\\', "\\\\").replace('|', "\\|"));
            format!("| {} |\n", escaped.collect::<Vec<_>>().join(" | "))
        };
        let rule = (0..self.head.len()).map(|i| if i < 2 { "---" } else { "---:" }.to_string());
        let mut text = format!("{}:\n\n{}", self.title, line(&self.head));
        text += &line(&rule.collect::<Vec<_>>());
        self.rows.iter().for_each(|row| text += &line(row));
        text
    }
}

/// A Markdown page of crossovers.
pub fn markdown(crossovers: &[Crossover]) -> String {
    let tables = Table::of_crossovers(crossovers);
    let tables: Vec<String> = tables.iter().map(Table::markdown).collect();
    format!("# Crossovers\n\n{LEGEND}\n\n{}", tables.join("\n"))
}

type Base = (&'static str, fn(&Crossover) -> &Crossing);

const BASES: [Base; 2] = [("the direct dense kernel", |c| &c.direct), ("the best dense kernel", |c| &c.best)];

fn cell(crossover: &Crossover, crossing: &Crossing) -> String {
    if crossover.skips_nothing {
        return "=".into();
    }
    // Nothing is known below the lowest sparsity measured.
    let lowest = crossover.measured[0];
    let percent = |at: Option<f64>| match at {
        None => "never".into(),
        Some(at) if at == lowest && lowest > 0.0 => format!("≤ {at:.0}"),
        Some(at) => format!("{at:.0}"),
    };
    let (at, low, high) = (percent(crossing.at), percent(crossing.low), percent(crossing.high));
    if low == high { at } else { format!("{at} ({low}–{high})") }
}

fn distinct<T, Key: PartialEq>(items: &[T], key: impl Fn(&T) -> Key) -> Vec<Key> {
    let mut keys = Vec::new();
    for key in items.iter().map(key) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_say_what_was_found() {
        let crossing = |at, low, high| Crossing { at, low, high };
        let never = crossing(None, None, None);
        let mut one = Crossover {
            layer: "a|b".into(),
            shape: "8x8x16 16 3x3/1".into(),
            device: "cpu".into(),
            batch: 1,
            threads: 2,
            way: "weight".into(),
            packed: "forced".into(),
            skips_nothing: false,
            measured: [0.0, 98.0],
            direct: crossing(Some(31.4), Some(28.0), Some(40.2)),
            best: crossing(Some(91.0), Some(85.0), None),
        };
        let other = Crossover { way: "masked".into(), packed: "chosen".into(), best: never, ..one.clone() };
        let tables = Table::of_crossovers(&[one.clone(), other]);
        assert_eq!(tables.len(), 2);
        assert_eq!(tables[0].head, ["layer", "shape", "weight!", "masked"]);
        assert_eq!(tables[0].rows, [["a|b", "8x8x16 16 3x3/1", "31 (28–40)", "31 (28–40)"]]);
        assert_eq!(tables[1].rows[0][2..], ["91 (85–never)", "never"]);
        assert!(tables[1].markdown().contains("| a\\|b |"));
        assert!(tables[1].text().contains("Against the best dense kernel: cpu, 2 threads, batch 1\n"));
        one.measured = [50.0, 98.0];
        one.direct = crossing(Some(50.0), Some(50.0), Some(61.0));
        assert_eq!(Table::of_crossovers(&[one.clone()])[0].rows[0][2], "≤ 50 (≤ 50–61)");
        one.skips_nothing = true;
        assert_eq!(Table::of_crossovers(&[one])[0].rows[0][2], "=");
    }
}
