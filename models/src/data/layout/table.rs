//! A table of image paths and labels: a CSV file with a header, separated by commas, semicolons or tabs.

use super::listing::{Found, Listing, counted, listed};
use super::split::Split;
use super::tree::is_image;
use lopper_engine::{Error, Result, input};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The names of a table's columns; those that are not given are recognized by common names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Columns {
    /// Image paths, relative to the data set's directory or to the table's.
    pub path: Option<String>,
    /// Classes.
    pub label: Option<String>,
    /// Splits, by name, or whether an image is for validation.
    pub split: Option<String>,
}

const PATHS: [&str; 12] = [
    "path",
    "filepath",
    "file_path",
    "image_path",
    "file",
    "filename",
    "file_name",
    "image",
    "img",
    "image_id",
    "name",
    "id",
];
const LABELS: [&str; 10] =
    ["label", "class", "category", "target", "classid", "class_id", "label_id", "labels", "breed", "y"];
const SPLITS: [&str; 8] =
    ["split", "set", "subset", "partition", "is_valid", "is_val", "is_validation", "fold"];

/// Extensions to try for names without one, as in tables of ids.
const TRIED: [&str; 5] = ["jpg", "jpeg", "png", "JPEG", "JPG"];

/// Reads the images of the table in the file `path`, relative to `root` or else to the table's folder.
///
/// # Errors
/// [`Error::File`], with the line, if the table cannot be read, lacks a column, or names a file that does not exist or
/// a split that is unknown.
pub fn read(path: &Path, root: &Path, columns: &Columns) -> Result<Listing> {
    let bytes = input::read(path, input::MAX_TEXT_BYTES)?;
    let failed = |e: csv::Error| Error::file(path, e);
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter(bytes)).trim(csv::Trim::All).from_reader(bytes);
    let headers: Vec<String> = reader
        .byte_headers()
        .map_err(failed)?
        .iter()
        .map(|h| String::from_utf8_lossy(h).into_owned())
        .collect();
    let column =
        |what: &str, given: &Option<String>, known: &[&str]| find(path, &headers, what, given, known);
    let missing = |what: &str| {
        let found = listed(&headers);
        Error::file(
            path,
            format!("no column of {what} among {found}: give columns.{what} (--columns {what}=NAME)"),
        )
    };
    let paths = column("path", &columns.path, &PATHS)?.ok_or_else(|| missing("path"))?;
    let labels = column("label", &columns.label, &LABELS)?.ok_or_else(|| missing("label"))?;
    let splits = column("split", &columns.split, &SPLITS)?;
    let beside = path.parent().unwrap_or(Path::new(""));
    let (mut images, mut absent) = (Images::default(), Vec::new());
    for record in reader.byte_records() {
        let record = record.map_err(failed)?;
        let line = record.position().map_or(0, |at| line(bytes, at));
        let wrong = |message: String| Error::file(path, format!("line {line}: {message}"));
        let text = |column: usize| String::from_utf8_lossy(&record[column]).into_owned();
        let class = text(labels);
        if class.is_empty() {
            return Err(wrong("the label is empty".into()));
        }
        let split = splits.map(|column| split(&headers[column], &text(column))).transpose().map_err(wrong)?;
        match resolve(&os_path(&record[paths]), root, beside) {
            Some(path) => images.add(Found { split, class, path }, line).map_err(wrong)?,
            None => absent.push(format!("line {line}: no file {}", text(paths))),
        }
    }
    let found = images.listing();
    match absent.first() {
        None if found.images.is_empty() => Err(Error::file(path, "the table names no images")),
        None => Ok(found),
        Some(first) => {
            let more = counted(absent.len(), "path");
            let message = format!("{first} in {} or beside the table ({more} lead nowhere)", root.display());
            Err(Error::file(path, message))
        }
    }
}

/// The line of a record. Behind a line that ends in `\r\n`, the reader counts `\n` only after it has noted the position.
fn line(bytes: &[u8], at: &csv::Position) -> u64 {
    let behind = usize::try_from(at.byte()).ok().and_then(|byte| bytes.get(byte));
    at.line() + u64::from(behind == Some(&b'\n'))
}

