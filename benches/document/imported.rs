//! Networks read from ONNX files: beside the same ones built here, and beside other engines on the same files.

use super::pages::{or_dash, table, three};
use super::peers::{LOPPER, cases, engines};
use crate::common::rows::PeerRow;

/// Engine name of a network's times as read from ONNX.
const IMPORTED: &str = "lopper import";
/// The largest ratios that lopper aims at: to its own network, and to the fastest other engine.
const AIMS: [f64; 2] = [1.02, 0.95];

/// Returns the words above the table.
pub fn words(rows: &[PeerRow], versions: &str) -> String {
    let [own, best] = AIMS;
    let ratios = of_own(rows);
    let (met, all) = (ratios.iter().filter(|ratio| **ratio <= own).count(), ratios.len());
    let renamed = renamed(rows);
    let fast = cases(&renamed, "onnx");
    let (faster, compared) = (fast.iter().filter(|case| case.best().1 <= best).count(), fast.len());
    format!(
        "lopper writes each network to an ONNX file, and reads it back, as the others read it. *Of ours* is the time of what was
read over that of the network built here, both in turn in one process: at most {own:.2} is aimed at, and {met} of {all} cases are.
*Of best* is its time over that of the fastest other engine: at most {best:.2} is aimed at, and {faster} of {compared} are.\n\nEngines: {versions}."
    )
}

/// Returns the table of all cases.
pub fn by_case(rows: &[PeerRow]) -> String {
    let renamed = renamed(rows);
    let imported = cases(&renamed, "onnx");
    let engines = engines(&imported);
    let mut head = vec!["network", "px", "batch", "threads", "imported"];
    head.extend(&engines);
    head.extend(["of ours", "of best"]);
    let lines = imported.iter().zip(of_own(rows)).map(|(case, of_own)| {
        let PeerRow { what, size, batch, threads, .. } = case.row;
        let mut line = vec![what.clone(), size.to_string(), batch.to_string(), threads.to_string()];
        line.push(three(case.lopper_ms()));
        line.extend(engines.iter().map(|engine| or_dash(case.ms(engine).map(three))));
        line.extend([format!("{of_own:.2}"), format!("**{:.2}**", case.best().1)]);
        line
    });
    table(1, &head, lines)
}

/// The rows in which what lopper read stands for lopper, without those of its own networks.
fn renamed(rows: &[PeerRow]) -> Vec<PeerRow> {
    let read = rows.iter().filter(|row| row.engine != LOPPER).cloned();
    let name = |engine: String| if engine == IMPORTED { LOPPER.to_string() } else { engine };
    read.map(|row| PeerRow { engine: name(row.engine), ..row }).collect()
}

/// The time of each network that was read, over that of the one built here.
fn of_own(rows: &[PeerRow]) -> Vec<f64> {
    cases(rows, "onnx").iter().filter_map(|case| case.ratio(IMPORTED).map(|ratio| 1.0 / ratio)).collect()
}
