//! The frame of a chart: axes, grid and titles.
//!
//! Charts are drawn 440 units wide, about the width of a phone, so that their text is readable there; on a wide screen
//! several stand side by side.

use super::axis::{Axis, tick};
use crate::page::html::Text;

/// Width of a chart.
pub const WIDTH: f64 = 440.0;

/// Margins: left, right, top, bottom.
const MARGINS: [f64; 4] = [56.0, 12.0, 10.0, 40.0];

/// A chart to draw in.
pub struct Chart {
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    height: f64,
    body: String,
}

impl Chart {
    /// A chart of this `height` with its axes, their titles and a grid.
    pub fn new(height: f64, x: (Axis, &str), (y, y_title): (Axis, &str)) -> Self {
        let mut chart = Self::plain(height, x, y);
        let [left, right, top, bottom] = chart.frame();
        for value in y.ticks(5) {
            let at = chart.up(value);
            chart.body += &format!("<path class=\"grid\" d=\"M{left:.1} {at:.1}H{right:.1}\"/>");
            chart.text("tick end", left - 6.0, at + 4.0, &tick(value));
        }
        let (at, middle) = (12.0, (top + bottom) / 2.0);
        chart.body += &format!(
            "<text class=\"title middle\" transform=\"translate({at} {middle:.1}) rotate(-90)\">{}</text>",
            Text(y_title)
        );
        chart
    }

    /// A chart whose vertical axis has neither title nor ticks.
    pub fn plain(height: f64, (x, title): (Axis, &str), y: Axis) -> Self {
        let mut chart = Self { x, y, height, body: String::new() };
        let [left, right, top, bottom] = chart.frame();
        for value in x.ticks(6) {
            let at = chart.along(value);
            chart.body += &format!("<path class=\"grid\" d=\"M{at:.1} {top:.1}V{bottom:.1}\"/>");
            chart.text("tick middle", at, bottom + 15.0, &tick(value));
        }
        chart.body += &format!("<path class=\"axis\" d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\"/>");
        chart.text("title middle", (left + right) / 2.0, height - 6.0, title);
        chart
    }

    /// The edges of the plot: left, right, top, bottom.
    pub fn frame(&self) -> [f64; 4] {
        let [left, right, top, bottom] = MARGINS;
        [left, WIDTH - right, top, self.height - bottom]
    }

    /// The horizontal position of `value`.
    pub fn along(&self, value: f64) -> f64 {
        let [left, right, ..] = self.frame();
        left + self.x.at(value) * (right - left)
    }

    /// The vertical position of `value`.
    pub fn up(&self, value: f64) -> f64 {
        let [.., top, bottom] = self.frame();
        bottom - self.y.at(value) * (bottom - top)
    }

    /// Adds SVG.
    pub fn add(&mut self, svg: &str) {
        self.body += svg;
    }

    /// Adds a text of this class.
    pub fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        self.body += &format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", Text(text));
    }

    /// Adds a line of this class through `points`; points that are not finite are left out.
    pub fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        let finite = points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
        let at: Vec<String> =
            finite.map(|&(x, y)| format!("{:.1} {:.1}", self.along(x), self.up(y))).collect();
        if at.len() > 1 {
            self.body += &format!("<path class=\"line {class}\" d=\"M{}\"/>", at.join("L"));
        }
    }

    /// The picture; `label` describes it to those who cannot see it.
    pub fn svg(self, label: &str) -> String {
        let Self { height, body, .. } = self;
        format!(
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">{body}</svg>\n",
            Text(label)
        )
    }
}
