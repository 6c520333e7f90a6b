//! Which fields are collected, and what is asked of each.

use super::number::non_negative_integer;
use super::reader::{Reader, Value};
use super::text::Text;
use super::{BodyFacts, IncludeUsage, JsonText, ScanError, StreamOptions};
use std::ops::Range;

/// Collects the facts of a body.
pub(super) fn read(mut reader: Reader<'_>) -> Result<BodyFacts, ScanError> {
    match reader.peek()? {
        b'{' => {}
        b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => return Err(ScanError::NotAnObject),
        _ => return Err(ScanError::NotJson { offset: reader.offset() }),
    }
    let mut collector = Collector::default();
    collector.facts.layout.open_brace = reader.offset();
    collector.facts.layout.is_empty = true;
    reader.object(|reader, key| collector.field(reader, key))?;
    collector.facts.layout.close_brace = reader.offset() - 1;
    reader.end()?;
    Ok(collector.finish())
}

/// A field at the top level that is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Model,
    Stream,
    MaxTokens,
    MaxCompletionTokens,
    MaxOutputTokens,
    N,
    BestOf,
    ServiceTier,
    Messages,
    Input,
    Contents,
    PreviousResponseId,
    Background,
    StreamOptions,
    GenerationConfig,
    Metadata,
    PromptCacheKey,
    Store,
}

/// A field of `generationConfig` that is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GenerationField {
    MaxOutputTokens,
    CandidateCount,
}

#[derive(Default)]
struct Collector {
    facts: BodyFacts,
    /// A bit for each [`Field`] that was there.
    seen: u32,
    messages: Messages,
    input: Messages,
    contents: Messages,
}

#[derive(Default)]
struct Messages {
    count: Option<u32>,
    first: Option<Range<usize>>,
}

impl Collector {
    fn field(&mut self, reader: &mut Reader<'_>, key: &Text) -> Result<(), ScanError> {
        self.facts.layout.is_empty = false;
        let field = match reader.plain(key) {
            Some(name) => Field::of(name),
            None => Field::of(&reader.unescape(key)),
        };
        let Some(field) = field else {
            return reader.value().map(|_| ());
        };
        if field.is_decisive() {
            once(&mut self.seen, field as u32, field.name())?;
        }
        self.read(reader, field)
    }

    fn read(&mut self, reader: &mut Reader<'_>, field: Field) -> Result<(), ScanError> {
        let name = field.name();
        let work = &mut self.facts.work;
        let session = &mut self.facts.session;
        match field {
            Field::Model => {
                let text = string(reader, name)?;
                self.facts.model =
                    text.map(|text| JsonText { value: reader.unescape(&text), range: text.range });
            }
            Field::Stream => self.facts.stream = boolean(reader, name)?,
            Field::MaxTokens => work.output_limits.max_tokens = integer(reader, name)?,
            Field::MaxCompletionTokens => work.output_limits.max_completion_tokens = integer(reader, name)?,
            Field::MaxOutputTokens => work.output_limits.max_output_tokens = integer(reader, name)?,
            Field::N | Field::BestOf => work.n = work.n.max(integer(reader, name)?),
            Field::ServiceTier => {
                work.service_tier = string(reader, name)?.map(|text| reader.unescape(&text));
            }
            Field::Messages => self.messages = messages(reader)?,
            Field::Input => self.input = messages(reader)?,
            Field::Contents => self.contents = messages(reader)?,
            Field::PreviousResponseId => {
                session.previous_response_id = string(reader, name)?.map(|text| reader.unescape(&text));
            }
            Field::Background => work.is_background = boolean(reader, name)? == Some(true),
            Field::StreamOptions => {
                self.facts.layout.stream_options = Some(stream_options(reader)?);
            }
            Field::GenerationConfig => self.generation_config(reader)?,
            Field::Metadata => session.metadata_user_id = user_id(reader)?,
            Field::PromptCacheKey => session.prompt_cache_key = hint(reader)?,
            Field::Store => session.store = boolean_hint(reader)?,
        }
        Ok(())
    }

