//! The shape of the source tree: short files, and no circle of files that import each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The longest file, in lines.
const LONGEST: usize = 400;

const CRATES: [&str; 7] =
    ["kernels/src", "engine/src", "models/src", "compress/src", "src", "capi/src", "python/src"];

const TESTS: [&str; 6] =
    ["tests", "kernels/tests", "engine/tests", "models/tests", "compress/tests", "capi/tests"];

/// A path of modules from the root of a crate.
type Module = Vec<String>;

/// The files of a crate by module, and what they import.
#[derive(Default)]
struct Sources {
    files: BTreeMap<Module, PathBuf>,
    /// Absolute paths that a module imports.
    imports: BTreeMap<Module, Vec<Module>>,
    /// Where a module's re-exported names come from.
    exports: BTreeMap<Module, Module>,
}

impl Sources {
    fn read(root: &Path) -> Self {
        let mut sources = Self::default();
        sources.find(root, &mut Vec::new());
        let files = sources.files.clone();
        for (module, file) in &files {
            let text = fs::read_to_string(file).unwrap();
            let code = text.split("\nmod tests {").next().unwrap();
            let code: Vec<&str> = code.lines().map(|line| line.split("//").next().unwrap()).collect();
            for statement in code.join("\n").split(';') {
                sources.import(module, statement);
            }
        }
        sources
    }

    fn find(&mut self, folder: &Path, module: &mut Module) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                module.push(stem);
                self.find(&path, module);
                module.pop();
            } else if ["mod", "lib", "main"].contains(&stem.as_str()) {
                self.files.insert(module.clone(), path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                self.files.insert([module.as_slice(), &[stem]].concat(), path);
            }
        }
    }

    /// Records the imports of a `use` at the end of `statement`.
    fn import(&mut self, module: &Module, statement: &str) {
        let Some((before, tree)) = statement.rsplit_once("use ") else { return };
        let before = before.lines().last().unwrap_or("").trim();
        let public = before.starts_with("pub");
        if !public && !before.is_empty() {
            return;
        }
        let mut paths = Vec::new();
        expand(tree, &Vec::new(), &mut paths);
        for path in paths {
            let Some(path) = self.absolute(module, path) else { continue };
            if public {
                let name = path.last().unwrap().clone();
                self.exports.insert([module.as_slice(), &[name]].concat(), path.clone());
            }
            // A folder's module file re-exports its children without depending on them.
            if !(public && path.starts_with(module)) {
                self.imports.entry(module.clone()).or_default().push(path);
            }
        }
    }

    /// The path from the crate's root, or `None` if it leads to another crate.
    fn absolute(&self, module: &Module, path: Module) -> Option<Module> {
        let up = path.iter().take_while(|part| *part == "super").count();
        match path[0].as_str() {
            "crate" => Some(path[1..].to_vec()),
            "super" => Some([&module[..module.len() - up], &path[up..]].concat()),
            "self" => Some([module.as_slice(), &path[1..]].concat()),
            child => {
                let inside = [module.as_slice(), &[child.to_owned()]].concat();
                let known = self.files.keys().any(|file| file.starts_with(&inside));
                known.then(|| [module.as_slice(), &path].concat())
            }
        }
    }

    /// The module that defines the item at `path`.
    fn definer(&self, mut path: Module) -> Module {
        // Re-exports of re-exports end after a few steps.
        for _ in 0..20 {
            match self.exports.get(&path) {
                Some(origin) if *origin != path => path = origin.clone(),
                _ if self.files.contains_key(&path) => break,
                _ => drop(path.pop()),
            }
        }
        path
    }

    /// A list of files each of which imports the next, and the last the first.
    fn circle(&self) -> Option<Vec<&PathBuf>> {
        let edges: BTreeMap<&Module, BTreeSet<Module>> = self
            .imports
            .iter()
            .map(|(module, paths)| {
                let targets = paths.iter().map(|path| self.definer(path.clone()));
                (module, targets.filter(|target| target != module).collect())
            })
            .collect();
        let mut finished = BTreeSet::new();
        edges.keys().find_map(|&start| {
            let mut path = Vec::new();
            visit(start, &edges, &mut path, &mut finished)
                .map(|circle| circle.iter().map(|module| &self.files[module]).collect())
        })
    }
}

