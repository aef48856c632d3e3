//! Curves over a common axis.

use lopper_engine::{Error, Result};
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 520);
/// Height of the plot without caption and axis labels, and that of a line of the legend and its frame, in pixels, roughly.
const PLOT_HEIGHT: f64 = 400.0;
const LEGEND_LINE: f64 = 16.0;
const LEGEND_FRAME: f64 = 24.0;

/// Colors that people with any color vision can distinguish (Okabe and Ito 2008), without the yellow, which is too pale
/// for a line.
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(0, 0, 0),
    RGBColor(86, 180, 233),
];

/// A picture of curves.
pub struct Curves<'a> {
    /// Its title.
    pub title: &'a str,
    /// Description of the horizontal axis.
    pub x: &'a str,
    /// Description of the vertical axis.
    pub y: &'a str,
    /// Whether the horizontal axis is logarithmic; all its values must be positive.
    pub logarithmic: bool,
    /// The vertical range to show, or `None` for that of all points. Curves are cut off at its ends.
    pub range: Option<(f64, f64)>,
    /// The curves. Points that are not finite are left out.
    pub curves: Vec<Curve>,
    /// Positions on the horizontal axis to mark, with their names.
    pub marks: Vec<(String, f64)>,
}

/// A curve.
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
    /// The low and the high end of the interval of each point; empty if there are none.
    pub intervals: Vec<(f64, f64)>,
}

impl Curves<'_> {
    /// Draws the curves as an SVG.
    pub fn svg(&self) -> Result<String> {
        let mut text = String::new();
        self.draw(&mut text).map_err(|e| Error::invalid(format!("drawing the curve: {e}")))?;
        Ok(text)
    }

    /// The position of `x` in the picture's coordinates.
    fn at(&self, x: f64) -> f64 {
        if self.logarithmic { x.log10() } else { x }
    }

    /// The finite points of `curve`, in the picture's coordinates.
    fn points(&self, curve: &Curve) -> Vec<(f64, f64)> {
        let points = curve.points.iter().map(|&(x, y)| (self.at(x), y));
        points.filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    }

    /// The ranges of both axes, with a margin, and at the top with room for the legend.
    fn ranges(&self) -> [(f64, f64); 2] {
        let points: Vec<(f64, f64)> = self.curves.iter().flat_map(|curve| self.points(curve)).collect();
        let ends = self.curves.iter().flat_map(|curve| &curve.intervals).flat_map(|&(low, high)| [low, high]);
        let xs = spanned(points.iter().map(|point| point.0));
        let ys = self.range.unwrap_or_else(|| spanned(points.iter().map(|point| point.1).chain(ends)));
        let legend = LEGEND_FRAME + LEGEND_LINE * (self.curves.len() + self.marks.len()) as f64;
        let room = (ys.1 - ys.0) * legend / (PLOT_HEIGHT - legend).max(1.0);
        [xs, (ys.0, ys.1 + room)]
    }

    /// Most ticks of the horizontal axis: not more than whole numbers if all positions are.
    fn ticks(&self, (low, high): (f64, f64)) -> usize {
        let whole = |x: f64| !self.logarithmic && x.fract() == 0.0;
        let all_whole = self.curves.iter().flat_map(|curve| &curve.points).all(|&(x, _)| whole(x));
        if all_whole { (high - low + 1.0).clamp(2.0, 11.0) as usize } else { 11 }
    }

    fn draw(&self, text: &mut String) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let [xs, ys] = self.ranges();
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 22))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(xs.0..xs.1, ys.0..ys.1)?;
        let tick = |x: &f64| if self.logarithmic { format!("{:.0e}", 10f64.powf(*x)) } else { plain(*x) };
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .x_labels(self.ticks(xs))
            .x_label_formatter(&tick)
            .light_line_style(WHITE.mix(0.0))
            .draw()?;
        for (i, curve) in self.curves.iter().enumerate() {
            let style = COLORS[i % COLORS.len()].stroke_width(2);
            let key = move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style);
            chart.draw_series(LineSeries::new([], style))?.label(&curve.name).legend(key);
            for part in within(&self.points(curve), ys) {
                chart.draw_series(LineSeries::new(part, style))?;
            }
            let color = COLORS[i % COLORS.len()].mix(0.6);
            let bars = curve.points.iter().zip(&curve.intervals);
            chart.draw_series(
                bars.map(|(&(x, y), &(low, high))| {
                    ErrorBar::new_vertical(self.at(x), low, y, high, color, 6)
                }),
            )?;
        }
        for (i, (name, x)) in self.marks.iter().enumerate() {
            let color = COLORS[(self.curves.len() + i) % COLORS.len()];
            let ends = [(self.at(*x), ys.0), (self.at(*x), ys.1)];
            let line = chart.draw_series(LineSeries::new(ends, color.stroke_width(1)))?;
            line.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        root.present()?;
        Ok(())
    }
}

