//! The chapters of the tutorial: their figures come from the reports, and only from there.

use crate::document::tutorial::{chapters, filled, readme};
use serde_json::json;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_chapters_match_their_reports() {
    let chapters = chapters(root()).unwrap();
    assert!(chapters.len() >= 5, "{} chapters", chapters.len());
    for (name, text) in chapters {
        let committed = std::fs::read_to_string(root().join(&name)).unwrap();
        // assert_eq would print both texts.
        assert!(committed == text, "{name} differs: run `cargo bench --bench report`");
    }
}

#[test]
fn the_readme_has_the_published_figures_of_the_reports() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme(root(), &text).unwrap() == text, "README.md differs: run `cargo bench --bench report`");
    assert!(text.contains("| small-net | sparsified | top-1 % | 55.62 |"), "{text}");
    let message = readme(root(), "# lopper\n").unwrap_err().to_string();
    assert!(message.contains("README.md: expected a block published"), "{message}");
}

/// `text` without code, links and the values of markers.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for (i, part) in text.split("```").enumerate() {
        if i % 2 == 1 {
            continue;
        }
        let mut rest = part;
        while let Some((before, marked)) = rest.split_once("<!-- = ") {
            out += before;
            rest = marked.split_once("<!-- / -->").expect("a marker ends").1;
        }
        out += rest;
    }
    let lines = out.lines().filter(|line| !line.starts_with("    "));
    lines.flat_map(|line| line.split('`').step_by(2).chain(["\n"])).collect()
}

/// A figure that a run gives: a number with a fraction, with separators, or in percent.
fn figure(prose: &str) -> Option<String> {
    let words = prose.split_whitespace();
    let pairs = words.clone().zip(words.skip(1).chain([""]));
    let clean = |word: &str| word.trim_matches(|c: char| !c.is_ascii_digit() && c != '%').to_string();
    pairs.map(|(word, next)| (clean(word), next)).find_map(|(word, next)| {
        let digits = word.chars().any(|c| c.is_ascii_digit());
        let fraction = word.contains(['.', ',']) || word.ends_with('%') || next.starts_with('%');
        (digits && fraction).then_some(word)
    })
}

#[test]
fn no_figure_is_written_by_hand() {
    for (name, text) in chapters(root()).unwrap() {
        assert_eq!(figure(&prose(&text)), None, "{name}: put it into a marker");
    }
    assert_eq!(figure(&prose("a 3×3 kernel, `0.5`, <!-- = a -->1.5 %<!-- / --> in 2 epochs.")), None);
    assert_eq!(figure(&prose("it scores 57.3 % here")), Some("57.3".into()));
    assert_eq!(figure(&prose("half is 50 % of it")), Some("50".into()));
    assert_eq!(figure(&prose("(1,210,410)")), Some("1,210,410".into()));
}

/// A report of two stages.
fn report() -> Vec<u8> {
    let stage = |name: &str, top1: f64, params: u64| {
        json!({
            "stage": name, "what": "prune", "top1": top1, "interval": [top1 - 0.1, top1 + 0.1], "params": params,
            "macs": 2_500_000, "bytes": 1_000_000, "latency_ms": 0.5, "latency_quartiles_ms": [0.4, 0.6],
            "logit_difference": 1.9e-6, "seconds": 75.0,
            "details": {
                "epochs": [{
                    "epoch": 0, "epochs": 1, "train_loss": 1.5, "val_loss": 1.25, "val": { "correct": 3, "total": 4 },
                    "seconds": 1.0, "images_per_second": 10.0, "learning_rate": 1e-3,
                    "sparsity": [{ "layer": "a.b", "zeros": 1, "weights": 3 }, { "layer": "c", "zeros": 1, "weights": 5 }],
                }],
                "layers": [{
                    "layer": "a.b", "kind": "conv2d", "before": null,
                    "after": { "filters": 8, "live": 6, "params": 1520, "masked": 2 },
                }],
            },
        })
    };
    let run = json!({
        "title": "t", "seed": 1, "recipe": "", "command": ["lopper"], "version": "0.1.0",
        "hardware": { "device": "cpu", "cpu": "x", "cores": 2, "memory": null }, "data": null,
    });
    let stages = [stage("base", 0.5, 1_234_567), stage("cut", 0.25, 617_283)];
    let seeds = json!({ "seeds": [1, 2], "stages": [
        { "stage": "base", "top1": [0.5, 0.5], "mean": 0.5, "interval": [0.4, 0.6], "against": [] },
        { "stage": "cut", "top1": [0.25, 0.35], "mean": 0.3, "interval": [0.1, 0.5], "against": [
            { "stage": "base", "mean": -0.2, "interval": [-0.4, 0.0] },
        ] },
    ] });
    serde_json::to_vec(&json!({ "stages": stages, "run": run, "seeds": seeds })).unwrap()
}

