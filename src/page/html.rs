//! Text for HTML.

use std::fmt::{self, Display, Formatter, Write};

/// Text that comes from a user, such as the name of a class or a file: displayed with its special characters escaped,
/// so that it is never markup.
pub struct Text<T>(pub T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Forwards text with its special characters escaped.
struct Escaping<'a, 'b>(&'a mut Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                // A browser would replace or drop it, or read on in another direction.
                c if c.is_control() && c != '\n' && c != '\t' => self.0.write_char('\u{fffd}')?,
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.0.write_char('\u{fffd}')?,
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A section with a heading, unless its content is empty.
pub fn section(class: &str, heading: &str, content: &str) -> String {
    match content.is_empty() {
        true => String::new(),
        false => format!("<section class=\"{class}\">\n<h3>{heading}</h3>\n{content}</section>\n"),
    }
}

/// A table in a box that scrolls sideways if it is too wide. The first cell of each row is its heading, and cells are
/// HTML. Columns are figures, except the first and those at the positions `words`.
pub fn table(headings: &[&str], words: &[usize], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let class = |column: usize| if words.contains(&column) { " class=\"words\"" } else { "" };
    let mut text = String::from("<div class=\"scroll\"><table><thead><tr>");
    for (i, heading) in headings.iter().enumerate() {
        text += &format!("<th scope=\"col\"{}>{heading}</th>", class(i));
    }
    text += "</tr></thead>\n<tbody>\n";
    for row in rows {
        let mut cells = row.into_iter();
        let first = cells.next().unwrap_or_default();
        text += &format!("<tr><th scope=\"row\">{first}</th>");
        cells.enumerate().for_each(|(i, cell)| text += &format!("<td{}>{cell}</td>", class(i + 1)));
        text += "</tr>\n";
    }
    text + "</tbody></table></div>\n"
}

/// A part that is folded away on a screen and open in print.
pub fn folded(summary: &str, content: &str) -> String {
    match content.is_empty() {
        true => String::new(),
        false => format!("<details><summary>{summary}</summary>\n{content}</details>\n"),
    }
}

/// A bar of `share` of the full width, 0 to 1, of this class.
pub fn bar(class: &str, share: f64) -> String {
    let width = if share.is_finite() { 100.0 * share.clamp(0.0, 1.0) } else { 0.0 };
    format!("<i class=\"bar {class}\" style=\"width:{width:.2}%\"></i>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        let hostile = "<script>\"a\" & 'b'</script>\u{202e}\u{0}\n";
        let shown = Text(hostile).to_string();
        let expected = "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;\u{fffd}\u{fffd}\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn empty_parts_are_left_out() {
        assert_eq!(section("a", "b", ""), "");
        assert_eq!(folded("a", ""), "");
        assert!(bar("a", f64::NAN).contains("width:0.00%") && bar("a", 7.0).contains("width:100.00%"));
    }
}
