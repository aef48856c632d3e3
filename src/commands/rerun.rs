//! The recipe of an earlier run, from its report.

use super::DataOptions;
use crate::recipe::{FULL, Recipe};
use crate::report::About;
use lopper_engine::Result;

/// The recipe of the run `about`, in its profile, with its seed and its options of the images; shortened to a trial if
/// `quick`.
pub fn recipe_of(about: &About, quick: bool) -> Result<Recipe> {
    let profile = if about.profile.is_empty() { FULL } else { &about.profile };
    let mut recipe = Recipe::parse_with_seed(&about.recipe, Some(profile), Some(about.seed))?;
    if quick {
        recipe = recipe.quick();
    }
    DataOptions::among(&about.command).map_or(Ok(()), |options| options.apply(&mut recipe.data))?;
    Ok(recipe)
}
