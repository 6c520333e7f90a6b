//! Parses requests at the door: strict bodies and parameters, preconditions, who acts.
//!
//! A field or parameter that is not known is refused and named; so is one of the wrong type, with its path.

mod json;

use crate::error::{Error, Violation};
use crate::service::seats::Seat;
use crate::service::{Actor, IfMatch};
use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use json::Strict;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use shared::ids::Revision;
use std::future::{Future, Ready, ready};
use std::pin::Pin;

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = request.content_type().eq_ignore_ascii_case("application/json");
        let bytes = Bytes::from_request(request, payload);
        Box::pin(async move {
            if !is_json {
                return Err(Error::UnsupportedMediaType);
            }
            let bytes = bytes.await.map_err(|error| unread(&error))?;
            parse_json(&bytes).and_then(understood).map(Self)
        })
    }
}

/// A JSON object whose fields belong to several documents. No body at all is an object without fields.
#[derive(Debug)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads these fields as one document.
    pub fn take<T: DeserializeOwned>(&mut self, names: &[&str]) -> Result<T, Error> {
        let taken = names.iter().filter_map(|name| self.0.remove_entry(*name)).collect();
        Self(taken).rest()
    }

    /// Gives a field a value, unless it has one.
    pub fn default(&mut self, name: &str, value: &str) {
        self.0.entry(name).or_insert_with(|| value.into());
    }

    /// Reads what is left as one document.
    pub fn rest<T: DeserializeOwned>(self) -> Result<T, Error> {
        understood(Value::Object(self.0))
    }
}

impl FromRequest for Fields {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = request.content_type().eq_ignore_ascii_case("application/json");
        let bytes = Bytes::from_request(request, payload);
        Box::pin(async move {
            let bytes = bytes.await.map_err(|error| unread(&error))?;
            if bytes.is_empty() {
                Ok(Self(Map::new()))
            } else if is_json {
                parse_json(&bytes).and_then(understood).map(Self)
            } else {
                Err(Error::UnsupportedMediaType)
            }
        })
    }
}

/// Query parameters.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Params<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse_query(request.query_string()).map(Self))
    }
}

impl FromRequest for IfMatch {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let header = request.headers().get(header::IF_MATCH);
        ready(Ok(header.map_or(Self::Any, |value| parse_if_match(value.to_str().unwrap_or_default()))))
    }
}

impl FromRequest for Actor {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // The guard has put it there; a route that the guard let through without one is a public route.
        ready(request.extensions().get::<Actor>().cloned().ok_or(Error::Unauthenticated))
    }
}

impl FromRequest for Seat {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // The guard has put it there, for the holder of a key.
        ready(request.extensions().get::<Seat>().copied().ok_or(Error::Unauthenticated))
    }
}

/// Reads a document whose fields lie beside those of the one around it: `#[serde(flatten, deserialize_with = "beside")]`.
/// serde holds such fields back and forgets where they were; an error says it itself.
pub fn beside<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        serde::de::Error::custom(format!("{BESIDE}{path}`: {}", error.inner()))
    })
}

fn unread(error: &actix_web::Error) -> Error {
    let status = error.as_response_error().status_code();
    if status == 413 { Error::BodyTooLarge } else { Error::MalformedJson }
}

/// The text as JSON. Each field of an object is given once.
fn parse_json(bytes: &[u8]) -> Result<Value, Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize(&mut json) {
        Ok(Strict(value)) => json.end().map(|()| value).map_err(|_| Error::MalformedJson),
        Err(error) if error.inner().is_data() => {
            Err(Error::Invalid(vec![violation(&error.path().to_string(), &error.inner().to_string())]))
        }
        Err(_) => Err(Error::MalformedJson),
    }
}

/// JSON as one document.
fn understood<T: DeserializeOwned>(json: Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        Error::Invalid(vec![violation(&error.path().to_string(), &error.inner().to_string())])
    })
}

fn parse_query<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    // No stored text holds a NUL, and Postgres refuses to look for one.
    if text.contains("%00") {
        return Err(Error::Invalid(vec![Violation::new("query", "must not hold NUL")]));
    }
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map_err(|error| {
        let path = error.path().to_string();
        Error::Invalid(vec![violation(if path == "." { "query" } else { &path }, &error.inner().to_string())])
    })
}

/// A weak tag never matches (RFC 9110 §13.1.1), nor does one that is not ours.
fn parse_if_match(text: &str) -> IfMatch {
    if text.trim() == "*" {
        return IfMatch::Any;
    }
    let revision = |tag: &str| tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok().map(Revision);
    IfMatch::OneOf(text.split(',').filter_map(revision).collect())
}

/// serde's words as a field and a message.
fn violation(path: &str, text: &str) -> Violation {
    let text = text.rsplit_once(" at line ").map_or(text, |(head, _)| head);
    if let Some((field, text)) = text.strip_prefix(BESIDE).and_then(|text| text.split_once("`: ")) {
        return violation(field, text);
    }
    let named = |prefix: &str| text.strip_prefix(prefix)?.split('`').next();
    if let Some(field) = named("unknown field `") {
        return Violation::new(inside(path, field), "unknown field");
    }
    if let Some(field) = named("duplicate field `") {
        return Violation::new(inside(path, field), "is given twice");
    }
    // Of an enum: it is written as a word.
    if text.ends_with(", expected string or map") {
        return Violation::new(path, "has the wrong type");
    }
    if let Some(field) = named("missing field `") {
        return Violation::new(inside(path, field), "is missing");
    }
    Violation::new(path, text)
}

