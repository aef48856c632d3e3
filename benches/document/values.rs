//! Values of a report: how a path finds one, and how it is written.

use lopper::report::{Row, Seeds, seeded_percent};
use lopper_engine::train::metrics::LayerSparsity;
use lopper_models::data::thousands;
use serde_json::Value;

/// The value at `path` in `report`.
pub fn find(report: &Value, path: &str) -> Result<Value, String> {
    let mut parts = path.split('/');
    let first = parts.next().unwrap_or_default();
    let mut at = match first {
        "run" => report["run"].clone(),
        "seeds" => report["seeds"]["stages"].clone(),
        stage => item(&report["stages"], stage).ok_or_else(|| format!("there is no stage `{stage}`"))?,
    };
    for part in parts {
        // Learning curves and the like are details.
        let inside = at.get(part).or_else(|| at.get("details")?.get(part)).cloned();
        at = inside.or_else(|| item(&at, part)).ok_or_else(|| format!("there is no `{part}` in `{path}`"))?;
    }
    Ok(at)
}

/// The item of a list that `key` names.
fn item(list: &Value, key: &str) -> Option<Value> {
    let list = list.as_array()?;
    match key {
        "last" => return list.last().cloned(),
        "count" => return Some(Value::from(list.len())),
        "total" => {
            let sum = |field: &str| list.iter().filter_map(|layer| layer[field].as_f64()).sum::<f64>();
            return Some(Value::from(sum("zeros") / sum("weights").max(1.0)));
        }
        _ => {}
    }
    let named = |item: &&Value| {
        let is = |field: &str| item[field].as_str() == Some(key);
        let among = item["layers"].as_array().is_some_and(|names| names.iter().any(|name| name == key));
        is("stage") || is("layer") || is("class") || among
    };
    let number: Option<usize> = key.parse().ok();
    let epoch = |item: &&Value| number.is_some_and(|n| n > 0 && item["epoch"].as_u64() == Some(n as u64 - 1));
    let found = list.iter().find(named).or_else(|| list.iter().find(epoch));
    found.or_else(|| list.get(number?)).cloned()
}

/// A way to write a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Percent,
    Points,
    Count,
    Millions,
    Milliseconds,
    Duration,
    Megabytes,
    Exponent,
    Factor,
    Interval,
    Decimals,
}

const FORMATS: [(&str, Format); 11] = [
    ("percent", Format::Percent),
    ("points", Format::Points),
    ("count", Format::Count),
    ("millions", Format::Millions),
    ("ms", Format::Milliseconds),
    ("duration", Format::Duration),
    ("megabytes", Format::Megabytes),
    ("e", Format::Exponent),
    ("factor", Format::Factor),
    ("interval", Format::Interval),
    ("decimals", Format::Decimals),
];

impl Format {
    /// The format of this name.
    pub fn parse(name: &str) -> Result<Self, String> {
        let known = FORMATS.iter().find(|(known, _)| *known == name).map(|(_, format)| *format);
        let names: Vec<&str> = FORMATS.iter().map(|(name, _)| *name).collect();
        known.ok_or_else(|| format!("`{name}`: expected a format: {}", names.join(", ")))
    }

    /// Writes `value`. Without a format, integers are counts, and text is itself.
    pub fn show(format: Option<Self>, value: &Value) -> Result<String, String> {
        let Some(format) = format else {
            return match value {
                Value::String(text) => Ok(text.replace('|', "\\|").replace("<!--", "")),
                Value::Number(number) if number.is_u64() => Ok(thousands(number.as_u64().unwrap_or(0))),
                other => Err(format!("{other}: expected text or an integer, or a format behind ` | `")),
            };
        };
        if format == Self::Interval {
            let ends: Vec<f64> = value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
            return match ends[..] {
                [low, high] => Ok(format!("{:.2}–{:.2} %", 100.0 * low, 100.0 * high)),
                _ => Err(format!("{value}: expected the two ends of an interval")),
            };
        }
        let number = value.as_f64().ok_or_else(|| format!("{value}: expected a number"))?;
        Ok(match format {
            Self::Percent => format!("{:.2} %", 100.0 * number),
            Self::Points => format!("{:+.2} points", 100.0 * number).replace('-', "−"),
            Self::Count => thousands(number as u64),
            Self::Millions => format!("{:.1} M", number / 1e6),
            Self::Milliseconds => format!("{number:.3} ms"),
            Self::Duration if number < 120.0 => format!("{number:.0} seconds"),
            Self::Duration if number < 7200.0 => format!("{:.0} minutes", number / 60.0),
            Self::Duration => format!("{:.1} hours", number / 3600.0),
            Self::Megabytes => format!("{:.1} MB", number / 1e6),
            Self::Exponent => format!("{number:.1e}"),
            Self::Factor => format!("{number:.2}"),
            Self::Decimals | Self::Interval => format!("{number:.4}"),
        })
    }
}

/// A table of the epochs of a stage.
pub fn epochs(row: &Row) -> String {
    let epochs = row.details.as_ref().map_or(&[][..], |details| &details.epochs);
    let mut text = "\n\n| epoch | training loss | validation loss | top-1 % | zeros % |\n\
        | ----: | ------------: | --------------: | ------: | ------: |\n"
        .to_string();
    for epoch in epochs {
        let loss = epoch.val_loss.map_or("–".into(), |loss| format!("{loss:.4}"));
        let top1 = epoch.val.map_or("–".into(), |accuracy| format!("{:.2}", 100.0 * accuracy.top1()));
        let zeros = 100.0 * LayerSparsity::total(&epoch.sparsity).fraction();
        text += &format!("| {} | {:.4} | {loss} | {top1} | {zeros:.2} |\n", epoch.number(), epoch.train_loss);
    }
    text + "\n"
}

/// A table of the means over several seeds, in decreasing order, with the differences from `other` in points.
pub fn seeds(seeds: &Seeds, other: &str) -> String {
    let mut text = format!(
        "\n\n| stage | mean top-1 % (95 %) | by seed | points against `{other}` (95 %) |\n\
        | ----- | ------------------: | ------- | -----------------------: |\n"
    );
    let mut stages: Vec<_> = seeds.stages.iter().collect();
    stages.sort_by(|a, b| b.mean.total_cmp(&a.mean));
    for stage in stages {
        let by_seed: Vec<String> = stage.top1.iter().map(|top1| format!("{:.2}", 100.0 * top1)).collect();
        let against = stage.against.iter().find(|against| against.stage == other);
        let difference = against.map_or("–".into(), |found| seeded_percent(found.mean, found.interval));
        text += &format!(
            "| {} | {} | {} | {difference} |\n",
            stage.stage,
            seeded_percent(stage.mean, stage.interval),
            by_seed.join(", ")
        );
    }
    text + "\n"
}

/// A table of the filters of a stage's layers, before and after.
pub fn filters(row: &Row) -> String {
    let layers = row.details.as_ref().map_or(&[][..], |details| &details.layers);
    let mut text =
        "\n\n| layer | before | after | weights |\n| ----- | -----: | ----: | ------: |\n".to_string();
    for line in layers {
        let count = |size: &Option<lopper::details::LayerSize>| {
            size.map_or("–".to_string(), |size| match size.live < size.filters {
                true => format!("{} of {}", size.live, size.filters),
                false => size.filters.to_string(),
            })
        };
        let params = line.after.map_or(0, |size| size.params);
        let (before, after) = (count(&line.before), count(&line.after));
        text += &format!("| `{}` | {before} | {after} | {} |\n", line.layer, thousands(params));
    }
    text + "\n"
}
