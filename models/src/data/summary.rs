//! The summary of a data set: what was found, and what was passed over.

use super::layout::{counted, thousands};
use std::fmt;

/// What was found in a data set. It displays as one line, followed by a line for each remark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The name of the data set.
    pub name: String,
    /// Number of images to train on.
    pub train: usize,
    /// Number of images to score.
    pub scored: usize,
    /// The adjective of the images to score: validation, test or training.
    pub scored_as: String,
    /// Number of classes.
    pub classes: usize,
    /// Files and folders that were passed over, in words.
    pub ignored: Option<String>,
    /// Number of images that cannot be decoded, as far as the ends of their files show it. They do not count above.
    pub undecodable: usize,
    /// Whether those are skipped; if not, they are an error when images are read.
    pub skips: bool,
    /// Remarks, for instance that images were held out for validation.
    pub notes: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, train, scored, scored_as, classes, .. } = self;
        let train = thousands(*train as u64);
        let images = counted(*scored, &format!("{scored_as} image"));
        let classes = if *classes == 1 { "1 class".into() } else { format!("{classes} classes") };
        write!(f, "{name}: {train} training and {images}, {classes}")?;
        let (bad, count) = (self.undecodable, counted(self.undecodable, "image"));
        let skipped = (bad > 0 && self.skips).then(|| format!("skipped {bad} that cannot be decoded"));
        let passed: Vec<String> = self.ignored.iter().cloned().chain(skipped).collect();
        if !passed.is_empty() {
            write!(f, "; {}", passed.join(", "))?;
        }
        if bad > 0 && !self.skips {
            write!(f, "; {count} cannot be decoded")?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\n  {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_one_line_and_its_remarks() {
        let mut summary = Summary {
            name: "flowers".into(),
            train: 3455,
            scored: 862,
            scored_as: "validation".into(),
            classes: 5,
            ignored: Some("ignored 12 files (.txt)".into()),
            undecodable: 0,
            skips: true,
            notes: Vec::new(),
        };
        let line = "flowers: 3,455 training and 862 validation images, 5 classes; ignored 12 files (.txt)";
        assert_eq!(summary.to_string(), line);
        summary.undecodable = 2;
        assert_eq!(summary.to_string(), format!("{line}, skipped 2 that cannot be decoded"));
        (summary.skips, summary.ignored) = (false, None);
        let line = "flowers: 3,455 training and 862 validation images, 5 classes; 2 images cannot be decoded";
        assert_eq!(summary.to_string(), line);
        summary.notes.push("20 % are held out".into());
        assert_eq!(summary.to_string(), format!("{line}\n  20 % are held out"));
    }
}
