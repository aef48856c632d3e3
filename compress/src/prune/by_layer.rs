//! Options that hold for all layers, or for layers by name.

use super::width::Width;
use lopper_engine::train::ParamGroup;
use lopper_engine::{Error, Result};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

/// A number for all layers, or numbers by pattern of layers such as `layer1.*`, in which `*` stands for any sequence of
/// characters. Layers that no pattern matches have none.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ByLayer<T> {
    /// The same for all.
    All(T),
    /// By pattern.
    Patterns(BTreeMap<String, T>),
}

impl<T: Copy + PartialEq + fmt::Display> ByLayer<T> {
    /// The numbers, each with its pattern if it has one.
    pub(super) fn values(&self) -> Vec<(Option<&str>, T)> {
        match self {
            Self::All(value) => vec![(None, *value)],
            Self::Patterns(values) => values.iter().map(|(p, v)| (Some(p.as_str()), *v)).collect(),
        }
    }

    /// The number of each of `widths`. `option` names the option in errors.
    ///
    /// # Errors
    /// If a pattern matches no group, or one that another pattern gives another number.
    pub(super) fn of(&self, option: &str, widths: &[Width]) -> Result<Vec<Option<T>>> {
        let values = match self {
            Self::All(value) => return Ok(vec![Some(*value); widths.len()]),
            Self::Patterns(values) => values,
        };
        let refuse = |message: String| Err(Error::invalid(format!("prune {option}: {message}")));
        let mut given: Vec<Option<(&str, T)>> = vec![None; widths.len()];
        for (pattern, &value) in values {
            let group = ParamGroup::new(pattern.as_str());
            let mut found = false;
            for (width, given) in widths.iter().zip(&mut given) {
                let Some(layer) = width.layers.iter().find(|layer| group.matches(layer)) else { continue };
                found = true;
                match given.replace((pattern, value)) {
                    Some((other, before)) if before != value => {
                        return refuse(format!(
                            "`{other}` = {before} and `{pattern}` = {value} both match `{layer}`"
                        ));
                    }
                    _ => {}
                }
            }
            if !found {
                return refuse(format!(
                    "`{pattern}` matches no layer whose channels the criterion can remove"
                ));
            }
        }
        Ok(given.into_iter().map(|given| given.map(|(_, value)| value)).collect())
    }
}

impl<T: FromStr> FromStr for ByLayer<T> {
    type Err = String;

    /// Parses a number, or `LAYER=NUMBER` several times, separated by commas.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Ok(value) = text.parse() {
            return Ok(Self::All(value));
        }
        let pair = |part: &str| {
            let parts = part.split_once('=');
            parts.and_then(|(layer, value)| Some((layer.trim().to_string(), value.trim().parse().ok()?)))
        };
        let pairs: Option<BTreeMap<String, T>> = text.split(',').map(pair).collect();
        pairs.map(Self::Patterns).ok_or_else(|| format!("expected a number or LAYER=NUMBER, found {text}"))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByLayer<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = ByLayer<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a number, or a table of numbers by pattern of layers")
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> std::result::Result<Self::Value, E> {
                T::deserialize(value.into_deserializer()).map(ByLayer::All)
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> std::result::Result<Self::Value, E> {
                T::deserialize(value.into_deserializer()).map(ByLayer::All)
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> std::result::Result<Self::Value, E> {
                T::deserialize(value.into_deserializer()).map(ByLayer::All)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Self::Value, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(ByLayer::Patterns)
            }
        }

        deserializer.deserialize_any(Either(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Table {
        share: ByLayer<f64>,
        count: Option<ByLayer<usize>>,
    }

    #[test]
    fn numbers_and_tables_are_read() {
        let table: Table = toml::from_str("share = 1\ncount = { \"a.*\" = 8 }").unwrap();
        assert_eq!(table.share, ByLayer::All(1.0));
        assert_eq!(table.count, Some(ByLayer::Patterns([("a.*".to_string(), 8)].into())));
        let wrong = toml::from_str::<Table>("share = \"much\"").unwrap_err().to_string();
        assert!(wrong.contains("a number, or a table of numbers by pattern"), "{wrong}");
        let negative = toml::from_str::<Table>("share = 1\ncount = -1").unwrap_err().to_string();
        assert!(negative.contains("-1"), "{negative}");
    }

    #[test]
    fn command_lines_write_them_behind_commas() {
        assert_eq!("0.5".parse(), Ok(ByLayer::All(0.5)));
        let both = ByLayer::Patterns([("a".to_string(), 8), ("b.*".to_string(), 16)].into());
        assert_eq!("a=8, b.*=16".parse(), Ok(both));
        let wrong = "a=8,b".parse::<ByLayer<usize>>().unwrap_err();
        assert_eq!(wrong, "expected a number or LAYER=NUMBER, found a=8,b");
    }
}
