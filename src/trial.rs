//! Runs that were cut short to try a recipe: their accuracies say little, and the output has to say so.

/// How a run was cut short, if it was.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Whether every training has one epoch.
    pub quick: bool,
    /// Images per class, if they are limited.
    pub limit: Option<usize>,
}

impl Trial {
    /// Returns the `title` of tables and pictures, with the cuts in brackets.
    pub fn title(self, title: &str) -> String {
        self.cuts().map_or(title.to_string(), |cuts| format!("{title} (cut short: {cuts})"))
    }

    /// Returns a paragraph on what the accuracies do not show, or nothing if the run is whole.
    pub fn remark(self) -> String {
        let Some(cuts) = self.cuts() else { return String::new() };
        let why = match self.quick {
            true => {
                "One epoch is too few: a student has not learned from its teacher yet, and a network has not recovered \
                 from a cut.\nThe run shows that every stage works; without --quick it shows what they reach."
            }
            false => "Accuracies do not compare with those of a run on all images.",
        };
        format!("Cut short: {cuts}. {why}\n\n")
    }

    fn cuts(self) -> Option<String> {
        let images = self.limit.map(|limit| format!("at most {limit} images per class"));
        match (self.quick, images) {
            (true, Some(images)) => Some(format!("one epoch per training, {images}")),
            (true, None) => Some("one epoch per training".into()),
            (false, images) => images,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_that_was_cut_short_is_called_so() {
        let whole = Trial { quick: false, limit: None };
        assert_eq!((whole.title("demo"), whole.remark()), ("demo".to_string(), String::new()));
        let quick = Trial { quick: true, limit: Some(100) };
        let cuts = "cut short: one epoch per training, at most 100 images per class";
        assert_eq!(quick.title("demo"), format!("demo ({cuts})"));
        assert!(quick.remark().contains("too few") && quick.remark().contains("--quick"));
        let few = Trial { quick: false, limit: Some(5) };
        assert!(few.title("x").contains("at most 5 images") && !few.remark().contains("--quick"));
    }
}