/// The path of a field, whether or not the parser's path already ends with it.
fn inside(path: &str, field: &str) -> String {
    match path {
        "." | "query" | "" => field.to_owned(),
        path if path == field || path.ends_with(&format!(".{field}")) => path.to_owned(),
        path => format!("{path}.{field}"),
    }
}

const BESIDE: &str = "beside, in `";

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Outer {
        name: String,
        #[serde(default)]
        rules: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Inner {
        source: String,
        #[serde(default)]
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    enum Kind {
        Exact,
    }

    fn parsed<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
        parse_json(json.as_bytes()).and_then(understood)
    }

    fn field_of(json: &str) -> String {
        match parsed::<Outer>(json) {
            Err(Error::Invalid(violations)) => {
                violations.iter().map(|v| format!("{}: {}", v.field, v.message)).collect()
            }
            other => panic!("{json}: {other:?}"),
        }
    }

    #[test]
    fn a_bad_field_is_named_with_its_path() {
        assert_eq!(field_of(r#"{"name":"x","colour":1}"#), "colour: unknown field");
        assert_eq!(field_of(r#"{"name":"x","rules":[{"source":"a","b":1}]}"#), "rules[0].b: unknown field");
        assert_eq!(field_of(r#"{"rules":[]}"#), "name: is missing");
        assert_eq!(field_of(r#"{"name":"x","rules":[{}]}"#), "rules[0].source: is missing");
        assert_eq!(
            field_of(r#"{"name":"x","rules":[{"source":"a","kind":7}]}"#),
            "rules[0].kind: has the wrong type"
        );
        assert_eq!(field_of(r#"{"name":"x","name":"y"}"#), "name: is given twice");
        assert_eq!(
            field_of(r#"{"name":"x","rules":[{"source":"a"},{"source":"a","source":"b"}]}"#),
            "rules[1].source: is given twice"
        );
        assert_eq!(field_of(r#"{"name":7}"#), "name: invalid type: integer `7`, expected a string");
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Around {
        name: String,
        #[serde(flatten, deserialize_with = "beside")]
        outer: Beside,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct Beside {
        #[serde(default)]
        kind: Option<Kind>,
        #[serde(default)]
        rules: Vec<Inner>,
    }

    #[test]
    fn a_bad_field_of_a_part_is_named_like_any_other() {
        let field_of = |json: &str| match parsed::<Around>(json) {
            Err(Error::Invalid(violations)) => format!("{}: {}", violations[0].field, violations[0].message),
            other => panic!("{json}: {other:?}"),
        };
        assert!(parsed::<Around>(r#"{"name":"x"}"#).is_ok());
        assert!(parsed::<Around>(r#"{"kind":"Exact","name":"x"}"#).is_ok());
        assert_eq!(field_of(r#"{"name":"x","colour":1}"#), "colour: unknown field");
        assert_eq!(field_of(r#"{"name":"x","outer":{}}"#), "outer: unknown field");
        assert_eq!(field_of(r#"{"kind":"Exact"}"#), "name: is missing");
        assert_eq!(field_of(r#"{"name":7}"#), "name: invalid type: integer `7`, expected a string");
        let wrong = field_of(r#"{"name":"x","rules":true}"#);
        assert_eq!(wrong, "rules: invalid type: boolean `true`, expected a sequence");
        assert_eq!(field_of(r#"{"name":"x","rules":[{}]}"#), "rules[0].source: is missing");
        assert_eq!(
            field_of(r#"{"name":"x","rules":[{"source":1}]}"#).split(':').next(),
            Some("rules[0].source")
        );
        assert_eq!(field_of(r#"{"name":"x","kind":"Like"}"#).split(':').next(), Some("kind"));
        assert_eq!(field_of(r#"{"kind":null,"name":"x","kind":"Exact"}"#), "kind: is given twice");
    }

    #[test]
    fn what_is_no_json_is_told_apart_from_wrong_json() {
        for text in ["", "{", "{\"name\":\"x\"} x", "\u{1}"] {
            assert!(matches!(parsed::<Outer>(text), Err(Error::MalformedJson)), "{text}");
        }
    }

    #[test]
    fn a_bad_parameter_is_named() {
        let Err(Error::Invalid(violations)) = parse_query::<Outer>("name=x&colour=1") else {
            panic!("accepted")
        };
        assert_eq!(violations, [Violation::new("colour", "unknown field")]);
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only parsed")]
        struct Page {
            limit: Option<u64>,
        }
        for (query, message) in
            [("limit=many", "invalid digit found in string"), ("limit=1&limit=2", "is given twice")]
        {
            let Err(Error::Invalid(violations)) = parse_query::<Page>(query) else { panic!("accepted") };
            assert_eq!(violations, [Violation::new("limit", message)]);
        }
    }

    #[test]
    fn if_match_takes_strong_tags_of_revisions() {
        assert_eq!(parse_if_match("*"), IfMatch::Any);
        assert_eq!(parse_if_match("\"7\", \"9\""), IfMatch::OneOf(vec![Revision(7), Revision(9)]));
        assert_eq!(parse_if_match("W/\"7\""), IfMatch::OneOf(vec![]));
        assert_eq!(parse_if_match("7"), IfMatch::OneOf(vec![]));
    }
}
