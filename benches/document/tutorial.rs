//! The chapters of the tutorial: every figure is filled in from the report of a run.
//!
//! ```text
//!   docs/tutorial/NAME.md            text with markers, such as <!-- = exact/params -->157,570<!-- / -->
//!   docs/tutorial/NAME/report.json   the run; without it, the figures are …
//! ```
//!
//! A marker holds an expression, and the text behind it up to `<!-- / -->` is its value. A path leads from the name of a
//! stage, `run` or `seeds`, into the report: through fields, and through lists by number (from 0; `last`), or by the `layer`,
//! `class` or number of an `epoch` (from 1) of an item. `total` is the share of zeros of a list of layers. Two paths may be
//! joined by `-` or `/`, and `|` gives the format. `seeds` leads to the means over several seeds. The tables are `table`,
//! `epochs STAGE`, `filters STAGE` and `seeds STAGE` (differences from that stage).

use super::blocks::replaced;
use super::values::{Format, find};
use lopper::report::{Report, published_lines, wide};
use lopper_engine::{Error, Result};
use serde_json::Value;
use std::path::Path;

const OPEN: &str = "<!-- = ";
const CLOSE: &str = " -->";
const END: &str = "<!-- / -->";

/// The walkthroughs with published figures, in the order of README.md.
const WALKTHROUGHS: [&str; 4] = ["small-net", "studentnet", "traffic-signs", "vgg16"];

/// The text of a marker while there is no report.
const UNKNOWN: &str = "…";

/// Returns the chapters in `docs/tutorial` below `root` with their figures filled in: the path and the text.
///
/// # Errors
/// If a chapter or a report cannot be read, or if a marker is malformed; the error names the chapter and the marker.
pub fn chapters(root: &Path) -> Result<Vec<(String, String)>> {
    let folder = root.join("docs/tutorial");
    let failed = |e| Error::file(&folder, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(chapter) = name.strip_suffix(".md") else { continue };
        let text = std::fs::read_to_string(&path).map_err(|e| Error::file(&path, e))?;
        let json = report_of(root, chapter)?;
        let text = filled(&text, json.as_deref()).map_err(|e| Error::file(&path, e))?;
        found.push((format!("docs/tutorial/{name}"), text));
    }
    found.sort();
    Ok(found)
}

/// The report of the run `name`, if it is there.
fn report_of(root: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let path = root.join("docs/tutorial").join(name).join("report.json");
    match path.is_file() {
        true => std::fs::read(&path).map(Some).map_err(|e| Error::file(&path, e)),
        false => Ok(None),
    }
}

/// `text` of README.md with the published figures beside those of the runs, between its marks.
///
/// # Errors
/// If a report cannot be read, or a mark is missing.
pub fn readme(root: &Path, text: &str) -> Result<String> {
    let mut table = "\n| walkthrough | stage | figure | published | ours (95 % interval) | ours |\n\
                     | --- | --- | --- | ---: | ---: | --- |\n"
        .to_string();
    for name in WALKTHROUGHS {
        let Some(json) = report_of(root, name)? else { continue };
        let report: Report =
            serde_json::from_slice(&json).map_err(|e| Error::invalid(format!("{name}/report.json: {e}")))?;
        // Counts of networks for other classes are left to the chapter.
        let comparable = |cells: &[String; 5]| cells[4] != "other classes";
        for cells in published_lines(&report.stages).into_iter().filter(comparable) {
            table += &format!("| {name} | {} |\n", cells.join(" | "));
        }
    }
    replaced("README.md", text, "published", &table)
}

/// `text` with the figures of the report in `json`.
///
/// # Errors
/// If the report cannot be read, or a marker is malformed or names nothing; the error names the marker.
pub fn filled(text: &str, json: Option<&[u8]>) -> Result<String> {
    let damaged = |e| Error::invalid(format!("report.json: {e}"));
    let report = json.map(serde_json::from_slice::<Report>).transpose().map_err(damaged)?;
    let value = json.map(serde_json::from_slice::<Value>).transpose().map_err(damaged)?;
    let (mut rest, mut out) = (text, String::new());
    while let Some((before, marked)) = rest.split_once(OPEN) {
        let parts = marked.split_once(CLOSE).and_then(|(expression, behind)| {
            let (inside, after) = behind.split_once(END)?;
            (!inside.contains(OPEN)).then_some((expression, inside, after))
        });
        let (expression, _, after) = parts.ok_or_else(|| {
            let begin: String = marked.chars().take(40).collect();
            Error::invalid(format!("`{OPEN}{begin}…`: expected `{CLOSE}` and then `{END}`"))
        })?;
        let shown = match (&report, &value) {
            (Some(report), Some(value)) => shown(expression, report, value)
                .map_err(|message| Error::invalid(format!("`{OPEN}{expression}{CLOSE}`: {message}")))?,
            _ => UNKNOWN.to_string(),
        };
        out += &format!("{before}{OPEN}{expression}{CLOSE}{shown}{END}");
        rest = after;
    }
    Ok(out + rest)
}

/// The value of `expression`.
fn shown(expression: &str, report: &Report, value: &Value) -> std::result::Result<String, String> {
    let stage = |name: &str| report.stage(name).ok_or_else(|| format!("there is no stage `{name}`"));
    match expression.split(' ').collect::<Vec<_>>()[..] {
        ["table"] => return Ok(format!("\n\n{}\n", wide(&report.stages))),
        ["epochs", name] => return Ok(super::values::epochs(stage(name)?)),
        ["seeds", other] => {
            let seeds = report.seeds.as_ref().ok_or("the run has one seed")?;
            return Ok(super::values::seeds(seeds, other));
        }
        ["filters", name] => return Ok(super::values::filters(stage(name)?)),
        _ => {}
    }
    let (operation, format) = match expression.split_once(" | ") {
        Some((operation, format)) => (operation, Some(Format::parse(format)?)),
        None => (expression, None),
    };
    let number = |path: &str| find(value, path)?.as_f64().ok_or_else(|| format!("`{path}` is no number"));
    let computed = if let Some((a, b)) = operation.split_once(" - ") {
        Value::from(number(a)? - number(b)?)
    } else if let Some((a, b)) = operation.split_once(" / ") {
        Value::from(number(a)? / number(b)?)
    } else {
        find(value, operation)?
    };
    Format::show(format, &computed)
}
