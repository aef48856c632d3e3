//! Everything that the bits of a training run depend on. A checkpoint is resumed only if all of it is unchanged.

use crate::digest;
use crate::progress::note;
use crate::recipe::Stage;
use lopper_engine::{Device, Error, Result};
use lopper_models::data::{DataConfig, Splits};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Conditions under which a training run started, by name: short values verbatim, long ones as checksums.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Binding(BTreeMap<String, String>);

impl Binding {
    /// Returns the binding of `stages` on `device`, with their images and the model files that they read.
    pub fn new(
        stages: &[Stage],
        data: Option<(&DataConfig, &Splits)>,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let mut items = BTreeMap::from([
            ("version of lopper".to_string(), env!("CARGO_PKG_VERSION").to_string()),
            ("device".into(), computes(device)),
            ("seed".into(), seed.to_string()),
        ]);
        if let Some((config, splits)) = data {
            items.insert("data options".into(), digest::of_data(config));
            items.insert("images".into(), digest::of_images(splits));
        }
        for (i, stage) in stages.iter().enumerate() {
            items.insert(format!("options of stage `{}`", stage.name), digest::of_text(&stage.identity()));
            for name in stage.reads() {
                if !stages[..i].iter().any(|earlier| earlier.name == name) {
                    items.insert(format!("file {name}"), digest::of_file(Path::new(name))?);
                }
            }
        }
        items.insert(
            "order of stages".into(),
            stages.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", "),
        );
        Ok(Self(items))
    }

    /// Returns an error if `found`, the binding in the file `path`, differs. With `anyway`, only prints a note.
    pub fn check(&self, found: &Self, path: &Path, anyway: bool) -> Result<()> {
        let differing = differences(&found.0, &self.0);
        let list = differing.join("; ");
        match differing.is_empty() {
            true => Ok(()),
            false if anyway => {
                note(format_args!(
                    "{}: resuming, although it was started under other conditions ({list}): the bits will differ from \
                     those of an uninterrupted run",
                    path.display()
                ));
                Ok(())
            }
            false => Err(Error::file(
                path,
                format!(
                    "it was started under other conditions ({list}); --resume-anyway accepts that the bits differ, \
                     --force starts over"
                ),
            )),
        }
    }

    /// The conditions, by name.
    pub fn items(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

/// Describes how the conditions `then` and `now` differ.
pub fn differences(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let differs = |name: &&&String| then.get(**name) != now.get(**name);
    names.iter().filter(differs).map(|name| difference(name, then, now)).collect()
}

/// Describes how the item `name` differs.
fn difference(name: &str, then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> String {
    let value = |binding: &BTreeMap<String, String>| match binding.get(name) {
        None => "none".to_string(),
        // A checksum means nothing to a reader.
        Some(value) if value.len() == 64 => "some".into(),
        Some(value) => value.clone(),
    };
    match (value(then), value(now)) {
        (then, now) if then == now => format!("the {name} changed"),
        (then, now) => format!("{name}: {then} then, {now} now"),
    }
}

/// Describes the device as far as bits depend on it; the number of threads does not matter.
pub fn computes(device: &Device) -> String {
    match device {
        Device::Cpu(cpu) => format!("cpu, {}", cpu.isa()),
        Device::Cuda(gpu) => format!("{}, {}, {}", gpu.name(), gpu.arch(), gpu.precision().name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(items: &[(&str, &str)]) -> Binding {
        Binding(items.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    #[test]
    fn differences_are_named() {
        let [hash, other] = ["a".repeat(64), "b".repeat(64)];
        let then = binding(&[("seed", "1"), ("images", &hash), ("device", "cpu")]);
        let path = Path::new("m.checkpoint");
        assert!(then.check(&then, path, false).is_ok());
        for (now, expected) in [
            (binding(&[("seed", "2"), ("images", &hash), ("device", "cpu")]), "(seed: 1 then, 2 now)"),
            (binding(&[("seed", "1"), ("images", &other), ("device", "cpu")]), "(the images changed)"),
            (binding(&[("seed", "1"), ("device", "cpu")]), "(images: some then, none now)"),
        ] {
            let message = now.check(&then, path, false).unwrap_err().to_string();
            assert!(message.starts_with("m.checkpoint") && message.contains(expected), "{message}");
            assert!(now.check(&then, path, true).is_ok());
        }
    }
}
