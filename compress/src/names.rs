//! Options that are one word: how recipes and command lines read and print them.

use lopper_engine::Error;

/// Implements `FromStr` and `Display` for a plain enum by its serde names, for command lines and tables. Parse errors
/// list the names and call the option `$option`.
macro_rules! named {
    ($type:ty, $option:literal) => {
        impl std::str::FromStr for $type {
            type Err = lopper_engine::Error;

            fn from_str(name: &str) -> lopper_engine::Result<Self> {
                let name = serde::de::IntoDeserializer::<serde::de::value::Error>::into_deserializer(name);
                serde::Deserialize::deserialize(name)
                    .map_err(|e| lopper_engine::Error::invalid(format!("{}: {e}", $option)))
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                serde::Serialize::serialize(self, f)
            }
        }
    };
}
pub(crate) use named;

/// The error for an `option` called `found` that is none of `expected`.
pub(crate) fn unknown(option: &str, expected: &str, found: &str) -> Error {
    Error::invalid(format!("{option}: expected {expected}, found `{found}`"))
}

/// `names` as a list: "a, b or c".
pub(crate) fn one_of(names: impl IntoIterator<Item = impl Into<String>>) -> String {
    let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
    match (names.pop(), names.as_slice()) {
        (None, _) => String::new(),
        (Some(only), []) => only,
        (Some(last), first) => format!("{} or {last}", first.join(", ")),
    }
}

/// Asserts that `all` holds every variant of a plain enum, which serde's error for an unknown name lists.
#[cfg(test)]
pub(crate) fn assert_all_listed<T>(all: &[T])
where
    T: std::fmt::Display + std::str::FromStr<Err = Error>,
{
    let error = "-".parse::<T>().err().expect("no option is called `-`").to_string();
    let known: Vec<&str> = error.split('`').skip(1).step_by(2).filter(|name| *name != "-").collect();
    let mut listed: Vec<String> = all.iter().map(ToString::to_string).collect();
    assert!(!known.is_empty(), "{error}");
    listed.sort();
    let mut known: Vec<String> = known.into_iter().map(str::to_string).collect();
    known.sort();
    assert_eq!(listed, known, "{error}");
}
