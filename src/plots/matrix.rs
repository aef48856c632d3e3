//! The confusion matrix as a picture.

use lopper_engine::train::metrics::Confusion;
use lopper_engine::{Error, Result};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Side of the matrix in pixels, at least.
const SIDE: i32 = 560;
/// Space for class names at the left, for those on top, and at the other edges.
const MARGINS: [i32; 3] = [170, 150, 20];
/// Most classes whose names fit beside the matrix, and most whose counts fit in its cells.
const NAMED: usize = 60;
const COUNTED: usize = 20;

/// Draws `confusion` as an SVG. A row is a class of images, a column a prediction; a cell's color is its share of the
/// row.
pub fn matrix(title: &str, classes: &[String], confusion: &Confusion) -> Result<String> {
    let mut text = String::new();
    draw(&mut text, title, classes, confusion)
        .map_err(|e| Error::invalid(format!("drawing the confusion matrix: {e}")))?;
    Ok(text)
}

fn draw(
    text: &mut String,
    title: &str,
    names: &[String],
    confusion: &Confusion,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let classes = confusion.classes();
    let cell = (SIDE / classes.max(1) as i32).max(2);
    let cell = if classes <= NAMED { cell.max(12) } else { cell };
    let [left, top, edge] = MARGINS;
    let side = cell * classes as i32;
    let size = [left + side + edge, top + side + edge].map(|pixels| pixels as u32);
    let root = SVGBackend::with_string(text, (size[0], size[1])).into_drawing_area();
    root.fill(&WHITE)?;
    let font = |pixels: i32, x, y| {
        TextStyle::from(("sans-serif", pixels).into_font()).pos(Pos::new(x, y)).color(&BLACK)
    };
    root.draw(&Text::new(title.to_string(), (16, 12), font(20, HPos::Left, VPos::Top)))?;
    let legend = "row: class of the image, column: prediction, color: share of the row";
    root.draw(&Text::new(legend, (16, 38), font(12, HPos::Left, VPos::Top)))?;
    let supports: Vec<u64> = confusion.by_class().iter().map(|class| class.support).collect();
    for row in 0..classes {
        for column in 0..classes {
            let count = confusion.count(row, column);
            if count == 0 {
                continue; // white, as the page
            }
            let share = count as f64 / supports[row] as f64;
            let (x, y) = (left + column as i32 * cell, top + row as i32 * cell);
            let color = if row == column { RGBColor(28, 126, 214) } else { RGBColor(232, 89, 12) };
            let fill = color.mix(0.1 + 0.9 * share).filled();
            root.draw(&Rectangle::new([(x, y), (x + cell, y + cell)], fill))?;
            if classes <= COUNTED {
                let place = (x + cell / 2, y + cell / 2);
                root.draw(&Text::new(count.to_string(), place, font(12, HPos::Center, VPos::Center)))?;
            }
        }
    }
    let frame = [(left, top), (left + side, top + side)];
    root.draw(&Rectangle::new(frame, BLACK.mix(0.4).stroke_width(1)))?;
    if classes <= NAMED {
        for (i, name) in names.iter().take(classes).enumerate() {
            let middle = i as i32 * cell + cell / 2;
            let row = font(11, HPos::Right, VPos::Center);
            root.draw(&Text::new(shortened(name), (left - 6, top + middle), row))?;
            let upright = ("sans-serif", 11).into_font().transform(FontTransform::Rotate270);
            let column = TextStyle::from(upright).pos(Pos::new(HPos::Left, VPos::Center)).color(&BLACK);
            root.draw(&Text::new(shortened(name), (left + middle, top - 6), column))?;
        }
    }
    root.present()?;
    Ok(())
}

/// A name of at most 24 characters.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(24) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_engine::train::metrics::Outcome;

    #[test]
    fn a_matrix_of_any_size_is_drawn() {
        for classes in [1, 2, 20, 61, 300] {
            let outcome = |label: u32| Outcome::of_probabilities(&vec![1.0; classes], label);
            let outcomes: Vec<Outcome> = (0..classes as u32).map(outcome).collect();
            let names: Vec<String> =
                (0..classes).map(|i| format!("cläss number {i} with a long name")).collect();
            let svg = matrix("Confusion", &names, &Confusion::of(classes, &outcomes)).unwrap();
            assert_eq!(svg.contains("cläss number 0 with a lo…"), classes <= NAMED);
        }
    }
}