/// The images of a table, each once.
#[derive(Default)]
struct Images {
    found: Vec<Found>,
    /// The line and the place of each path.
    seen: HashMap<PathBuf, (u64, usize)>,
    repeated: usize,
}

impl Images {
    /// Adds the image of a line, which may repeat an earlier one.
    fn add(&mut self, image: Found, line: u64) -> Result<(), String> {
        if let Some(&(first, at)) = self.seen.get(&image.path) {
            self.repeated += 1;
            return same(&self.found[at], &image, first);
        }
        self.seen.insert(image.path.clone(), (line, self.found.len()));
        self.found.push(image);
        Ok(())
    }

    fn listing(self) -> Listing {
        let rows = counted(self.repeated, "row");
        let note =
            (self.repeated > 0).then(|| format!("{rows} of the table repeat an image, which counts once"));
        Listing { images: self.found, notes: note.into_iter().collect(), ..Listing::default() }
    }
}

/// Checks that an image that was listed in the line `first` has the same class and split again.
fn same(image: &Found, again: &Found, first: u64) -> Result<(), String> {
    let name = again.path.display();
    if image.class != again.class {
        let (one, other) = (&image.class, &again.class);
        return Err(format!(
            "{name} has the label {other}, and {one} in line {first}: an image has one class"
        ));
    }
    let word = |split: Option<Split>| split.map_or(String::new(), |split| split.to_string());
    match image.split == again.split {
        true => Ok(()),
        false => Err(format!(
            "{name} belongs to {}, and to {} in line {first}: a network would be scored on images that it has seen",
            word(again.split),
            word(image.split)
        )),
    }
}

/// The delimiter that the header has most of.
fn delimiter(bytes: &[u8]) -> u8 {
    let header = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    let count = |delimiter: u8| header.iter().filter(|&&b| b == delimiter).count();
    [b',', b';', b'\t'].into_iter().rev().max_by_key(|&d| count(d)).unwrap_or(b',')
}

/// The position of a column: the one that is `given`, or the first of the `known` names, in any case.
fn find(
    path: &Path,
    headers: &[String],
    what: &str,
    given: &Option<String>,
    known: &[&str],
) -> Result<Option<usize>> {
    let at = |name: &str| headers.iter().position(|h| h.eq_ignore_ascii_case(name));
    match given {
        None => Ok(known.iter().find_map(|name| at(name))),
        Some(name) => match at(name) {
            Some(column) => Ok(Some(column)),
            None => {
                let found = listed(headers);
                Err(Error::file(path, format!("columns.{what}: no column `{name}`, only {found}")))
            }
        },
    }
}

/// The split that `value` names in the column `header`.
fn split(header: &str, value: &str) -> Result<Split, String> {
    let is_flag = header.to_lowercase().starts_with("is_");
    match value.to_lowercase().as_str() {
        "true" | "1" | "yes" if is_flag => Ok(Split::Val),
        "false" | "0" | "no" | "" if is_flag => Ok(Split::Train),
        name => Split::of_name(name).ok_or_else(|| {
            format!("`{value}` in column {header} is not a split: expected train, val or test")
        }),
    }
}

/// The path of bytes in a table, with `\` as a separator too.
fn os_path(bytes: &[u8]) -> PathBuf {
    #[cfg(unix)]
    if std::str::from_utf8(bytes).is_err() {
        return PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes));
    }
    PathBuf::from(String::from_utf8_lossy(bytes).replace('\\', "/"))
}

