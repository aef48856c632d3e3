//! `lopper recipes`.

use super::Common;
use crate::recipe::{BUILTIN, Builtin, Recipe};
use clap::Args;
use lopper_engine::{Error, Result};
use serde::Serialize;

/// List the built-in recipes, or print one, to copy and change.
#[derive(Args)]
pub struct Recipes {
    /// Recipe to print
    name: Option<String>,
}

/// A recipe in the list.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    about: String,
    profiles: Vec<String>,
}

impl Recipes {
    pub fn run(&self, common: &Common) -> Result<()> {
        let Some(name) = &self.name else {
            let entries = BUILTIN.iter().map(entry).collect::<Result<Vec<Entry>>>()?;
            return common.print(&entries, || list(&entries));
        };
        let recipe = Builtin::find(name).ok_or_else(|| {
            let names: Vec<&str> = BUILTIN.iter().map(|recipe| recipe.name).collect();
            Error::invalid(format!("no built-in recipe `{name}`: expected {}", names.join(", ")))
        })?;
        common.print(&recipe.text, || recipe.text.to_string())
    }
}

fn entry(recipe: &Builtin) -> Result<Entry> {
    let profiles = Recipe::profiles(recipe.text)?;
    Ok(Entry { name: recipe.name, about: recipe.about(), profiles })
}

/// The recipes as text of at most 80 columns.
fn list(entries: &[Entry]) -> String {
    let mut text = String::new();
    for Entry { name, about, profiles } in entries {
        text += &format!("{name} ({})\n", profiles.join(", "));
        let mut line = String::from("   ");
        for word in about.split(' ') {
            if line.chars().count() + 1 + word.chars().count() > 80 {
                text += &format!("{line}\n");
                line = String::from("   ");
            }
            line += &format!(" {word}");
        }
        text += &format!("{line}\n\n");
    }
    text + "lopper run NAME --data DIR runs one; lopper recipes NAME prints it, to copy.\n"
}
