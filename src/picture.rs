//! The picture of a walkthrough: accuracy against latency, one point per stage, sized by its model file.

use crate::row::Row;
use lopper_engine::{Error, Result};
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 520);

/// Draws the rows as an SVG.
pub fn svg(title: &str, rows: &[Row]) -> Result<String> {
    let mut text = String::new();
    draw(&mut text, title, rows).map_err(|e| Error::invalid(format!("drawing the picture: {e}")))?;
    Ok(text)
}

fn draw(text: &mut String, title: &str, rows: &[Row]) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let intervals = rows.iter().filter_map(|r| r.interval);
    let (low, high) = intervals.fold((1.0f64, 0.0f64), |(low, high), (a, b)| (low.min(a), high.max(b)));
    // A margin of one percent on either side; the full range if no stage has an accuracy.
    let (low, high) = if low < high { (100.0 * low - 1.0, 100.0 * high + 1.0) } else { (0.0, 100.0) };
    let slowest = rows.iter().map(|r| r.latency_ms).fold(0.0, f64::max).max(1e-6);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..slowest * 1.25, low..high)?;
    chart
        .configure_mesh()
        .x_desc("latency of the inference plan, one image, ms")
        .y_desc("top-1 %, with its 95 % interval")
        .light_line_style(WHITE.mix(0.0))
        .draw()?;
    let largest = rows.iter().map(|r| r.bytes).max().unwrap_or(1).max(1) as f64;
    let mut previous: Option<(f64, f64)> = None;
    for (i, row) in rows.iter().enumerate() {
        let (Some(top1), Some(interval)) = (row.top1, row.interval) else { continue };
        let color = Palette99::pick(i).to_rgba();
        let at = (row.latency_ms, 100.0 * top1);
        if let Some(from) = previous.replace(at) {
            chart.draw_series(LineSeries::new([from, at], BLACK.mix(0.25)))?;
        }
        chart.draw_series(std::iter::once(ErrorBar::new_vertical(
            at.0,
            100.0 * interval.0,
            at.1,
            100.0 * interval.1,
            color,
            6,
        )))?;
        let radius = (5.0 + 15.0 * (row.bytes as f64 / largest).sqrt()) as i32;
        let series = chart.draw_series(std::iter::once(Circle::new(at, radius, color.mix(0.7).filled())))?;
        let label = format!("{}: {:.1} M parameters", row.stage, row.params as f64 / 1e6);
        series.label(label).legend(move |(x, y)| Circle::new((x + 8, y), 5, color.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}
