//! The recipe.

use crate::page::html::Text;
use crate::report::Report;

/// The recipe as it was written.
pub fn recipe(report: &Report) -> String {
    let Some(run) = &report.run else { return String::new() };
    format!(
        "<section class=\"part\" id=\"recipe\">\n<h2>Recipe</h2>\n<pre>{}</pre>\n</section>\n",
        Text(run.recipe.trim_end())
    )
}
