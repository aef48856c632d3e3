//! The report of a run: its rows, how it was made, and its tables.

mod about;
mod csv;
mod json;
mod published;
mod report;
mod row;
mod seeds;
mod table;

pub use about::{About, Data, Hardware, ModelHash, Resumption};
pub use csv::csv;
pub use json::pretty;
pub use published::{
    lines as published_lines, markdown as published_markdown, notes as published_notes,
    text as published_text,
};
pub use report::Report;
pub use row::Row;
pub use seeds::{SeededDifference, SeededStage, Seeds, percent as seeded_percent};
pub use table::{short, thousand_times, wide};