/// Follows the edges from `module`; returns the circle that closes first.
fn visit(
    module: &Module,
    edges: &BTreeMap<&Module, BTreeSet<Module>>,
    path: &mut Vec<Module>,
    finished: &mut BTreeSet<Module>,
) -> Option<Vec<Module>> {
    if let Some(begin) = path.iter().position(|earlier| earlier == module) {
        return Some(path[begin..].to_vec());
    }
    if finished.contains(module) {
        return None;
    }
    path.push(module.clone());
    let targets = edges.get(module).into_iter().flatten();
    let circle = targets.clone().find_map(|target| visit(target, edges, path, finished));
    path.pop();
    finished.insert(module.clone());
    circle
}

/// Writes out the paths of a tree such as `a::{b, c::{self, d as e}}`.
fn expand(tree: &str, prefix: &Module, paths: &mut Vec<Module>) {
    let mut depth = 0;
    let items = tree.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    for item in items.map(str::trim).filter(|item| !item.is_empty()) {
        let (path, inner) = match item.split_once('{') {
            Some((path, inner)) => (path, inner.rsplit_once('}').map(|(inner, _)| inner)),
            None => (item.split(" as ").next().unwrap(), None),
        };
        let parts = path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(String::from);
        let mut whole: Module = prefix.iter().cloned().chain(parts).collect();
        match inner {
            Some(inner) => expand(inner, &whole, paths),
            None => {
                if whole.last().is_some_and(|last| last == "self" || last == "*") {
                    whole.pop();
                }
                paths.extend((!whole.is_empty()).then_some(whole));
            }
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    for folder in CRATES {
        let sources = Sources::read(&root().join(folder));
        assert!(sources.imports.values().map(Vec::len).sum::<usize>() > 5, "{folder} has imports");
        if let Some(circle) = sources.circle() {
            panic!("these files import each other in a circle: {circle:#?}");
        }
    }
}

#[test]
fn a_circle_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("lib.rs", "mod a;\nmod b;\nmod c;\npub use b::B;\n");
    write("a.rs", "use crate::{B, c::C};\n");
    write("b.rs", "use super::c::{self, C};\n");
    write("c.rs", "use std::fmt;\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n");
    assert_eq!(Sources::read(dir.path()).circle(), None);
    write("c.rs", "use crate::a::A;\n");
    assert!(Sources::read(dir.path()).circle().is_some());
}

#[test]
fn no_file_is_longer_than_a_reader_likes() {
    let mut longest = (0, PathBuf::new());
    for folder in CRATES.into_iter().chain(["benches"]).chain(TESTS) {
        let mut sources = Sources::default();
        sources.find(&root().join(folder), &mut Vec::new());
        for file in sources.files.into_values() {
            let lines = fs::read_to_string(&file).unwrap().lines().count();
            longest = longest.max((lines, file));
        }
    }
    assert!((100..=LONGEST).contains(&longest.0), "{} has {} lines", longest.1.display(), longest.0);
}

/// Cargo finds the programs of tests, but not their modules: nobody would notice that a file which none names never runs.
#[test]
fn every_file_of_a_test_program_is_its_module() {
    let mut modules = 0;
    for folder in TESTS.iter().flat_map(|tests| fs::read_dir(root().join(tests)).unwrap()) {
        let folder = folder.unwrap().path();
        let Ok(main) = fs::read_to_string(folder.join("main.rs")) else { continue };
        let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        for file in files.filter(|file| file.extension().is_some_and(|end| end == "rs")) {
            let name = file.file_stem().unwrap().to_str().unwrap();
            // The library of the tests in C is an example, as Cargo's manifest says.
            let is_module = main.lines().any(|line| line == format!("mod {name};"));
            assert!(
                is_module || ["main", "library"].contains(&name),
                "main.rs does not name {}",
                file.display()
            );
            modules += usize::from(is_module);
        }
    }
    assert!(modules > 40, "{modules} modules");
}
