//! Curves over a common axis.

use lopper_engine::{Error, Result};
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 520);

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
    /// Intervals: a position, its low end and its high end.
    pub intervals: Vec<(f64, f64, f64)>,
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

    /// The ranges of both axes, with a margin.
    fn ranges(&self) -> [(f64, f64); 2] {
        let points = self.curves.iter().flat_map(|curve| {
            let ends = curve.intervals.iter().flat_map(|&(x, low, high)| [(x, low), (x, high)]);
            curve.points.iter().copied().chain(ends)
        });
        let finite: Vec<(f64, f64)> =
            points.map(|(x, y)| (self.at(x), y)).filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        let range = |values: &mut dyn Iterator<Item = f64>| {
            let (low, high) =
                values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
            let margin = if high > low { 0.05 * (high - low) } else { 0.5 };
            if low <= high { (low - margin, high + margin) } else { (0.0, 1.0) }
        };
        [range(&mut finite.iter().map(|p| p.0)), range(&mut finite.iter().map(|p| p.1))]
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
        let tick = |x: &f64| if self.logarithmic { format!("{:.1e}", 10f64.powf(*x)) } else { plain(*x) };
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&tick)
            .light_line_style(WHITE.mix(0.0))
            .draw()?;
        for (i, curve) in self.curves.iter().enumerate() {
            let color = Palette99::pick(i).to_rgba();
            let points = curve.points.iter().map(|&(x, y)| (self.at(x), y));
            let finite = points.filter(|(x, y)| x.is_finite() && y.is_finite());
            let line = chart.draw_series(LineSeries::new(finite, color.stroke_width(2)))?;
            line.label(&curve.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
            chart.draw_series(curve.intervals.iter().map(|&(x, low, high)| {
                ErrorBar::new_vertical(self.at(x), low, (low + high) / 2.0, high, color.mix(0.6), 6)
            }))?;
        }
        for (i, (name, x)) in self.marks.iter().enumerate() {
            let color = Palette99::pick(self.curves.len() + i).to_rgba();
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

/// Formats a tick: whole numbers without a fraction.
fn plain(x: f64) -> String {
    if (x - x.round()).abs() < 1e-9 { format!("{x:.0}") } else { format!("{x:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let curves = Curves { title: "a", x: "b", y: "c", logarithmic, curves: vec![curve], marks };
            let svg = curves.svg().unwrap();
            assert!(svg.contains("loss") && svg.contains("valley") && !svg.contains("NaN"), "{svg}");
        }
    }
}
