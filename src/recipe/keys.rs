//! Reading a stage: its own keys, and those of the techniques.

use super::{Reporting, Stage};
use lopper_compress::StageKeys;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use std::fmt;
use std::sync::LazyLock;

/// Keys of a stage that belong to no technique.
const BEFORE: [&str; 8] = ["name", "arch", "width", "head", "from", "fresh", "new_head", "train_on"];
const TRAIN: &str = "train";
const REPEAT: &str = "repeat";

/// All keys of a stage, in the order in which errors list them.
static KEYS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let techniques = StageKeys::NAMES.iter().copied().flatten().copied();
    BEFORE.into_iter().chain(techniques).chain([TRAIN, REPEAT]).chain(Reporting::NAMES).collect()
});

impl<'de> Deserialize<'de> for Stage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("Stage", &KEYS, StageVisitor)
    }
}

struct StageVisitor;

impl<'de> Visitor<'de> for StageVisitor {
    type Value = Stage;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("struct Stage")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Stage, A::Error> {
        let (mut stage, mut techniques, mut name) = (Stage::default(), StageKeys::default(), None);
        while let Some(key) = map.next_key_seed(Key)? {
            match key {
                "name" => name = Some(map.next_value()?),
                "arch" => stage.arch = map.next_value()?,
                "width" => stage.width = map.next_value()?,
                "head" => stage.head = map.next_value()?,
                "from" => stage.from = map.next_value()?,
                "fresh" => stage.fresh = map.next_value()?,
                "new_head" => stage.new_head = map.next_value()?,
                "train_on" => stage.train_on = map.next_value()?,
                TRAIN => stage.train = map.next_value()?,
                REPEAT => stage.repeat = map.next_value()?,
                key => match stage.reporting.read(key, &mut map).or_else(|| techniques.read(key, &mut map)) {
                    Some(read) => read?,
                    None => return Err(A::Error::unknown_field(key, &KEYS)),
                },
            }
        }
        let name = name.ok_or_else(|| A::Error::missing_field("name"))?;
        Ok(Stage { name, techniques: techniques.techniques(), ..stage })
    }
}

/// One of [`KEYS`]. Any other key is an error at its place in the file.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("field identifier")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<&'static str, E> {
        let known = KEYS.iter().find(|key| **key == text);
        known.copied().ok_or_else(|| E::unknown_field(text, &KEYS))
    }
}
