//! Fixed words of the model on the wire: their names are the model's own, said once.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shared::model::{ErrorCategory, ErrorMatch};
use std::borrow::Cow;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A set of words that the model knows.
pub trait Words: Copy + 'static {
    /// What the API's document calls the set.
    const NAME: &'static str;
    /// What it says of it.
    const ABOUT: &'static str;

    /// All of them.
    fn all() -> impl Iterator<Item = Self>;

    /// Its name in JSON.
    fn name(self) -> &'static str;
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<T>(pub T);

impl<T: Words> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de, T: Words> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        T::all().find(|word| word.name() == name).map(Self).ok_or_else(|| {
            let all: Vec<&str> = T::all().map(Words::name).collect();
            D::Error::custom(format!("must be one of {}", all.join(", ")))
        })
    }
}

impl<T: Words> PartialSchema for Word<T> {
    fn schema() -> RefOr<Schema> {
        let object: Object = ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::String))
            .enum_values(Some(T::all().map(Words::name)))
            .description(Some(T::ABOUT))
            .build();
        object.into()
    }
}

impl<T: Words> ToSchema for Word<T> {
    fn name() -> Cow<'static, str> {
        T::NAME.into()
    }
}

impl Words for ErrorMatch {
    const NAME: &'static str = "ErrorMatchName";
    const ABOUT: &'static str = "How a rule's pattern is compared with an error's message and body; case never matters. \
        `contains`: it occurs somewhere; `exact`: it is the whole message or body, but for blanks around it; `regex`: the \
        regular expression, without look-around and back references, matches somewhere.";

    fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    fn name(self) -> &'static str {
        self.as_str()
    }
}

impl Words for ErrorCategory {
    const NAME: &'static str = "ErrorCategoryName";
    const ABOUT: &'static str = "What kind of fault a rule is about. All are judged alike.";

    fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    fn name(self) -> &'static str {
        self.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_word_is_read_as_it_is_written_and_another_is_told_which_there_are() {
        for category in ErrorCategory::ALL {
            let json = json!(Word(category));
            assert_eq!(json, category.as_str());
            assert_eq!(serde_json::from_value::<Word<ErrorCategory>>(json).unwrap(), Word(category));
        }
        let error = serde_json::from_value::<Word<ErrorMatch>>(json!("Exact")).unwrap_err();
        assert_eq!(error.to_string(), "must be one of contains, exact, regex");
    }
}
