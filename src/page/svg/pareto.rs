//! Accuracy against latency: a point for each stage, and a line from each to the stage that it starts from.

use super::axis::Axis;
use super::chart::Chart;
use super::labels::{Box2, place};
use crate::page::html::Text;
use crate::report::Row;

/// Height of the picture.
const HEIGHT: f64 = 340.0;

/// Height of a label, and the mean width of one of its characters.
const LABEL: (f64, f64) = (13.0, 6.3);

/// Longest label in characters.
const LONGEST: usize = 18;

/// The picture, without its style sheet. None if no stage has an accuracy.
pub fn pareto(rows: &[Row]) -> Option<String> {
    let shown: Vec<(usize, &Row, f64)> =
        rows.iter().enumerate().filter_map(|(i, row)| Some((i, row, row.top1?))).collect();
    if shown.is_empty() {
        return None;
    }
    let latencies = rows.iter().flat_map(|row| {
        let (low, high) = row.latency_quartiles_ms;
        [row.latency_ms, low, high].into_iter().filter(|&ms| ms > 0.0)
    });
    let ends = shown.iter().flat_map(|(_, row, top1)| {
        let (low, high) = row.interval.unwrap_or((*top1, *top1));
        [100.0 * low, 100.0 * high]
    });
    let x = Axis::logarithmic(latencies);
    let axes = [(x, "latency of one image, ms (logarithmic)"), (Axis::over(ends), "top-1 %")];
    let mut chart = Chart::new(HEIGHT, axes[0], axes[1]);
    lines(&mut chart, rows);
    let largest = rows.iter().map(|row| row.bytes).max().unwrap_or(1).max(1) as f64;
    let mut points = Vec::new();
    for (i, row, top1) in &shown {
        let radius = 3.5 + 5.5 * (row.bytes as f64 / largest).sqrt();
        let at = (chart.along(row.latency_ms), chart.up(100.0 * top1), radius);
        point(&mut chart, row, *top1, at, i % 6);
        points.push(at);
    }
    label(&mut chart, &shown, &points);
    Some(chart.svg("Accuracy against latency of each stage"))
}

/// Lines from each stage to the one that it starts from.
fn lines(chart: &mut Chart, rows: &[Row]) {
    for row in rows {
        let from = row.from.as_ref().and_then(|name| rows.iter().find(|other| other.stage == *name));
        let ends = from.and_then(|from| {
            Some([(from.latency_ms, 100.0 * from.top1?), (row.latency_ms, 100.0 * row.top1?)])
        });
        if let Some(ends) = ends {
            chart.line("from", &ends);
        }
    }
}

/// The point of a stage at `(x, y, radius)`, with the bars of its intervals.
fn point(chart: &mut Chart, row: &Row, top1: f64, (x, y, radius): (f64, f64, f64), color: usize) {
    let color = format!("c{color}");
    if let Some((low, high)) = row.interval {
        chart.line(&format!("bar {color}"), &[(row.latency_ms, 100.0 * low), (row.latency_ms, 100.0 * high)]);
    }
    let (fast, slow) = row.latency_quartiles_ms;
    if 0.0 < fast && fast < slow {
        chart.line(&format!("bar {color}"), &[(fast, 100.0 * top1), (slow, 100.0 * top1)]);
    }
    let params = row.params as f64 / 1e6;
    let title =
        format!("{}: {:.2} %, {:.3} ms, {params:.2} M parameters", row.stage, 100.0 * top1, row.latency_ms);
    chart.add(&format!(
        "<circle class=\"point {color}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"><title>{}</title></circle>",
        Text(title)
    ));
}

/// The places of the bars of a stage.
fn bars(chart: &Chart, row: &Row, top1: f64) -> Vec<Box2> {
    let (x, y) = (chart.along(row.latency_ms), chart.up(100.0 * top1));
    let upright = row.interval.map(|(low, high)| {
        let (top, bottom) = (chart.up(100.0 * high), chart.up(100.0 * low));
        Box2 { x: x - 1.0, y: top, w: 2.0, h: bottom - top }
    });
    let (fast, slow) = row.latency_quartiles_ms;
    let level = (0.0 < fast && fast < slow).then(|| {
        let (left, right) = (chart.along(fast), chart.along(slow));
        Box2 { x: left, y: y - 1.0, w: right - left, h: 2.0 }
    });
    upright.into_iter().chain(level).collect()
}

/// The names of the stages, with a thin line to the point if it is not beside it.
fn label(chart: &mut Chart, shown: &[(usize, &Row, f64)], points: &[(f64, f64, f64)]) {
    let (height, width) = LABEL;
    let names: Vec<String> = shown
        .iter()
        .map(|(_, row, _)| match row.stage.chars().count() > LONGEST {
            true => row.stage.chars().take(LONGEST - 1).chain(['…']).collect(),
            false => row.stage.clone(),
        })
        .collect();
    let sizes: Vec<(f64, f64)> =
        names.iter().map(|name| (width * name.chars().count() as f64 + 4.0, height)).collect();
    let [left, right, top, bottom] = chart.frame();
    let frame = Box2 { x: left + 2.0, y: top, w: right - left - 2.0, h: bottom - top };
    let bars: Vec<Box2> = shown.iter().flat_map(|(_, row, top1)| bars(chart, row, *top1)).collect();
    for ((label, name), &(x, y, radius)) in place(points, &sizes, &bars, frame).iter().zip(&names).zip(points)
    {
        let (near_x, near_y) = (x.clamp(label.x, label.x + label.w), y.clamp(label.y, label.y + label.h));
        if (near_x - x).hypot(near_y - y) > radius + 8.0 {
            chart.add(&format!("<path class=\"leader\" d=\"M{x:.1} {y:.1}L{near_x:.1} {near_y:.1}\"/>"));
        }
        chart.text("label", label.x + 2.0, label.y + 0.78 * height, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_follow_the_origins_only() {
        let row = |stage: &str, from: Option<&str>, ms: f64| Row {
            stage: stage.into(),
            from: from.map(str::to_string),
            top1: Some(0.5),
            interval: Some((0.4, 0.6)),
            latency_ms: ms,
            latency_quartiles_ms: (0.9 * ms, 1.1 * ms),
            bytes: 1000,
            ..Row::default()
        };
        let rows =
            [row("a", None, 1.0), row("b", None, 2.0), row("c", Some("a"), 3.0), row("d", Some("x"), 4.0)];
        let svg = pareto(&rows).unwrap();
        assert_eq!(svg.matches("class=\"line from\"").count(), 1);
        assert_eq!((svg.matches("<circle").count(), svg.matches("class=\"label\"").count()), (4, 4));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert!(pareto(&[Row::default()]).is_none());
        let lonely = pareto(&[Row { top1: Some(1.0), ..Row::default() }]).unwrap();
        assert!(!lonely.contains("NaN") && !lonely.contains("inf"), "{lonely}");
    }
}
