//! Singular values of factorized layers.

use crate::page::html::{Text, section, table};
use crate::page::svg::{Axis, Curve, Scale, curves};
use crate::report::{Report, Row};

/// The tails of the singular values of a stage that factorizes.
pub fn spectra(_: &Report, row: &Row) -> String {
    let spectra = row.details.as_ref().map_or(&[][..], |details| &details.spectra);
    if spectra.is_empty() {
        return String::new();
    }
    let full = |spectrum: &crate::details::Spectra| spectrum.outputs.min(spectrum.inputs).max(1) as f64;
    let curve = |of: fn(&crate::details::SingularValue, f64) -> f64| -> Vec<Curve> {
        spectra
            .iter()
            .map(|spectrum| {
                let largest = spectrum.values.first().map_or(1.0, |first| first.value);
                let at = |value: &crate::details::SingularValue| {
                    (100.0 * value.number as f64 / full(spectrum), of(value, largest))
                };
                Curve {
                    name: spectrum.layer.clone(),
                    points: spectrum.values.iter().map(at).collect(),
                    intervals: Vec::new(),
                }
            })
            .collect()
    };
    let x = (Axis { low: 0.0, high: 102.0, scale: Scale::Linear }, "kept rank, % of the full rank");
    let y = Axis { low: 0.0, high: 1.05, scale: Scale::Linear };
    let values = curves("Singular values", [x, (y, "σ / largest σ")], &curve(|v, largest| v.value / largest));
    let tails = curves("Error of each rank", [x, (y, "relative error")], &curve(|v, _| v.tail));
    let lines = spectra.iter().map(|spectrum| {
        vec![
            Text(&spectrum.layer).to_string(),
            format!("{} × {}", spectrum.outputs, spectrum.inputs),
            format!("{} of {}", spectrum.rank, full(spectrum)),
            format!("{:.4}", spectrum.error),
            format!("{:.2} %", 100.0 * spectrum.error * spectrum.error),
        ]
    });
    let headings = ["layer", "outputs × inputs", "rank", "relative error", "energy left out"];
    section(
        "spectra",
        "Singular values",
        &format!(
            "{}<div class=\"charts\">{values}{tails}</div>\n<p class=\"note\">The faster the values fall, the less the tail \
             behind the kept rank holds. The error is that of the weights; the error of the network depends on the \
             images, too.</p>\n",
            table(&headings, &[], lines)
        ),
    )
}
