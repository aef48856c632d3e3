//! `lopper list`.

use super::Common;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use lopper::listing::{Entry, Family};
use lopper_engine::Result;
use std::collections::BTreeMap;

/// Columns of the text.
const COLUMNS: usize = 80;

/// List everything that recipes and commands can name, with formulas and papers.
#[derive(Args)]
pub struct List {
    /// List to print [default: all of them]
    #[arg(value_parser = families())]
    family: Option<Family>,
}

/// A parser of families, with a line of help for each.
fn families() -> impl TypedValueParser<Value = Family> {
    let value = |family: Family| PossibleValue::new(family.name()).help(family.about());
    PossibleValuesParser::new(Family::ALL.map(value)).map(|name| {
        Family::ALL.into_iter().find(|family| family.name() == name).expect("one of the possible values")
    })
}

impl List {
    pub fn run(&self, common: &Common) -> Result<()> {
        let families = self.family.map_or_else(|| Family::ALL.to_vec(), |family| vec![family]);
        let lists: BTreeMap<&str, Vec<Entry>> =
            families.iter().map(|family| (family.name(), family.entries())).collect();
        common.print(&lists, || families.iter().map(|&family| text(family)).collect::<Vec<_>>().join("\n"))
    }
}

/// The list of a family: names on the left, formulas and papers on the right.
fn text(family: Family) -> String {
    let entries = family.entries();
    let name = |entry: &Entry| match entry.alias {
        Some(alias) => format!("{} ({alias})", entry.name),
        None => entry.name.clone(),
    };
    let width = entries.iter().map(|entry| name(entry).chars().count()).max().unwrap_or(0) + 2;
    let mut text = format!("{}: {}\n", family.name(), family.about());
    let mut of = None;
    for entry in &entries {
        if entry.of != of {
            of = entry.of;
            text += &of.map_or(String::new(), |of| format!("\n{of}\n"));
        }
        let lines = wrapped(entry.about.formula, COLUMNS - width)
            .into_iter()
            .chain(entry.about.paper.into_iter().flat_map(|paper| wrapped(paper, COLUMNS - width)));
        for (i, line) in lines.enumerate() {
            let left = if i == 0 { name(entry) } else { String::new() };
            text += &format!("{left:width$}{line}\n");
        }
    }
    text
}

/// `text` in lines of at most `columns` characters.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("never empty");
        let length = line.chars().count();
        if length > 0 && length + 1 + word.chars().count() > columns {
            lines.push(word.to_string());
        } else {
            let space = if length > 0 { " " } else { "" };
            *line += &format!("{space}{word}");
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_fit_80_columns_and_lose_no_word() {
        for family in Family::ALL {
            let text = text(family);
            assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
            let words = |text: &str| text.split_whitespace().map(str::to_string).collect::<Vec<_>>();
            for entry in family.entries() {
                for part in [Some(entry.about.formula), entry.about.paper].into_iter().flatten() {
                    let all = words(part);
                    assert!(words(&text).windows(all.len()).any(|window| window == all), "{part} in\n{text}");
                }
            }
        }
    }
}
