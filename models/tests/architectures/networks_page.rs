//! docs/networks.md has a row with the right numbers for every published architecture.

use lopper_models::{Options, build, names, numbered_classes, pretraining};
use std::fmt::Write;
use std::path::Path;

/// Inserts a comma after every three digits.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

/// The row of an architecture: parameters, classes, side of the images, and millions of multiply-accumulates.
fn row(name: &str) -> String {
    let published = pretraining(name).unwrap();
    let size = published.size;
    let classes = numbered_classes(published.classes);
    let graph = build(name, &Options { seed: None, ..Options::new(classes, [size, size, 3]) }).unwrap();
    let macs: u64 = graph.costs(graph.info.input).unwrap().iter().map(|cost| cost.macs).sum();
    let params = thousands(graph.param_count());
    format!(
        "| `{name}` | {params} | {} | {size} | {} |",
        published.classes,
        thousands((macs + 500_000) / 1_000_000)
    )
}

#[test]
fn the_page_has_every_architecture() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/networks.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut expected = String::new();
    // These have no published weights.
    let own = ["student_net", "small_net", "vgg8_bn", "resnet8"];
    for name in names().filter(|name| !own.contains(name)) {
        writeln!(expected, "{}", row(name)).unwrap();
    }
    let found = page.lines().skip_while(|line| !line.starts_with("| architecture | parameters")).skip(2);
    let found: String =
        found.take_while(|line| line.starts_with('|')).map(|line| format!("{line}\n")).collect();
    assert_eq!(found, expected, "the table should be\n\n{expected}");
}