    fn generation_config(&mut self, reader: &mut Reader<'_>) -> Result<(), ScanError> {
        let work = &mut self.facts.work;
        let mut seen = 0;
        object_or_null(reader, Field::GenerationConfig.name(), |reader, key| {
            let Some(field) = GenerationField::of(&reader.unescape(key)) else {
                return reader.value().map(|_| ());
            };
            once(&mut seen, field as u32, field.name())?;
            let value = integer(reader, field.name())?;
            match field {
                GenerationField::MaxOutputTokens => work.output_limits.gemini = value,
                GenerationField::CandidateCount => work.n = work.n.max(value),
            }
            Ok(())
        })
    }

    fn finish(self) -> BodyFacts {
        let Self { mut facts, messages, input, contents, .. } = self;
        let counted = [messages, input, contents].into_iter().find(|list| list.count.is_some());
        let Messages { count, first } = counted.unwrap_or_default();
        facts.work.message_count = count;
        facts.session.first_message = first;
        facts
    }
}

impl Field {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "model" => Self::Model,
            "stream" => Self::Stream,
            "max_tokens" => Self::MaxTokens,
            "max_completion_tokens" => Self::MaxCompletionTokens,
            "max_output_tokens" => Self::MaxOutputTokens,
            "n" => Self::N,
            "best_of" => Self::BestOf,
            "service_tier" => Self::ServiceTier,
            "messages" => Self::Messages,
            "input" => Self::Input,
            "contents" => Self::Contents,
            "previous_response_id" => Self::PreviousResponseId,
            "background" => Self::Background,
            "stream_options" => Self::StreamOptions,
            // Google's JSON takes both spellings of every field.
            "generationConfig" | "generation_config" => Self::GenerationConfig,
            "metadata" => Self::Metadata,
            "prompt_cache_key" => Self::PromptCacheKey,
            "store" => Self::Store,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Stream => "stream",
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::MaxOutputTokens => "max_output_tokens",
            Self::N => "n",
            Self::BestOf => "best_of",
            Self::ServiceTier => "service_tier",
            Self::Messages => "messages",
            Self::Input => "input",
            Self::Contents => "contents",
            Self::PreviousResponseId => "previous_response_id",
            Self::Background => "background",
            Self::StreamOptions => "stream_options",
            Self::GenerationConfig => "generationConfig",
            Self::Metadata => "metadata",
            Self::PromptCacheKey => "prompt_cache_key",
            Self::Store => "store",
        }
    }

    /// It decides routing, price or a bound, so it may be given once only.
    fn is_decisive(self) -> bool {
        match self {
            Self::Metadata | Self::PromptCacheKey | Self::Store => false,
            Self::Model
            | Self::Stream
            | Self::MaxTokens
            | Self::MaxCompletionTokens
            | Self::MaxOutputTokens
            | Self::N
            | Self::BestOf
            | Self::ServiceTier
            | Self::Messages
            | Self::Input
            | Self::Contents
            | Self::PreviousResponseId
            | Self::Background
            | Self::StreamOptions
            | Self::GenerationConfig => true,
        }
    }
}

impl GenerationField {
    fn of(name: &str) -> Option<Self> {
        match name {
            "maxOutputTokens" | "max_output_tokens" => Some(Self::MaxOutputTokens),
            "candidateCount" | "candidate_count" => Some(Self::CandidateCount),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::MaxOutputTokens => "generationConfig.maxOutputTokens",
            Self::CandidateCount => "generationConfig.candidateCount",
        }
    }
}

/// Marks a field as seen; the second time is an error.
fn once(seen: &mut u32, bit: u32, field: &'static str) -> Result<(), ScanError> {
    let mark = 1 << bit;
    if *seen & mark != 0 {
        return Err(ScanError::Repeated { field });
    }
    *seen |= mark;
    Ok(())
}

