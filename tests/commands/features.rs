//! Every command, option and name on the page of features exists.

use crate::support::command::lopper;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// The commands of a row: words in backticks that begin with `lopper`, and the names in backticks behind them, which stand for
/// the last word of the command before.
fn commands(row: &str) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<String>> = Vec::new();
    for code in row.split('`').skip(1).step_by(2) {
        let words: Vec<String> = code.split_whitespace().map(String::from).collect();
        match (words[0].as_str(), found.last()) {
            ("lopper", _) => found.push(words[1..].to_vec()),
            (_, Some(before)) => {
                let kept = &before[..before.len() - 1];
                found.push([kept, &words[..]].concat());
            }
            (name, None) => panic!("`{name}` belongs to no command: {row}"),
        }
    }
    found
}

fn help(command: &str) -> String {
    lopper(&[command, "--help"]).succeeded().out
}

#[test]
fn a_row_is_read_as_commands() {
    let row = "| x | `lopper prune --criterion a`, `b`, `lopper fold` |";
    assert_eq!(
        commands(row),
        [vec!["prune", "--criterion", "a"], vec!["prune", "--criterion", "b"], vec!["fold"]]
    );
}

#[test]
fn every_feature_has_its_command() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/features.md")).unwrap();
    let lists = ["criteria", "granularities", "schedules", "losses", "normalizations", "contexts"];
    let listed = lists.map(|family| lopper(&["list", family]).succeeded().out).concat();
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let mut checked = 0;
    for row in page.lines().filter(|line| line.starts_with("| ") && line.contains("`lopper ")) {
        for command in commands(row) {
            let help = helps.entry(command[0].clone()).or_insert_with(|| help(&command[0])).clone();
            let words: BTreeSet<&str> =
                help.split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c)).collect();
            for word in &command[1..] {
                checked += 1;
                let name = word.split(':').next().unwrap();
                let known = match word.starts_with("--") {
                    true => words.contains(word.as_str()),
                    false => words.contains(name) || listed.contains(name),
                };
                assert!(
                    known || (command[0] == "list" && lists.contains(&name)),
                    "`{word}` of {command:?} is unknown"
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} commands and options found");
}
