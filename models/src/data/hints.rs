//! Hints at another directory or option, where a folder is understood but perhaps not as meant.

use super::layout::{Listing, counted, listed};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

/// A hint for a single class whose folder holds all images directly: their names may carry the classes.
pub fn named_images(root: &Path, listing: &Listing) -> String {
    let Some(image) = listing.images.first() else { return String::new() };
    let Some(folder) = image.path.parent() else { return String::new() };
    let direct = folder.file_name() == Some(OsStr::new(&image.class))
        && listing.images.iter().all(|other| other.path.parent() == Some(folder));
    match (direct, image.path.file_name()) {
        (true, Some(name)) => format!(
            "; if names such as {} carry the class: --data '{}' --class-pattern '{{class}}_*' or another pattern",
            name.display(),
            root.join(folder).display()
        ),
        _ => String::new(),
    }
}

/// A remark if the images of a class are all in folders below its own, more than there are classes: perhaps those are the
/// classes, and the directory is one level too high.
pub fn deeper_classes(root: &Path, classes: &[String], listing: &Listing) -> Option<String> {
    classes.iter().find_map(|class| {
        let mut below = BTreeSet::new();
        let mut folder = None;
        for image in listing.images.iter().filter(|image| image.class == *class) {
            let mut parents: Vec<&Path> = image.path.ancestors().skip(1).collect();
            parents.reverse();
            let own = parents.iter().position(|path| path.file_name() == Some(OsStr::new(class)))?;
            below.insert(parents.get(own + 1)?.file_name()?.to_string_lossy().into_owned());
            folder = Some(root.join(parents[own]));
        }
        let names: Vec<&String> = below.iter().collect();
        (names.len() > classes.len()).then(|| {
            format!(
                "the images of class {class} are in {} ({}): if those are the classes, give --data '{}'",
                counted(names.len(), "folder"),
                listed(&names),
                folder.unwrap_or_default().display()
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::layout::Found;
    use super::*;

    fn listing(images: &[(&str, &str)]) -> Listing {
        let found =
            |&(class, path): &(&str, &str)| Found { split: None, class: class.into(), path: path.into() };
        Listing { images: images.iter().map(found).collect(), ..Listing::default() }
    }

    #[test]
    fn a_directory_one_level_too_high_is_remarked_on() {
        let deep =
            [("Dataset", "Dataset/0/x.jpg"), ("Dataset", "Dataset/1/x.jpg"), ("Dataset", "Dataset/2/y.jpg")];
        let classes = ["Dataset".to_string(), "Examples".to_string()];
        let remark = deeper_classes(Path::new("signs"), &classes, &listing(&deep)).unwrap();
        assert_eq!(
            remark,
            "the images of class Dataset are in 3 folders (0, 1, 2): if those are the classes, give --data 'signs/Dataset'"
        );
        // A few folders within a class, or images beside them, are common.
        assert_eq!(deeper_classes(Path::new("signs"), &classes, &listing(&deep[..2])), None);
        let mixed = [&deep[..], &[("Dataset", "Dataset/z.jpg")]].concat();
        assert_eq!(deeper_classes(Path::new("signs"), &classes, &listing(&mixed)), None);
    }

    #[test]
    fn names_that_may_carry_the_class_are_pointed_out() {
        let flat = [("Rooms", "Rooms/1_kitchen.jpg"), ("Rooms", "Rooms/2_bath.jpg")];
        let hint = named_images(Path::new("houses"), &listing(&flat));
        assert!(
            hint.contains("names such as 1_kitchen.jpg carry the class: --data 'houses/Rooms'"),
            "{hint}"
        );
        assert_eq!(named_images(Path::new("x"), &listing(&[("a", "a/b/1.jpg"), ("a", "a/2.jpg")])), "");
        assert_eq!(named_images(Path::new("x"), &listing(&[])), "");
    }
}
