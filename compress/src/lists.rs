//! The `include` and `exclude` lists of a configuration: names of layers, or of modules that contain them. `layer1`
//! stands for every layer whose name starts with `layer1.`.

use lopper_engine::{Error, Result};

/// The number of layers that an error gives as examples.
const EXAMPLES: usize = 4;

/// The two lists of a configuration.
#[derive(Clone, Copy)]
pub(crate) struct Lists<'a> {
    /// The name of the technique in errors.
    pub technique: &'static str,
    pub include: &'a [String],
    pub exclude: &'a [String],
}

impl Lists<'_> {
    /// Returns an error if an entry matches none of `layers`; the message calls them `kind`.
    pub fn check<'n>(&self, kind: &str, layers: impl Iterator<Item = &'n str> + Clone) -> Result<()> {
        for (list, entries) in [("include", self.include), ("exclude", self.exclude)] {
            if let Some(entry) =
                entries.iter().find(|entry| !layers.clone().any(|name| stands_for(entry, name)))
            {
                let names: Vec<&str> = layers.clone().take(EXAMPLES).collect();
                let names = match names[..] {
                    [] => "it has none".to_string(),
                    _ => format!("name one, or a module that contains it, such as `{}`", names.join("`, `")),
                };
                return Err(Error::invalid(format!(
                    "{} {list}: the network has no {kind} called `{entry}`: {names}",
                    self.technique
                )));
            }
        }
        Ok(())
    }

    /// Whether `layer` is included by name.
    pub fn includes(&self, layer: &str) -> bool {
        self.include.iter().any(|entry| stands_for(entry, layer))
    }

    /// Whether `layer` is excluded by name.
    pub fn excludes(&self, layer: &str) -> bool {
        self.exclude.iter().any(|entry| stands_for(entry, layer))
    }

    /// The reason why `layer` is skipped, if it is. Two empty lists skip nothing.
    pub fn skips(&self, layer: &str) -> Option<&'static str> {
        if self.excludes(layer) {
            Some("excluded")
        } else if !self.include.is_empty() && !self.includes(layer) {
            Some("not included")
        } else {
            None
        }
    }
}

/// Whether `entry` is the layer `name` or a module that contains it.
fn stands_for(entry: &str, name: &str) -> bool {
    name.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
