//! Groups of parameters with a learning rate and weight decay of their own.

use crate::number::{self, Range};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// A learning rate and weight decay for the parameters whose paths match a pattern.
///
/// A parameter belongs to the first group that matches it. Parameters that no group matches have the scheduled learning
/// rate and the optimizer's weight decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamGroup {
    /// Pattern of parameter paths, such as `layer1.*` or `*.bias`; `*` stands for any sequence of characters.
    pub params: String,
    /// Factor on the scheduled learning rate, at least 0. At 0, the parameters stay as they are.
    #[serde(default = "one")]
    pub lr_factor: f64,
    /// Weight decay in place of the optimizer's. It spares the same parameters, such as biases.
    pub weight_decay: Option<f64>,
}

fn one() -> f64 {
    1.0
}

impl ParamGroup {
    /// A group of the parameters that match `params`, with the scheduled learning rate and the optimizer's weight
    /// decay.
    pub fn new(params: impl Into<String>) -> Self {
        Self { params: params.into(), lr_factor: one(), weight_decay: None }
    }

    /// Whether the parameter at `path` matches.
    pub fn matches(&self, path: &str) -> bool {
        matches(&self.params, path)
    }

    /// Checks the options that can be checked without a network, for trainings with the maximum learning rate `max`.
    pub fn check(&self, max: f64) -> Result<()> {
        let check = |option: &str, value: f64, range: Range| {
            number::single(format_args!("group `{}`: {option}", self.params), value, range).map(drop)
        };
        check("lr_factor", self.lr_factor, Range::AtLeastZero)?;
        check("learning_rate · lr_factor", max * self.lr_factor, Range::AtLeastZero)?;
        self.weight_decay.map_or(Ok(()), |decay| check("weight_decay", decay, Range::AtLeastZero))
    }

    /// Returns an error if one of `groups` contains none of the parameters at `paths`.
    pub fn check_members(groups: &[Self], paths: impl IntoIterator<Item = String>) -> Result<()> {
        // For each group, whether a parameter matches, and whether it belongs to the group.
        let mut found = vec![(false, false); groups.len()];
        for path in paths {
            let mut matching = groups.iter().zip(&mut found).filter(|(group, _)| group.matches(&path));
            if let Some((_, first)) = matching.next() {
                *first = (true, true);
            }
            matching.for_each(|(_, (matched, _))| *matched = true);
        }
        let empty = groups.iter().zip(found).find(|(_, (_, belongs))| !belongs);
        let Some((Self { params, .. }, (matched, _))) = empty else { return Ok(()) };
        Err(Error::invalid(match matched {
            true => format!("group `{params}`: all parameters that match belong to earlier groups"),
            false => format!("group `{params}`: the network has no parameter that matches"),
        }))
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any sequence of characters.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let Some((middle, last)) = rest.rsplit_once('*') else { return text.ends_with(rest) };
    // The leftmost place for each part leaves the most text to the parts behind it.
    for part in middle.split('*') {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, tried out: quadratic in the length, and exponential in the number of stars.
    fn plainly(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skipped| plainly(rest, &text[skipped..])),
            Some((c, rest)) => text.first() == Some(c) && plainly(rest, &text[1..]),
        }
    }

    #[test]
    fn patterns_match_paths() {
        for (pattern, path, expected) in [
            ("fc.*", "fc.weight", true),
            ("fc.*", "fc1.weight", false),
            ("*.bias", "layer1.0.conv1.bias", true),
            ("layer*.conv1.*", "layer1.0.conv1.weight", true),
            ("layer*.conv1.*", "layer1.0.conv2.weight", false),
            ("*", "fc.weight", true),
            ("fc.weight", "fc.weight", true),
            ("fc", "fc.weight", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    proptest! {
        #[test]
        fn matching_follows_its_definition(pattern in "[ab*]{0,7}", text in "[ab]{0,9}") {
            prop_assert_eq!(matches(&pattern, &text), plainly(pattern.as_bytes(), text.as_bytes()));
        }
    }

    #[test]
    fn invalid_options_are_named() {
        let group =
            |lr_factor: f64, weight_decay| ParamGroup { lr_factor, weight_decay, ..ParamGroup::new("fc.*") };
        for (group, words) in [
            (group(-1.0, None), "group `fc.*`: lr_factor: expected at least 0, found -1"),
            (group(f64::NAN, None), "lr_factor: expected at least 0, found NaN"),
            (group(1e39, None), "lr_factor"),
            (group(1e-36, None), "learning_rate · lr_factor"),
            (group(1.0, Some(-0.1)), "group `fc.*`: weight_decay: expected at least 0, found -0.1"),
        ] {
            let message = group.check(1e-3).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
        assert!(group(0.0, Some(0.0)).check(1e-3).is_ok());
    }
}
