//! JSON that people can read: a line for each field and for each item of a list, unless it is nested deeper.

use lopper_engine::{Error, Result};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};
use std::io::{self, Write};

/// Values nested deeper than this are on one line: the items of a stage's details.
const DEPTH: usize = 5;

/// `value` as JSON.
///
/// # Errors
/// [`Error::Invalid`] if it cannot be written as JSON.
pub fn pretty(value: &impl Serialize) -> Result<Vec<u8>> {
    let formatter = Shallow { depth: 0, pretty: PrettyFormatter::new() };
    let mut serializer = Serializer::with_formatter(Vec::new(), formatter);
    value.serialize(&mut serializer).map_err(|e| Error::invalid(format!("writing JSON: {e}")))?;
    Ok(serializer.into_inner())
}

/// Pretty down to [`DEPTH`], compact below.
struct Shallow<'a> {
    depth: usize,
    pretty: PrettyFormatter<'a>,
}

/// Forwards a method to the pretty or the compact formatter.
macro_rules! forward {
    ($($name:ident($($argument:ident: $kind:ty),*)),+ $(,)?) => {
        $(fn $name<W: ?Sized + Write>(&mut self, writer: &mut W $(, $argument: $kind)*) -> io::Result<()> {
            match self.depth <= DEPTH {
                true => self.pretty.$name(writer $(, $argument)*),
                false => CompactFormatter.$name(writer $(, $argument)*),
            }
        })+
    };
}

/// Forwards the begin of a list or object, one level deeper, and its end.
macro_rules! nested {
    ($($begin:ident $end:ident),+) => {
        $(fn $begin<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
            self.depth += 1;
            match self.depth <= DEPTH {
                true => self.pretty.$begin(writer),
                false => CompactFormatter.$begin(writer),
            }
        }

        fn $end<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
            self.depth -= 1;
            match self.depth < DEPTH {
                true => self.pretty.$end(writer),
                false => CompactFormatter.$end(writer),
            }
        })+
    };
}

impl Formatter for Shallow<'_> {
    nested!(begin_array end_array, begin_object end_object);
    forward!(
        begin_array_value(first: bool),
        end_array_value(),
        begin_object_key(first: bool),
        end_object_key(),
        begin_object_value(),
        end_object_value(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn deep_values_are_on_one_line() {
        let value = json!({"a": [{"b": {"c": [{"d": [1, 2], "e": {}}, 3], "f": []}}]});
        let text = String::from_utf8(pretty(&value).unwrap()).unwrap();
        let expected = "{\n  \"a\": [\n    {\n      \"b\": {\n        \"c\": [\n          {\"d\":[1,2],\"e\":{}},\n          3\n        ],\n        \"f\": []\n      }\n    }\n  ]\n}";
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
