//! Reading JSON of providers that keep to no schema: typed, borrowed, no tree, and never strict.
//!
//! In a [`lenient!`] struct every field is optional: absent, `null` or of another type reads as its default;
//! unknown fields are skipped, of a repeated one the last counts (as in `JSON.parse`). Only bytes that are
//! not JSON fail. This is what keeps one odd field of one relay from turning an answer into "malformed".

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Declares a struct that reads leniently: `struct Name<'a> { field: Type = "key", … }`. A type is another
/// lenient struct, [`Text`], [`Scalar`], [`Count`], [`Flag`], [`Raw`] or [`Many`].
macro_rules! lenient {
    ($(#[$meta:meta])* $vis:vis struct $name:ident $(<$lt:lifetime>)? {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $ty:ty = $key:literal,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default)]
        $vis struct $name $(<$lt>)? {
            $($(#[$field_meta])* $field_vis $field: $ty,)*
        }

        impl<'de $(: $lt, $lt)?> $crate::protocol::lenient::Members<'de> for $name $(<$lt>)? {
            const KEYS: &'static [&'static str] = &[$($key),*];

            fn take<A: serde::de::MapAccess<'de>>(
                &mut self,
                key: &'static str,
                map: &mut A,
            ) -> Result<(), A::Error> {
                match key {
                    $($key => self.$field = map.next_value()?,)*
                    _ => {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    }
                }
                Ok(())
            }
        }

        impl<'de $(: $lt, $lt)?> serde::Deserialize<'de> for $name $(<$lt>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::protocol::lenient::object(deserializer)
            }
        }
    };
}
pub(crate) use lenient;

/// Reads a whole document; `None` when it is not JSON.
pub(crate) fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    serde_json::from_slice(json).ok()
}

/// A string; anything else is `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text<'a>(pub(crate) Option<Cow<'a, str>>);

impl<'a> Text<'a> {
    /// The text; `""` when there is none.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// The text, unless there is none or it is empty.
    pub(crate) fn filled(self) -> Option<Cow<'a, str>> {
        self.0.filter(|text| !text.is_empty())
    }
}

/// A string or a number, as text; anything else is `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scalar<'a>(pub(crate) Option<Cow<'a, str>>);

/// A whole number that is not negative; anything else is `None`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count(pub(crate) Option<u64>);

/// True; anything else is false.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flag(pub(crate) bool);

/// Any value, unread. Strings in it may even hold half a surrogate pair, which relays that cut an emoji
/// between two events do send.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Raw<'a>(pub(crate) Option<&'a RawValue>);

impl<'a> Raw<'a> {
    /// The value's JSON, unless it says nothing: absent, `null`, `false`, `""`, `[]`, `{}`.
    pub(crate) fn filled(self) -> Option<&'a str> {
        let json = self.0?.get();
        let is_filled = match json.as_bytes() {
            [b'n' | b'f', ..] | [] => false,
            [b'"', rest @ ..] => rest.len() > 1,
            [b'[', rest @ ..] | [b'{', rest @ ..] => {
                !rest.trim_ascii_start().starts_with(match json.as_bytes() {
                    [b'[', ..] => b"]",
                    _ => b"}",
                })
            }
            _ => true,
        };
        is_filled.then_some(json)
    }

    /// True unless the value says nothing.
    pub(crate) fn is_filled(self) -> bool {
        self.filled().is_some()
    }
}

/// Things that can be merged into one.
pub(crate) trait Fold: Default {
    /// Takes the next one in.
    fn fold(&mut self, next: Self);
}

/// An array, folded into one; anything else is no array.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Many<T> {
    /// True when it is an array at all.
    pub(crate) is_array: bool,
    /// How many elements it has.
    pub(crate) count: usize,
    /// Its elements, merged.
    pub(crate) folded: T,
}

/// The keys of a [`lenient!`] struct.
pub(crate) trait Members<'de>: Default {
    /// The keys it reads.
    const KEYS: &'static [&'static str];
    /// Reads the value of `key`, one of `KEYS` or "".
    fn take<A: MapAccess<'de>>(&mut self, key: &'static str, map: &mut A) -> Result<(), A::Error>;
}

/// Reads a [`lenient!`] struct; its default when the value is not an object.
pub(crate) fn object<'de, T: Members<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(ObjectVisitor(PhantomData))
}

/// The visits that read as the default: everything a visitor does not want.
macro_rules! default_for {
    ($($kind:ident)*) => { $(default_for!(@ $kind);)* };
    (@ unit) => { fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok(Self::Value::default()) } };
    (@ bool) => { fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> { Ok(Self::Value::default()) } };
    (@ number) => {
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> { Ok(Self::Value::default()) }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> { Ok(Self::Value::default()) }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> { Ok(Self::Value::default()) }
    };
    (@ str) => { fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> { Ok(Self::Value::default()) } };
    (@ seq) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
    (@ map) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
}

/// What a visitor says it wants; never shown, as every value is taken.
macro_rules! expects {
    ($what:literal) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str($what)
        }
    };
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Members<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;
    expects!("an object");
    default_for!(unit bool number str seq);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut value = T::default();
        while let Some(key) = map.next_key_seed(KeySeed(T::KEYS))? {
            value.take(key, &mut map)?;
        }
        Ok(value)
    }
}

/// Reads a key as one of the known ones, "" for any other.
struct KeySeed(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = &'static str;
    expects!("a key");

    fn visit_str<E>(self, key: &str) -> Result<&'static str, E> {
        Ok(self.0.iter().copied().find(|known| *known == key).unwrap_or_default())
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;
    expects!("a string");
    default_for!(unit bool number seq map);

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Some(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Some(Cow::Owned(text.to_owned()))))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;
    expects!("a string or a number");
    default_for!(unit bool seq map);

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar(Some(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar(Some(Cow::Owned(text.to_owned()))))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar(Some(Cow::Owned(number.to_string()))))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar(Some(Cow::Owned(number.to_string()))))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar(Some(Cow::Owned(number.to_string()))))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;
    expects!("a count");
    default_for!(unit bool str seq map);

    fn visit_u64<E>(self, number: u64) -> Result<Count, E> {
        Ok(Count(Some(number)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Count, E> {
        Ok(Count(u64::try_from(number).ok()))
    }

    /// `12.0` is a count; a number beyond 2^53 written as a float is no honest one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole, not negative and below 2^53"
    )]
    fn visit_f64<E>(self, number: f64) -> Result<Count, E> {
        let is_count = number.fract() == 0.0 && (0.0..9e15).contains(&number);
        Ok(Count(is_count.then_some(number as u64)))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct FlagVisitor;

impl<'de> Visitor<'de> for FlagVisitor {
    type Value = bool;
    expects!("true or false");
    default_for!(unit number str seq map);

    fn visit_bool<E>(self, flag: bool) -> Result<bool, E> {
        Ok(flag)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FlagVisitor).map(Flag)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| Raw(Some(raw)))
    }
}

struct ManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Fold> Visitor<'de> for ManyVisitor<T> {
    type Value = Many<T>;
    expects!("an array");
    default_for!(unit bool number str map);

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Many<T>, A::Error> {
        let mut many = Many { is_array: true, count: 0, folded: T::default() };
        while let Some(element) = seq.next_element::<T>()? {
            many.count += 1;
            many.folded.fold(element);
        }
        Ok(many)
    }
}

impl<'de, T: Deserialize<'de> + Fold> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ManyVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests;
