//! The parts of a data set as one listing, under one set of class names.

use super::layout::{Listing, Part};
use super::vocabulary::matched;
use lopper_engine::{Error, Result};
use std::collections::HashMap;
use std::path::Path;

/// Finds the images of all `parts` below `root`. Classes have the names that `known` gives, or else those of the first
/// part: a table may call class `00016` just `16`.
///
/// # Errors
/// [`Error::File`], with the part's folder, if it cannot be read or understood, or has other classes.
pub fn read(parts: &[Part], known: Option<&[String]>, root: &Path, hidden: bool) -> Result<Listing> {
    let mut all = Listing::default();
    let mut names = known.map(<[String]>::to_vec);
    for part in parts {
        let Listing { images, empty, ignored, notes } = part.read(root, hidden)?;
        let found = Listing { images, empty, ..Listing::default() };
        let classes = found.classes();
        let names = names.get_or_insert_with(|| classes.clone());
        let labels = matched(&classes, names).map_err(|e| Error::file(root.join(&part.path), e))?;
        let name = |&label: &u32| names[label as usize].clone();
        let renamed: HashMap<&String, String> = classes.iter().zip(labels.labels.iter().map(name)).collect();
        let rename = |class: &String| renamed[class].clone();
        all.empty.extend(found.empty.iter().map(rename));
        all.images.extend(found.images.into_iter().map(|mut image| {
            image.class = rename(&image.class);
            image
        }));
        all.ignored.add(ignored);
        all.notes.extend(notes.into_iter().chain(labels.note));
    }
    let seen: std::collections::BTreeSet<&String> = all.images.iter().map(|image| &image.class).collect();
    all.empty.retain(|class| !seen.contains(class));
    Ok(all)
}