fn string(reader: &mut Reader<'_>, field: &'static str) -> Result<Option<Text>, ScanError> {
    match reader.value()? {
        Value::Null => Ok(None),
        Value::Text(text) => Ok(Some(text)),
        _ => Err(ScanError::WrongType { field, expected: "a string" }),
    }
}

fn boolean(reader: &mut Reader<'_>, field: &'static str) -> Result<Option<bool>, ScanError> {
    match reader.value()? {
        Value::Null => Ok(None),
        Value::Bool(value) => Ok(Some(value)),
        _ => Err(ScanError::WrongType { field, expected: "a boolean" }),
    }
}

fn integer(reader: &mut Reader<'_>, field: &'static str) -> Result<Option<u64>, ScanError> {
    let value = match reader.value()? {
        Value::Null => return Ok(None),
        Value::Number(range) => non_negative_integer(reader.slice(range)),
        _ => None,
    };
    value.map(Some).ok_or(ScanError::WrongType { field, expected: "a non-negative integer" })
}

/// A string that is only a hint: of another type it is as if absent.
fn hint(reader: &mut Reader<'_>) -> Result<Option<String>, ScanError> {
    match reader.value()? {
        Value::Text(text) => Ok(Some(reader.unescape(&text))),
        _ => Ok(None),
    }
}

/// The same of a boolean.
fn boolean_hint(reader: &mut Reader<'_>) -> Result<Option<bool>, ScanError> {
    match reader.value()? {
        Value::Bool(value) => Ok(Some(value)),
        _ => Ok(None),
    }
}

/// `metadata`: its `user_id`.
fn user_id(reader: &mut Reader<'_>) -> Result<Option<String>, ScanError> {
    let mut user_id = None;
    if reader.peek()? != b'{' {
        return reader.value().map(|_| None);
    }
    reader.object(|reader, key| {
        if reader.unescape(key) == "user_id" {
            user_id = hint(reader)?;
            return Ok(());
        }
        reader.value().map(|_| ())
    })?;
    Ok(user_id)
}

/// `messages`, `input` or `contents`: how many, and the first.
fn messages(reader: &mut Reader<'_>) -> Result<Messages, ScanError> {
    if reader.peek()? != b'[' {
        return Ok(match reader.value()? {
            Value::Text(text) => Messages { count: Some(1), first: Some(text.range) },
            _ => Messages::default(),
        });
    }
    let mut count = 0_u32;
    let mut first = None;
    reader.array(|reader| {
        let start = reader.offset();
        reader.value()?;
        first.get_or_insert(start..reader.offset());
        count = count.saturating_add(1);
        Ok(())
    })?;
    Ok(Messages { count: Some(count), first })
}

fn stream_options(reader: &mut Reader<'_>) -> Result<StreamOptions, ScanError> {
    let start = reader.offset();
    let mut is_empty = true;
    let mut include_usage = None;
    object_or_null(reader, Field::StreamOptions.name(), |reader, key| {
        is_empty = false;
        if reader.unescape(key) != "include_usage" {
            return reader.value().map(|_| ());
        }
        let start = reader.offset();
        let value = boolean(reader, INCLUDE_USAGE)?;
        let range = start..reader.offset();
        match include_usage.replace(IncludeUsage { value, range }) {
            Some(_) => Err(ScanError::Repeated { field: INCLUDE_USAGE }),
            None => Ok(()),
        }
    })?;
    Ok(StreamOptions { range: start..reader.offset(), is_empty, include_usage })
}

/// Walks an object; `null` is as good as an empty one.
fn object_or_null<'a>(
    reader: &mut Reader<'a>,
    name: &'static str,
    field: impl FnMut(&mut Reader<'a>, &Text) -> Result<(), ScanError>,
) -> Result<(), ScanError> {
    if reader.peek()? == b'{' {
        return reader.object(field);
    }
    match reader.value()? {
        Value::Null => Ok(()),
        _ => Err(ScanError::WrongType { field: name, expected: "an object" }),
    }
}

const INCLUDE_USAGE: &str = "stream_options.include_usage";
