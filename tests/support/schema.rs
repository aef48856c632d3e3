//! Checks JSON values against the tables of `docs/json.md` as a schema.

use serde_json::Value;
use std::collections::BTreeMap;

/// Objects, by the heading that describes them.
pub struct Schema(BTreeMap<String, Vec<Field>>);

struct Field {
    name: String,
    optional: bool,
    kind: String,
}

impl Schema {
    /// Reads the page: a `## Heading` and the table below it describe an object.
    pub fn parse(page: &str) -> Self {
        let mut objects = BTreeMap::<String, Vec<Field>>::new();
        let mut heading = String::new();
        for line in page.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                heading = title.to_string();
            }
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            if !line.starts_with('|') || cells[0] == "field" || cells[0].starts_with("---") {
                continue;
            }
            let name = cells[0].trim_end_matches('?').to_string();
            let optional = name != cells[0];
            objects.entry(heading.clone()).or_default().push(Field {
                name,
                optional,
                kind: cells[1].to_string(),
            });
        }
        Self(objects)
    }

    /// Returns every difference between `value` and the object under `heading`, with its path.
    pub fn differences(&self, heading: &str, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.check(heading, value, heading, &mut found);
        found
    }

    fn check(&self, kind: &str, value: &Value, path: &str, found: &mut Vec<String>) {
        if let Some(other) = kind.strip_suffix(" or null") {
            if !value.is_null() {
                self.check(other, value, path, found);
            }
            return;
        }
        if let Some(element) = kind.strip_prefix('[').and_then(|k| k.strip_suffix(']')) {
            match value.as_array() {
                Some(list) => list.iter().for_each(|v| self.check(element, v, &format!("{path}[]"), found)),
                None => found.push(format!("{path}: expected a list, found {value}")),
            }
            return;
        }
        let fits = match kind {
            "map" => value.is_object(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_u64(),
            "number" => value.is_number(),
            object => return self.check_object(object, value, path, found),
        };
        if !fits {
            found.push(format!("{path}: expected {kind}, found {value}"));
        }
    }

    fn check_object(&self, heading: &str, value: &Value, path: &str, found: &mut Vec<String>) {
        let (Some(fields), Some(object)) = (self.0.get(heading), value.as_object()) else {
            found.push(format!("{path}: expected an object described under {heading:?}, found {value}"));
            return;
        };
        for Field { name, optional, kind } in fields {
            match object.get(name) {
                Some(value) => self.check(kind, value, &format!("{path}.{name}"), found),
                None if *optional => {}
                None => found.push(format!("{path}.{name}: missing")),
            }
        }
        for name in object.keys().filter(|name| fields.iter().all(|field| field.name != **name)) {
            found.push(format!("{path}.{name}: not documented"));
        }
    }
}
