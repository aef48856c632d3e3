//! Parts of documents that a command fills in, between `<!-- begin: NAME -->` and `<!-- end: NAME -->`.

use lopper_engine::{Error, Result};

/// Returns `text` of `document` with `block` in place of its block `name`.
///
/// # Errors
/// If the block is missing.
pub fn replaced(document: &str, text: &str, name: &str, block: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- begin: {name} -->\n"), format!("<!-- end: {name} -->"));
    let parts = text.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some(format!("{before}{begin}{}\n{end}{after}", block.trim_end()))
    });
    parts.ok_or_else(|| {
        Error::invalid(format!("{document}: expected a block {name} between {begin}and {end}"))
    })
}
