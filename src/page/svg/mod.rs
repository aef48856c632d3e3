//! Pictures as SVG. Their colors are classes of the page's style sheet, so that they suit light and dark pages.

mod axis;
mod chart;
mod curves;
mod labels;
mod pareto;

pub use axis::{Axis, Scale};
pub use chart::Chart;
pub use curves::{Curve, curves};
pub use pareto::pareto;
