//! The folders and image names below a directory.

use super::listing::{Ignored, counted};
use lopper_engine::{Error, Result};
use std::ffi::OsString;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};

/// File extensions of images, in lower case. Other files are ignored and counted.
const EXTENSIONS: [&str; 14] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "pnm", "ppm", "pgm", "pbm", "bmp", "gif", "tif", "tiff", "webp"];
/// Levels of folders; a link to a folder above it would never end.
const DEEPEST: usize = 24;
/// More files than any collection of images on one disk: someone gave the root of a file system.
const MOST_FILES: usize = 50_000_000;
/// The folder in which archives from a Mac keep attributes, under the names of the files that have them.
const MAC_ATTRIBUTES: &str = "__MACOSX";

/// A folder: its folders and images, sorted by name.
#[derive(Debug, Default)]
pub struct Tree {
    /// Folders in it.
    pub folders: Vec<(OsString, Tree)>,
    /// Names of images directly in it, and of empty folders that have the name of an image.
    pub images: Vec<OsString>,
    /// Names of tables (CSV) directly in it.
    pub tables: Vec<OsString>,
}

impl Tree {
    /// Reads the names below `dir`. Hidden files and folders are passed over unless `hidden` is set; they and files
    /// that are not images are counted in `ignored`.
    ///
    /// # Errors
    /// [`Error::File`], with the folder, if one cannot be read or they are nested too deep.
    pub fn read(dir: &Path, hidden: bool, ignored: &mut Ignored) -> Result<Self> {
        Reader { hidden, ignored, files: 0 }.folder(dir, 0)
    }

    /// Whether no image is in the folder or below it.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.folders.iter().all(|(_, folder)| folder.is_empty())
    }

    /// Passes to `feed` the path of each image in the folder and below it, relative to the folder `at` is relative to.
    pub fn each_image(&self, at: &Path, feed: &mut impl FnMut(PathBuf)) {
        self.images.iter().for_each(|name| feed(at.join(name)));
        self.folders.iter().for_each(|(name, folder)| folder.each_image(&at.join(name), feed));
    }
}

/// Returns whether the extension of `path` is that of an image.
pub fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.contains(&extension.as_str())
}

struct Reader<'a> {
    hidden: bool,
    ignored: &'a mut Ignored,
    files: usize,
}

impl Reader<'_> {
    fn folder(&mut self, dir: &Path, depth: usize) -> Result<Tree> {
        if depth > DEEPEST {
            let message = format!(
                "folders nested more than {DEEPEST} deep: does a link lead back to a folder above it?"
            );
            return Err(Error::file(dir, message));
        }
        let failed = |e: std::io::Error| Error::file(dir, format!("this folder cannot be read: {e}"));
        let mut tree = Tree::default();
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            self.entry(&entry.map_err(failed)?, &mut tree, &mut folders);
        }
        self.files += tree.images.len();
        if self.files > MOST_FILES {
            let message = format!("more than {} below this directory", counted(MOST_FILES, "image"));
            return Err(Error::file(dir, message));
        }
        folders.sort();
        for name in folders {
            let folder = self.folder(&dir.join(&name), depth + 1)?;
            match is_image(Path::new(&name)) && folder.is_empty() {
                // It looks like an image: whoever reads it says that it is a directory.
                true => tree.images.push(name),
                false => tree.folders.push((name, folder)),
            }
        }
        tree.images.sort();
        Ok(tree)
    }

    /// Sorts one entry of a folder into `tree`, `folders` or what is ignored.
    fn entry(&mut self, entry: &DirEntry, tree: &mut Tree, folders: &mut Vec<OsString>) {
        let name = entry.file_name();
        // The type of a link is that of its target; one that leads nowhere is a file that cannot be read.
        let is_folder = match entry.file_type() {
            Ok(kind) if !kind.is_symlink() => kind.is_dir(),
            _ => entry.path().is_dir(),
        };
        let is_hidden = name.as_encoded_bytes().starts_with(b".") || name == MAC_ATTRIBUTES;
        match (is_folder, is_hidden && !self.hidden) {
            (true, true) => {
                self.ignored.hidden_folders.insert(name.to_string_lossy().into_owned());
            }
            (true, false) => folders.push(name),
            (false, true) => self.ignored.hidden_files += 1,
            (false, false) if is_image(Path::new(&name)) => tree.images.push(name),
            (false, false) => {
                self.ignored.file(Path::new(&name));
                if Path::new(&name).extension().is_some_and(|end| end.eq_ignore_ascii_case("csv")) {
                    tree.tables.push(name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn images_are_found_at_any_depth_and_the_rest_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        for file in
            ["b/x.PNG", "a/deep/er/y.webp", "a/z.txt", ".git/q.png", "__MACOSX/b/._x.PNG", "b/._x.PNG"]
        {
            fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
            fs::write(dir.path().join(file), "").unwrap();
        }
        let read = |hidden| {
            let mut ignored = Ignored::default();
            let tree = Tree::read(dir.path(), hidden, &mut ignored).unwrap();
            let mut paths = Vec::new();
            tree.each_image(Path::new(""), &mut |path| paths.push(path.to_str().unwrap().to_string()));
            (paths, ignored.describe().unwrap())
        };
        let (paths, ignored) = read(false);
        assert_eq!(paths, ["a/deep/er/y.webp", "b/x.PNG"]);
        assert_eq!(ignored, "ignored 1 file (.txt), 1 hidden file, 2 folders (.git, __MACOSX)");
        assert_eq!(read(true).0.len(), 5);
    }

    #[test]
    fn an_empty_folder_with_the_name_of_an_image_is_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/x.jpg")).unwrap();
        fs::create_dir_all(dir.path().join("a/set.png")).unwrap();
        fs::write(dir.path().join("a/set.png/y.jpg"), "").unwrap();
        let tree = Tree::read(dir.path(), false, &mut Ignored::default()).unwrap();
        let mut paths = Vec::new();
        tree.each_image(Path::new(""), &mut |path| paths.push(path.to_str().unwrap().to_string()));
        assert_eq!(paths, ["a/x.jpg", "a/set.png/y.jpg"]);
    }

    #[test]
    #[cfg(unix)]
    fn a_link_to_a_folder_above_it_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/up")).unwrap();
        let error = Tree::read(dir.path(), false, &mut Ignored::default()).unwrap_err().to_string();
        assert!(error.contains("does a link lead back"), "{error}");
    }
}
