//! The recipes that are part of the program. They are files like any other: `lopper recipes NAME` prints one to copy.

use lopper_engine::{Error, Result, input};
use std::path::Path;

/// A recipe of the program.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// Every recipe of the program, in the order in which they are listed.
pub const BUILTIN: &[Builtin] = &[
    Builtin { name: "small-net", text: include_str!("../../recipes/small-net.toml") },
    Builtin { name: "studentnet", text: include_str!("../../recipes/studentnet.toml") },
    Builtin { name: "traffic-signs", text: include_str!("../../recipes/traffic-signs.toml") },
    Builtin { name: "vgg16", text: include_str!("../../recipes/vgg16.toml") },
    Builtin { name: "readme", text: include_str!("../../recipes/readme.toml") },
    Builtin { name: "study", text: include_str!("../../recipes/study.toml") },
];

impl Builtin {
    /// Returns the recipe `name`.
    pub fn find(name: &str) -> Option<Self> {
        BUILTIN.iter().copied().find(|recipe| recipe.name == name)
    }

    /// Returns the first paragraph of the comment that the recipe starts with, without its marks.
    pub fn about(self) -> String {
        let lines = self.text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
        lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// Returns the text of a recipe: the built-in one called `name`, or else the file of this path.
///
/// # Errors
/// [`Error::File`] if neither exists, with the names that do, or if the file cannot be read.
pub fn text(name: &Path) -> Result<String> {
    if let Some(recipe) = name.to_str().and_then(Builtin::find) {
        return Ok(recipe.text.to_string());
    }
    let is_word = name.extension().is_none() && name.components().count() == 1;
    if is_word && !name.exists() {
        let names: Vec<&str> = BUILTIN.iter().map(|recipe| recipe.name).collect();
        let message = format!("neither a built-in recipe ({}) nor a file", names.join(", "));
        return Err(Error::file(name, message));
    }
    input::read_to_string(name)
}
