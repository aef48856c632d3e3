//! Matching the class folders of a data set with the classes that a network knows.

use super::imagenette;
use super::layout::{listed, number};
use lopper_engine::{Error, Result};

/// The labels of class folders, by their position.
#[derive(Debug, PartialEq, Eq)]
pub struct Matched {
    /// The label of each folder.
    pub labels: Vec<u32>,
    /// A remark, if the folders were matched by their order alone.
    pub note: Option<String>,
}

/// Returns the label of each of the class folders `found`: its position among the classes `known`. Folders match by
/// name; folders that are numbers match numbered classes by number, so `00007` is class 7 and `10` is not before `9`.
/// Numbered classes, which imported weights have, also match as many folders of any names, in the folders' order.
///
/// # Errors
/// [`Error::Invalid`], with the names, if a folder is none of the classes.
pub fn matched(found: &[String], known: &[String]) -> Result<Matched> {
    let by = |same: &dyn Fn(&str, &str) -> bool| -> Option<Vec<u32>> {
        let label =
            |folder: &String| known.iter().position(|class| same(folder, class)).map(|label| label as u32);
        found.iter().map(label).collect()
    };
    // Older models of Imagenette store the readable names.
    let by_name = by(&|folder, class| folder == class || imagenette::class_name(folder) == class);
    let by_number = || by(&|folder, class| number(folder).is_some() && number(folder) == number(class));
    if let Some(labels) = by_name.or_else(by_number) {
        return Ok(Matched { labels, note: None });
    }
    let numbered = known.iter().enumerate().all(|(i, class)| number(class) == Some(i as u64));
    if numbered && found.len() == known.len() && found.iter().any(|folder| number(folder).is_none()) {
        let note =
            "the classes are numbered and the class folders are not: they are matched in their order".into();
        return Ok(Matched { labels: (0..found.len() as u32).collect(), note: Some(note) });
    }
    Err(Error::invalid(format!(
        "the classes of the network or the recipe ({}) are not those of the images ({})",
        listed(known),
        listed(found)
    )))
}

/// Returns whether two lists name the same classes in the same order. Imagenette's class folders and their readable
/// names are the same classes.
pub fn same_classes(one: &[String], other: &[String]) -> bool {
    let same = |(a, b): (&String, &String)| a == b || imagenette::class_name(a) == imagenette::class_name(b);
    one.len() == other.len() && one.iter().zip(other).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    fn labels(found: &[&str], known: &[&str]) -> Option<(Vec<u32>, bool)> {
        matched(&names(found), &names(known)).ok().map(|m| (m.labels, m.note.is_some()))
    }

    #[test]
    fn readable_names_and_folders_are_the_same_classes() {
        let of = |a: &[&str], b: &[&str]| same_classes(&names(a), &names(b));
        assert!(of(&["n01440764", "x"], &["tench", "x"]) && of(&["tench"], &["n01440764"]));
        assert!(!of(&["x", "y"], &["y", "x"]) && !of(&["x"], &["x", "y"]));
    }

    #[test]
    fn folders_match_by_name_then_by_number_then_by_order() {
        assert_eq!(labels(&["c", "a"], &["a", "b", "c"]), Some((vec![2, 0], false)));
        assert_eq!(labels(&["n02102040"], &["tench", "English springer"]), Some((vec![1], false)));
        assert_eq!(labels(&["00002", "00000"], &["0", "1", "2"]), Some((vec![2, 0], false)));
        assert_eq!(labels(&["2"], &["00000", "00001", "00002"]), Some((vec![2], false)));
        assert_eq!(labels(&["x", "y"], &["0", "1"]), Some((vec![0, 1], true)));
        assert_eq!(labels(&["x", "y"], &["0", "1", "2"]), None);
        assert_eq!(labels(&["1", "2"], &["0", "1"]), None, "numbers are never matched by order");
        assert_eq!(labels(&["x"], &["a", "b"]), None);
    }
}
