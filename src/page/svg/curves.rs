//! Curves over a common axis, with a legend in HTML.

use super::axis::Axis;
use super::chart::Chart;
use crate::page::html::Text;

/// A curve.
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
    /// The low and the high end of the interval of each point; empty if there are none.
    pub intervals: Vec<(f64, f64)>,
}

/// Number of different colors.
const COLORS: usize = 6;

/// Curves with dots, which show their values when they are pointed at. `axes` are the axes with their titles.
pub fn curves(label: &str, axes: [(Axis, &str); 2], curves: &[Curve]) -> String {
    let mut chart = Chart::new(250.0, axes[0], axes[1]);
    for (i, curve) in curves.iter().enumerate() {
        let color = format!("c{}", i % COLORS);
        for (&(x, _), &(low, high)) in curve.points.iter().zip(&curve.intervals) {
            chart.line(&format!("bar {color}"), &[(x, low), (x, high)]);
        }
        chart.line(&color, &curve.points);
        for &(x, y) in curve.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let (cx, cy) = (chart.along(x), chart.up(y));
            let title = Text(format!("{}: {y:.4} at {x}", curve.name));
            chart.add(&format!(
                "<circle class=\"dot {color}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"2.5\"><title>{title}</title></circle>"
            ));
        }
    }
    let names: String = curves
        .iter()
        .enumerate()
        .map(|(i, curve)| format!("<li><i class=\"key c{}\"></i>{}</li>", i % COLORS, Text(&curve.name)))
        .collect();
    let legend = if curves.len() > 1 { format!("<ul class=\"legend\">{names}</ul>") } else { String::new() };
    format!("<figure><figcaption>{}</figcaption>{}{legend}</figure>\n", Text(label), chart.svg(label))
}
