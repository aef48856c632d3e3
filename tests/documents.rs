//! The pages name only files that exist.

use std::fs;
use std::path::{Path, PathBuf};

const PAGES: [&str; 8] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "BENCHMARKS.md",
    "docs/json.md",
    "docs/images.md",
    "docs/sparse-vs-pruned.md",
];

/// Extensions of source files. A page may also name model files and the like, which a user would have.
const SOURCES: [&str; 7] = [".rs", ".cu", ".cuh", ".h", ".cpp", ".py", ".sh"];

/// Every file of the repository outside build folders, with `/` before its path.
fn files(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        match path.is_dir() {
            true if ["target", ".git"].contains(&name) => {}
            true => files(&path, found),
            false => found.push(format!("/{}", path.display())),
        }
    }
}

/// The words of `text` in backticks that look like a source file.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split('`').skip(1).step_by(2).flat_map(str::split_whitespace);
    let placeholder = |word: &str| {
        word.starts_with('.') || word.contains(|c: char| "*{$<".contains(c)) || word.contains("NAME")
    };
    code.filter(move |word| SOURCES.iter().any(|end| word.ends_with(end)) && !placeholder(word))
}

#[test]
fn every_source_file_that_a_page_names_exists() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    files(&root, &mut all);
    let mut checked = 0;
    for page in PAGES {
        let text = fs::read_to_string(root.join(page)).unwrap();
        for word in named(&text) {
            checked += 1;
            let end = format!("/{word}");
            assert!(
                all.iter().any(|file| file.ends_with(&end)),
                "{page} names `{word}`, which does not exist"
            );
        }
    }
    assert!(checked > 50, "only {checked} names found");
}
