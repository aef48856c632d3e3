//! The C compiler, and the library to link with.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// How a program is linked with lopper.
#[derive(Clone, Copy, PartialEq)]
pub enum Linkage {
    Shared,
    Static,
    /// With the shared library, under AddressSanitizer and UndefinedBehaviorSanitizer.
    Sanitized,
}

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

const SANITIZERS: [&str; 3] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"];

/// Compiles `source` with lopper into `folder`, and returns the program; `None` if there is no C compiler, or no sanitizer,
/// which is a failure only if it is required.
pub fn compile(source: &str, linkage: Linkage, folder: &Path) -> Option<PathBuf> {
    let available = runs_a_program(&[], "LOPPER_REQUIRE_C")
        && (linkage != Linkage::Sanitized || runs_a_program(&SANITIZERS, "LOPPER_REQUIRE_ASAN"));
    available.then(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = folder.join(Path::new(source).file_stem().expect("a name"));
        let mut command = compiler(&root.join(source), &program);
        command.args(WARNINGS).arg("-I").arg(root.join("include"));
        let library = library();
        match linkage {
            Linkage::Static => command.arg(library.join("liblopper.a")),
            Linkage::Sanitized => command.args(SANITIZERS),
            Linkage::Shared => &mut command,
        };
        if linkage != Linkage::Static {
            let mut rpath = std::ffi::OsString::from("-Wl,-rpath,");
            rpath.push(&library);
            command.arg("-L").arg(&library).args(["-llopper"]).arg(rpath);
            // Cargo's LD_LIBRARY_PATH, which may have the library of an earlier build, must not come first.
            if cfg!(target_os = "linux") {
                command.arg("-Wl,--disable-new-dtags");
            }
        }
        finished(command.args(["-lpthread", "-ldl", "-lm"]));
        program
    })
}

/// Runs `command` to its end, which must be a success, and returns what it printed.
#[track_caller]
pub fn finished(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("a program that starts");
    assert!(status.success(), "{command:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

/// The command that checks `source` as C++, if there is a compiler for it.
pub fn as_cpp(source: &Path) -> Option<Command> {
    let compiler = || Command::new(env::var_os("CXX").unwrap_or_else(|| "c++".into()));
    let found = compiler().arg("--version").output().is_ok_and(|output| output.status.success());
    found.then(|| {
        let mut command = compiler();
        command.args(["-x", "c++", "-std=c++11", "-fsyntax-only"]).args(WARNINGS).arg(source);
        command
    })
}

fn compiler(source: &Path, program: &Path) -> Command {
    let mut command = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
    command.args(["-std=c11", "-O1", "-o"]).arg(program).arg(source);
    command
}

/// Whether a program compiled with `options` runs. If `require` is set, it must.
fn runs_a_program(options: &[&str], require: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("empty.c"), folder.path().join("empty"));
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let works = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let runs = works(compiler(&source, &program).args(options)) && works(&mut Command::new(&program));
    assert!(
        runs || env::var_os(require).is_none(),
        "{require} is set, but the C compiler with {options:?} fails"
    );
    if !runs {
        eprintln!("skipped: the C compiler with {options:?} makes no program that runs");
    }
    runs
}

/// The folder of `liblopper`, built now: Cargo builds only libraries that Rust can link before a test. It is an example of this
/// package, among the default members of the workspace, because then it has the features that their tests have.
fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let test = env::current_exe().unwrap();
        let folder = test.parent().and_then(Path::parent).expect("target/PROFILE/deps");
        let profile = match folder.file_name().and_then(|name| name.to_str()).expect("a profile") {
            "debug" => "dev",
            name => name,
        };
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--profile", profile]);
        cargo.arg("--target-dir").arg(folder.parent().expect("target"));
        finished(cargo.args(["--manifest-path", "../Cargo.toml", "--example", "lopper"]));
        folder.join("examples")
    };
    LIBRARY.get_or_init(build).clone()
}
