//! Opens pages in Chromium or Chrome, which must be on PATH, or in `LOPPER_CHROMIUM`. Without it, tests report that they
//! were skipped; `LOPPER_REQUIRE_CHROMIUM=1` turns that into a failure.
#![allow(dead_code, reason = "each test crate uses a part")]

use std::process::Command;

/// A browser's view of a page.
pub struct View {
    /// The document after its scripts ran.
    pub dom: String,
    /// Messages of the console, errors included.
    pub console: Vec<String>,
}

fn browser() -> Option<String> {
    if let Ok(name) = std::env::var("LOPPER_CHROMIUM") {
        return Some(name);
    }
    let runs = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    let found = ["chromium", "chromium-browser", "google-chrome"].iter().find(|name| runs(name));
    if found.is_none() {
        assert!(std::env::var_os("LOPPER_REQUIRE_CHROMIUM").is_none(), "there is no Chromium on PATH");
        eprintln!("skipped: there is no Chromium on PATH");
    }
    found.map(|name| name.to_string())
}

/// Runs the browser on `html` with `options`; the address ends in `fragment`.
pub fn run(html: &str, fragment: &str, options: &[&str]) -> Option<View> {
    let browser = browser()?;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("page.html");
    std::fs::write(&path, html).unwrap();
    let output = Command::new(&browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=10000", "--window-size=1200,1000"])
        .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
        .args(options)
        .arg(format!("file://{}{fragment}", path.display()))
        .output()
        .unwrap_or_else(|e| panic!("{browser}: {e}"));
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{browser}: {log}");
    let console = log.lines().filter(|line| line.contains("CONSOLE")).map(String::from).collect();
    Some(View { dom: dom.into_owned(), console })
}

/// The document and the console of `html` after its scripts ran.
pub fn view(html: &str, fragment: &str) -> Option<View> {
    run(html, fragment, &["--dump-dom"])
}

/// Share of pixels that are darker than a middle gray, and the number of different colors.
pub fn pixels(html: &str, options: &[&str]) -> Option<(f64, usize)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shot.png");
    let shot = format!("--screenshot={}", path.display());
    run(html, "", &[&[shot.as_str()], options].concat())?;
    let image = image::open(&path).unwrap().to_rgb8();
    let mut colors: Vec<[u8; 3]> = image.pixels().map(|pixel| pixel.0).collect();
    let dark = colors.iter().filter(|c| c.iter().map(|v| u32::from(*v)).sum::<u32>() < 3 * 128).count();
    let share = dark as f64 / colors.len() as f64;
    colors.sort_unstable();
    colors.dedup();
    Some((share, colors.len()))
}