fn value(expression: &str) -> String {
    let text = filled(&format!("a <!-- = {expression} -->old<!-- / --> b"), Some(&report())).unwrap();
    let inside = text.split(" -->").nth(1).unwrap().split("<!-- /").next().unwrap();
    assert_eq!(text, format!("a <!-- = {expression} -->{inside}<!-- / --> b"));
    inside.to_string()
}

#[test]
fn markers_take_their_values_from_the_report() {
    for (expression, expected) in [
        ("base/params", "1,234,567"),
        ("base/params | millions", "1.2 M"),
        ("cut/top1 | percent", "25.00 %"),
        ("cut/interval | interval", "15.00–35.00 %"),
        ("cut/top1 - base/top1 | points", "−25.00 points"),
        ("cut/params / base/params | factor", "0.50"),
        ("cut/logit_difference | e", "1.9e-6"),
        ("cut/seconds | duration", "75 seconds"),
        ("base/epochs/1/train_loss | decimals", "1.5000"),
        ("base/epochs/last/sparsity/total | percent", "25.00 %"),
        ("base/epochs/1/sparsity/c/zeros", "1"),
        ("base/layers/a.b/after/params", "1,520"),
        ("base/layers/count", "1"),
        ("seeds/cut/mean | percent", "30.00 %"),
        ("seeds/cut/against/base/mean | points", "−20.00 points"),
        ("run/seed", "1"),
        ("run/hardware/device", "cpu"),
    ] {
        assert_eq!(value(expression), expected, "{expression}");
    }
    assert!(value("table").contains("| cut   | prune |   25.00 |"), "{}", value("table"));
    assert!(value("epochs base").contains("| 1 | 1.5000 | 1.2500 | 75.00 | 25.00 |"));
    let seeds = value("seeds base");
    assert!(
        seeds.contains("| cut | 30.00 (10.00 to 50.00) | 25.00, 35.00 | −20.00 (−40.00 to 0.00) |"),
        "{seeds}"
    );
    assert!(seeds.find("| base | 50.00") < seeds.find("| cut |"), "the best comes first: {seeds}");
    assert!(value("filters base").contains("| `a.b` | – | 6 of 8 | 1,520 |"));
}

#[test]
fn filling_twice_changes_nothing_and_no_report_leaves_dots() {
    let text = "x <!-- = base/params -->7<!-- / -->, <!-- = table -->\n\nold\n<!-- / -->";
    let once = filled(text, Some(&report())).unwrap();
    assert_eq!(filled(&once, Some(&report())).unwrap(), once);
    assert_eq!(
        filled(text, None).unwrap(),
        "x <!-- = base/params -->…<!-- / -->, <!-- = table -->…<!-- / -->"
    );
}

#[test]
fn bad_markers_are_named() {
    for (text, expected) in [
        ("<!-- = a/params -->x<!-- / -->", "there is no stage `a`"),
        ("<!-- = base/parms -->x<!-- / -->", "there is no `parms` in `base/parms`"),
        ("<!-- = base/params | percents -->x<!-- / -->", "`percents`: expected a format: percent"),
        ("<!-- = base/top1 -->x<!-- / -->", "expected text or an integer"),
        ("<!-- = base/stage | percent -->x<!-- / -->", "expected a number"),
        ("<!-- = base/stage - cut/top1 | points -->x<!-- / -->", "`base/stage` is no number"),
        ("<!-- = base/params -->x <!-- = cut/params -->y<!-- / -->", "expected ` -->` and then"),
        ("<!-- = base/params", "expected ` -->`"),
        ("<!-- = epochs a -->x<!-- / -->", "there is no stage `a`"),
        ("<!-- = seeds/a/mean -->x<!-- / -->", "there is no `a`"),
    ] {
        let message = filled(text, Some(&report())).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("<!-- = "), "{text}: {message}");
    }
}
