//! The page, and the picture that stands alone.

use super::html::Text;
use super::sections;
use super::svg::pareto;
use crate::report::{Report, Row};

const FRAME: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const CHART: &str = include_str!("page/chart.css");

/// Sections of the whole report, before and after those of the stages.
const BEFORE: [fn(&Report) -> String; 3] = [sections::result, sections::seeds, sections::published];
const AFTER: [fn(&Report) -> String; 2] = [sections::recipe, sections::origin];

/// Sections of a stage.
const STAGE: [fn(&Report, &Row) -> String; 12] = [
    sections::opening,
    sections::findings,
    sections::training,
    sections::sparsity,
    sections::pruned,
    sections::filters,
    sections::constants,
    sections::spectra,
    sections::latency,
    sections::confusion,
    sections::worst,
    sections::changes,
];

/// Returns the page of `report`.
pub fn page(title: &str, report: &Report) -> String {
    let whole = |sections: &[fn(&Report) -> String]| -> String {
        sections.iter().map(|section| section(report)).collect()
    };
    let stages: String = report.stages.iter().enumerate().map(|(i, row)| stage(report, i, row)).collect();
    let links: String = report
        .stages
        .iter()
        .enumerate()
        .map(|(i, row)| format!("<a href=\"#stage-{}\">{}</a> ", i + 1, Text(&row.stage)))
        .collect();
    let links = format!(
        "<a href=\"#result\">Result</a> {links}<a href=\"#recipe\">Recipe</a> <a href=\"#repeat\">How to repeat it</a>"
    );
    frame(title, &links, &format!("{}{stages}{}", whole(&BEFORE), whole(&AFTER)))
}

/// A page with this title, links to its parts, and body. The title is text, the others are HTML.
pub(super) fn frame(title: &str, links: &str, body: &str) -> String {
    let page = FRAME
        .replace("{{style}}", &format!("{CHART}{STYLE}"))
        .replace("{{title}}", &Text(title).to_string().replace("{{", "{&#123;"))
        .replace("{{links}}", links);
    // The body comes last, so that nothing in it is replaced.
    page.replacen("{{body}}", body, 1)
}

/// A stage with its sections.
fn stage(report: &Report, index: usize, row: &Row) -> String {
    let sections: String = STAGE.iter().map(|section| section(report, row)).collect();
    let number = index + 1;
    format!(
        "<article id=\"stage-{number}\">\n<h2><span class=\"number\">{number}</span> {}</h2>\n{sections}</article>\n",
        Text(&row.stage)
    )
}

/// Returns the picture of accuracy against latency as an SVG file.
pub fn picture(title: &str, rows: &[Row]) -> String {
    let chart = pareto(rows).unwrap_or_default();
    let title = Text(title);
    if chart.is_empty() {
        return format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 440 60\" role=\"img\"><text x=\"12\" y=\"34\" \
             font-family=\"sans-serif\" font-size=\"13\">{title}: no accuracies</text></svg>\n"
        );
    }
    let body = chart.split_once('>').map_or("", |(_, body)| body);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 -26 440 366\" role=\"img\"><title>{title}</title>\
         <style>{CHART}</style><rect class=\"paper\" y=\"-26\" width=\"440\" height=\"366\"/>\
         <text class=\"caption\" x=\"12\" y=\"-8\">{title}</text>{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_cannot_pull_in_the_body() {
        let report = Report { stages: Vec::new(), run: None, seeds: None };
        let text = page("{{body}} <b>{{links}}", &report);
        assert_eq!(text.matches("<main>").count(), 1);
        assert!(text.contains("<title>{&#123;body}} &lt;b&gt;"), "{text}");
    }

    #[test]
    fn a_picture_without_accuracies_says_so() {
        assert!(picture("a & b", &[Row::default()]).contains("a &amp; b: no accuracies"));
        let svg = picture("a < b", &[Row { top1: Some(0.5), latency_ms: 1.0, ..Row::default() }]);
        assert!(svg.contains("a &lt; b") && svg.trim_end().ends_with("</svg>"), "{svg}");
    }
}
