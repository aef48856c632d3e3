//! Reading techniques from the keys of a recipe's stage.

use super::{Kind, Technique};
use serde::de::{DeserializeOwned, MapAccess};
use std::sync::Arc;

/// A technique that the table lists: its identity is a constant of its type.
pub trait Listed: Technique + Sized + 'static {
    /// The identity that [`Technique::kind`] returns.
    const KIND: Kind;
}

/// The keys of a stage that belong to one technique. They are read one by one, so that errors keep their place in the
/// file.
pub trait Keys: Default {
    /// The identity of the technique.
    const KIND: Kind;
    /// The keys; the first is the technique's name.
    const NAMES: &'static [&'static str];

    /// Reads the value of `key` from `map`. Returns `None`, and reads nothing, if the key belongs to another technique.
    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Option<Result<(), A::Error>>;

    /// Returns the technique, or `None` if none of its keys was read.
    fn technique(self) -> Option<Arc<dyn Technique>>;
}

/// A technique with one key, its name.
impl<T: Listed + DeserializeOwned> Keys for Option<T> {
    const KIND: Kind = T::KIND;
    const NAMES: &'static [&'static str] = &[T::KIND.name];

    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Option<Result<(), A::Error>> {
        (key == T::KIND.name).then(|| map.next_value().map(|options| *self = options))
    }

    fn technique(self) -> Option<Arc<dyn Technique>> {
        self.map(|technique| Arc::new(technique) as Arc<dyn Technique>)
    }
}

/// Implements [`Keys`] for a [`Listed`] technique whose fields are optional values of keys with the same names.
macro_rules! stage_keys {
    ($technique:ty { $($key:ident),+ $(,)? }) => {
        impl $crate::techniques::Keys for $technique {
            const KIND: $crate::techniques::Kind = <Self as $crate::techniques::Listed>::KIND;
            const NAMES: &'static [&'static str] = &[$(stringify!($key)),+];

            fn read<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                key: &str,
                map: &mut A,
            ) -> Option<Result<(), A::Error>> {
                match key {
                    $(stringify!($key) => Some(map.next_value().map(|value| self.$key = value)),)+
                    _ => None,
                }
            }

            fn technique(self) -> Option<std::sync::Arc<dyn $crate::techniques::Technique>> {
                let given = $(self.$key.is_some())||+;
                given.then(|| std::sync::Arc::new(self) as _)
            }
        }
    };
}
pub(crate) use stage_keys;
