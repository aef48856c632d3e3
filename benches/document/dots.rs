//! Dot plots (Cleveland 1984): one row per case, one dot per series, with side-by-side panels that share their rows.
//!
//! ```text
//!   title
//!   subtitle                                        ● ours  ● theirs
//!               panel                 panel
//!   case A      ··●····|·●······  0.6 ···●···|●······  0.8
//!   case B      ·····●·|●·······  0.9 ··●····|··●····  0.7
//!               0.5    1     2        0.5    1     2
//! ```

use lopper_engine::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const WIDTH: i32 = 960;
const ROW: i32 = 24;
/// Space above and below the rows, left of them, right of each panel, and between panels.
const TOP: i32 = 112;
const BOTTOM: i32 = 56;
const LEFT: i32 = 220;
const RIGHT: i32 = 56;
const GAP: i32 = 20;

const PAPER: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(31, 35, 40);
const MUTED: RGBColor = RGBColor(89, 99, 110);
const GRID: RGBColor = RGBColor(209, 217, 224);

/// Style for viewers that prefer dark pages: style rules override the attributes that plotters writes.
const DARK: &str = "<style>@media (prefers-color-scheme: dark) {\
    [fill=\"#FFFFFF\"] { fill: #0D1117 } [fill=\"#1F2328\"] { fill: #E6EDF3 } [fill=\"#59636E\"] { fill: #9198A1 } \
    [stroke=\"#1F2328\"] { stroke: #9198A1 } [stroke=\"#D1D9E0\"] { stroke: #3D444D } }</style>\n";

/// Chart.
pub struct Chart {
    pub title: String,
    pub subtitle: String,
    /// Label below the ticks.
    pub axis: String,
    /// Names and colors; the first series is drawn larger and on top.
    pub series: Vec<(String, RGBColor)>,
    /// Tick values, ascending; the first and the last are the ends of the axis.
    pub ticks: Vec<f64>,
    pub logarithmic: bool,
    /// Value of the reference line.
    pub reference: f64,
    pub rows: Vec<String>,
    pub panels: Vec<Panel>,
}

/// One of the side-by-side plots.
pub struct Panel {
    pub title: String,
    /// For each row, the value of each series, if it has one.
    pub values: Vec<Vec<Option<f64>>>,
    /// Text to the right of each row.
    pub notes: Vec<String>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

impl Chart {
    /// Returns the chart as SVG, for light and dark pages.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        self.draw(&mut svg).map_err(|e| Error::invalid(format!("drawing {}: {e}", self.title)))?;
        let after_tag = svg.find(">\n").map_or(0, |at| at + 2);
        svg.insert_str(after_tag, DARK);
        Ok(svg)
    }

    fn bottom(&self) -> i32 {
        TOP + ROW * self.rows.len() as i32
    }

    fn draw(&self, svg: &mut String) -> Drawn {
        let size = (WIDTH as u32, (self.bottom() + BOTTOM) as u32);
        let area = SVGBackend::with_string(svg, size).into_drawing_area();
        area.fill(&PAPER)?;
        text(&area, &self.title, (20, 26), 23, INK, HPos::Left)?;
        text(&area, &self.subtitle, (20, 50), 15, MUTED, HPos::Left)?;
        let mut x = 20;
        for (name, color) in &self.series {
            area.draw(&Circle::new((x + 5, 74), 5, color.filled()))?;
            text(&area, name, (x + 16, 74), 15, INK, HPos::Left)?;
            x += 36 + 8 * name.chars().count() as i32;
        }
        for (row, name) in self.rows.iter().enumerate() {
            text(&area, name, (LEFT - 14, middle(row)), 15, INK, HPos::Right)?;
        }
        let count = self.panels.len() as i32;
        let width = (WIDTH - LEFT - GAP * (count - 1)) / count;
        for (i, panel) in self.panels.iter().enumerate() {
            let left = LEFT + i as i32 * (width + GAP);
            self.draw_panel(&area, panel, left, left + width - RIGHT)?;
        }
        area.present()?;
        Ok(())
    }

    fn draw_panel(&self, area: &Area, panel: &Panel, left: i32, right: i32) -> Drawn {
        let at = |value: f64| left + ((right - left) as f64 * self.position(value)).round() as i32;
        let bottom = self.bottom();
        text(area, &panel.title, ((left + right) / 2, TOP - 16), 15, MUTED, HPos::Center)?;
        for &tick in &self.ticks {
            area.draw(&PathElement::new([(at(tick), TOP), (at(tick), bottom)], GRID))?;
            text(area, &tick.to_string(), (at(tick), bottom + 14), 14, MUTED, HPos::Center)?;
        }
        text(area, &self.axis, ((left + right) / 2, bottom + 36), 15, MUTED, HPos::Center)?;
        let line = [(at(self.reference), TOP), (at(self.reference), bottom)];
        area.draw(&PathElement::new(line, INK.stroke_width(2)))?;
        for (row, values) in panel.values.iter().enumerate() {
            let y = middle(row);
            area.draw(&PathElement::new([(left, y), (right, y)], GRID))?;
            let dots: Vec<_> = values.iter().zip(&self.series).enumerate().collect();
            for (series, (value, (_, color))) in dots.into_iter().rev() {
                if let Some(value) = value {
                    let radius = if series == 0 { 7 } else { 5 };
                    area.draw(&Circle::new((at(*value), y), radius + 1, PAPER.filled()))?;
                    area.draw(&Circle::new((at(*value), y), radius, color.filled()))?;
                }
            }
        }
        for (row, note) in panel.notes.iter().enumerate() {
            text(area, note, (right + 12, middle(row)), 15, INK, HPos::Left)?;
        }
        Ok(())
    }

    /// Returns the position of a value between the ends of the axis, 0..=1, clamped to the ends.
    fn position(&self, value: f64) -> f64 {
        let scale = |v: f64| if self.logarithmic { v.ln() } else { v };
        let (first, last) = (scale(self.ticks[0]), scale(self.ticks[self.ticks.len() - 1]));
        ((scale(value) - first) / (last - first)).clamp(0.0, 1.0)
    }
}

fn middle(row: usize) -> i32 {
    TOP + ROW * row as i32 + ROW / 2
}

fn text(area: &Area, text: &str, at: (i32, i32), size: i32, color: RGBColor, anchor: HPos) -> Drawn {
    let style = ("sans-serif", size).into_font().color(&color).pos(Pos::new(anchor, VPos::Center));
    area.draw_text(text, &style, at)?;
    Ok(())
}
