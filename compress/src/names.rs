//! Options that are one word: read and printed by the names that serde gives them.

/// Gives a plain enum with serde names `FromStr` (the error lists the names) and `Display`, for command lines
/// and tables. `$option` is what the error calls it.
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