/// The range of `values`, with a margin.
fn spanned(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let margin = if high > low { 0.05 * (high - low) } else { 0.5 };
    if low <= high { (low - margin, high + margin) } else { (0.0, 1.0) }
}

/// The parts of the line through `points` whose heights are within `low..=high`. A part ends on the edge where the line
/// leaves.
fn within(points: &[(f64, f64)], (low, high): (f64, f64)) -> Vec<Vec<(f64, f64)>> {
    let inside = |y: f64| (low..=high).contains(&y);
    let (mut parts, mut part) = (Vec::new(), Vec::new());
    let mut before: Option<(f64, f64)> = None;
    for &(x, y) in points {
        if let Some((last, from)) = before
            && inside(from) != inside(y)
        {
            let edge = if from.max(y) > high { high } else { low };
            part.push((last + (x - last) * (edge - from) / (y - from), edge));
        }
        match inside(y) {
            true => part.push((x, y)),
            false => parts.push(std::mem::take(&mut part)),
        }
        before = Some((x, y));
    }
    parts.push(part);
    // A point on an edge is also where the line crosses it.
    parts.iter_mut().for_each(Vec::dedup);
    parts.retain(|part| !part.is_empty());
    parts
}

/// Formats a tick: whole numbers without a fraction.
fn plain(x: f64) -> String {
    if (x - x.round()).abs() < 1e-9 { format!("{x:.0}") } else { format!("{x:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_off_at_the_edges() {
        let line = [(0.0, 1.0), (1.0, 3.0), (2.0, 5.0), (3.0, 1.0), (4.0, 0.0), (5.0, -2.0)];
        let cut = [vec![(0.0, 1.0), (1.0, 3.0), (1.5, 4.0)], vec![(2.25, 4.0), (3.0, 1.0), (4.0, 0.0)]];
        assert_eq!(within(&line, (0.0, 4.0)), cut);
        assert_eq!(within(&line, (-9.0, 9.0)), [line.to_vec()]);
        assert_eq!(within(&line[4..], (6.0, 7.0)), Vec::<Vec<_>>::new());
    }

    #[test]
    fn a_curve_of_any_points_is_drawn() {
        for (points, logarithmic) in [
            (vec![(1.0, 2.0), (10.0, f64::NAN), (100.0, 3.0)], true),
            (vec![(1.0, 2.0)], false),
            (vec![(0.0, 2.0), (1.0, f64::INFINITY)], false),
            (Vec::new(), false),
        ] {
            let curve = Curve { name: "loss".into(), points, intervals: Vec::new() };
            let marks = vec![("valley".to_string(), 2.0)];
            let curves =
                Curves { title: "a", x: "b", y: "c", logarithmic, range: None, curves: vec![curve], marks };
            let svg = curves.svg().unwrap();
            assert!(svg.contains("loss") && svg.contains("valley") && !svg.contains("NaN"), "{svg}");
        }
    }
}