/// The path of the file `name`, relative to `root` if it is there, else in the folder `beside`.
fn resolve(name: &Path, root: &Path, beside: &Path) -> Option<PathBuf> {
    let named = |end: &str| {
        let mut path = name.as_os_str().to_owned();
        path.push(".");
        path.push(end);
        PathBuf::from(path)
    };
    let mut names = vec![name.to_path_buf()];
    if !is_image(name) {
        names.extend(TRIED.map(named));
    }
    let in_root = names.iter().find(|name| root.join(name).is_file()).cloned();
    in_root.or_else(|| {
        names
            .iter()
            .map(|name| beside.join(name))
            .find(|path| path.is_file())
            .and_then(|p| std::path::absolute(p).ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read_text(text: &str, columns: &Columns) -> Result<Vec<(Option<Split>, String, String)>> {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.png", "b c.jpg", "images/3.png"] {
            fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::write(dir.path().join("t.csv"), text).unwrap();
        let found = read(&dir.path().join("t.csv"), dir.path(), columns)?;
        Ok(found
            .images
            .into_iter()
            .map(|i| (i.split, i.class, i.path.to_str().unwrap().to_string()))
            .collect())
    }

    fn row(split: Option<Split>, class: &str, path: &str) -> (Option<Split>, String, String) {
        (split, class.into(), path.into())
    }

    #[test]
    fn separators_columns_and_splits_are_recognized() {
        let of = |text| read_text(text, &Columns::default()).unwrap();
        let two = |split| vec![row(split, "x", "a.png"), row(split, "y", "b c.jpg")];
        assert_eq!(of("path,label\na.png,x\n\"b c.jpg\",y\n"), two(None));
        assert_eq!(of("\u{FEFF}Filename;Width;ClassId\r\na.png;3;x\r\nb c.jpg;4;y"), two(None));
        assert_eq!(of("id\tbreed\na\tx\nb c\ty\n"), two(None));
        assert_eq!(of("name,class,split\na.png,x,Validation\nb c.jpg,y,valid\n"), two(Some(Split::Val)));
        assert_eq!(of("name,class,is_valid\na.png,x,True\nb c.jpg,y,1\n"), two(Some(Split::Val)));
        assert_eq!(of("name,label\nimages\\3.png,7\n"), [row(None, "7", "images/3.png")]);
        let columns = Columns { path: Some("Where".into()), label: Some("what".into()), split: None };
        assert_eq!(read_text("what,where,label\nx,a.png,q\n", &columns).unwrap(), [row(None, "x", "a.png")]);
    }

    #[test]
    fn an_image_that_is_listed_twice_counts_once() {
        let of = |text| read_text(text, &Columns::default()).unwrap();
        assert_eq!(of("path,label\na.png,x\nb c.jpg,y\na,x\na.png,x\n").len(), 2);
    }

    #[test]
    fn wrong_tables_are_named_with_their_lines() {
        let of = |text| read_text(text, &Columns::default()).unwrap_err().to_string();
        assert!(of("path,label\na.png,x\nq.png,y\nr.png,y\n").contains("t.csv: line 3: no file q.png"));
        assert!(of("path,label\r\na.png,x\r\nq.png,y\r\n").contains("t.csv: line 3: no file q.png"));
        assert!(of("path,label\nq.png,y\nr.png,y\n").contains("2 paths lead nowhere"));
        assert!(of("path,kind\na.png,x\n").contains("no column of label among path, kind"));
        assert!(of("path,label,split\na.png,x,7\n").contains("line 2: `7` in column split is not a split"));
        assert!(of("path,label\na.png,\n").contains("line 2: the label is empty"));
        assert!(of("path,label\n").contains("the table names no images"));
        let twice = of("path,label\na.png,x\nb c.jpg,x\na.png,y\n");
        assert!(twice.contains("line 4: a.png has the label y, and x in line 2"), "{twice}");
        let leaks = of("path,label,split\na.png,x,train\na.png,x,val\n");
        assert!(leaks.contains("line 3: a.png belongs to val, and to train in line 2"), "{leaks}");
        assert!(of("path,label\na.png\n").contains("t.csv: "));
        let columns = Columns { label: Some("kind".into()), ..Columns::default() };
        let error = read_text("path,label\na.png,x\n", &columns).unwrap_err().to_string();
        assert!(error.contains("columns.label: no column `kind`, only path, label"), "{error}");
    }
}
