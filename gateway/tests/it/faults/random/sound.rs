//! What must hold of every answer, whatever befell the attempts.

use super::super::asks::words;
use super::cases::{Case, Speaker, input_tokens};
use super::spoken::Channel;
use serde_json::Value;
use shared::contract::usage::{ChainStep, Outcome, UsageRecord};
use shared::protocol::Dialect;
use simulator::{Ending, Served};
use std::collections::BTreeSet;

/// What a seat got.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub content_type: String,
    /// Decoded, as far as that went.
    pub text: String,
    /// The connection ended where HTTP wants it.
    pub is_whole: bool,
    /// Its encoding was passed on.
    pub was_encoded: bool,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Error,
    /// Neither: the connection was cut.
    Cut,
}

/// Everything that is wrong.
pub fn faults_of(case: &Case, got: &Got, record: &UsageRecord, asked: &[Vec<Served>]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    let ids = ids(&got.text);
    must(ids.len() <= 1, &format!("ids of several attempts: {ids:?}"));
    let documents = documents(got);
    let is_json = got.content_type.contains("json") && !got.text.is_empty();
    if is_json && got.is_whole {
        must(serde_json::from_str::<Value>(&got.text).is_ok(), "a whole answer that is no JSON");
    }
    let speaker = speech(&mut must, case, got, &documents);
    let openings = documents.iter().filter(|document| is_opening(case.dialect, document)).count();
    must(openings <= 1, &format!("{openings} openings"));
    let end = end(case, got, &documents);
    match end {
        Ok(End::Cut) => {
            // Inside what the seat must decode, and behind half an element, nothing can be said.
            let is_array = got.content_type.contains("json") && got.text.trim_start().starts_with('[');
            must(got.was_encoded || is_array, "cut, where an error could have been told");
            must(!got.is_whole, "it ends like a whole answer and is none");
        }
        Ok(End::Complete | End::Error) => must(got.is_whole, "cut behind its end"),
        Err(ref what) => must(false, what),
    }
    let served = books(&mut must, record, asked);
    if let (Ok(end), Some(speaker)) = (end, speaker) {
        let is_complete = end == End::Complete;
        let has_all = Channel::ALL.iter().all(|&channel| {
            heard(channel, case.dialect, &documents) == channel.said(case.dialect, case.script(speaker))
        });
        must(has_all || !is_complete, "complete, and a piece is missing");
        must(served.is_some() == is_complete, &format!("{end:?}, and the books say served: {served:?}"));
        if let Some((provider_id, input)) = served {
            must(provider_of(record, speaker.0) == provider_id, "another provider is booked as served");
            let told = input_tokens(speaker);
            let is_silent = case.script(speaker).no_usage;
            must(is_silent || input == told, &format!("booked {input} tokens in, told {told}"));
        }
    }
    wrong
}

/// One speaks, and says nothing but its own, in its order, once. Who that is.
pub fn speech(
    must: &mut impl FnMut(bool, &str),
    case: &Case,
    got: &Got,
    documents: &[Value],
) -> Option<Speaker> {
    let speakers = speakers(case, &got.text);
    must(speakers.len() <= 1, &format!("several attempts speak: {speakers:?}"));
    let speaker = speakers.first().copied();
    for channel in Channel::ALL {
        let heard = heard(channel, case.dialect, documents);
        let said =
            speaker.map_or_else(String::new, |speaker| channel.said(case.dialect, case.script(speaker)));
        must(said.starts_with(&heard), &format!("{channel:?} is not a beginning of what was said: {heard}"));
    }
    speaker
}

fn heard(channel: Channel, dialect: Dialect, documents: &[Value]) -> String {
    documents.iter().map(|document| channel.added(dialect, document)).collect()
}

/// The books: a row for each attempt, at most one served; its provider and input.
fn books(
    must: &mut impl FnMut(bool, &str),
    record: &UsageRecord,
    asked: &[Vec<Served>],
) -> Option<(i64, u64)> {
    let steps = &record.request.decision_chain.steps;
    let attempted = steps.iter().filter(|step| matches!(step, ChainStep::Attempted { .. })).count();
    let is_cut = steps.iter().any(|step| matches!(step, ChainStep::LeftOut { .. }));
    must(is_cut || attempted == record.attempts.len(), "a row for each attempt of the chain");
    let numbers: Vec<u32> = record.attempts.iter().map(|row| row.attempt).collect();
    must(
        numbers.iter().copied().eq(1..=u32::try_from(numbers.len()).unwrap()),
        "each attempt once, in order",
    );
    for (index, asked) in asked.iter().enumerate() {
        let rows = record.attempts.iter().filter(|row| row.provider_id.0 == provider_of(record, index + 1));
        let (rows, counted) = (rows.count(), asked.iter().filter(|served| !is_stale(served)).count());
        must(rows == counted, &format!("provider {} was asked {counted} times, {rows} rows", index + 1));
    }
    let bodies: BTreeSet<_> = asked.iter().flatten().map(|served| &served.request.body_sha256).collect();
    must(bodies.len() <= 1, "all are asked with the same bytes");
    let served: Vec<_> = record.attempts.iter().filter(|row| row.outcome == Outcome::Served).collect();
    must(served.len() <= 1, "one is served at most");
    must(record.attempts.iter().all(|row| row.outcome != Outcome::Interrupted), "none is left open");
    served.first().map(|row| (row.provider_id.0, row.usage.input_tokens))
}

/// A connection that was kept and is closed without a byte of an answer counts as gone while it idled: its request is sent
/// again within the attempt.
fn is_stale(served: &Served) -> bool {
    served.connection.request > 1 && served.answer.status.is_none() && served.answer.ended == Ending::Cut
}

/// Providers are numbered from ten times their key on.
pub fn provider_id(key: i64, provider: usize) -> i64 {
    10 * key + i64::try_from(provider).expect("few providers")
}

fn provider_of(record: &UsageRecord, provider: usize) -> i64 {
    provider_id(record.request.caller.key_id.0, provider)
}

/// All attempts of which a piece is anywhere in the bytes.
fn speakers(case: &Case, text: &str) -> Vec<Speaker> {
    let all = (1..=case.providers.len())
        .flat_map(|provider| (1..=case.providers[provider - 1].len()).map(move |answer| (provider, answer)));
    all.filter(|(provider, answer)| text.contains(&format!("<{provider}.{answer}."))).collect()
}

/// The simulators' ids in the bytes.
fn ids(text: &str) -> BTreeSet<&str> {
    let is_id = |id: &&str| id.len() == ID_LEN && id[3..].bytes().all(|byte| byte.is_ascii_digit());
    let at = text.match_indices("sim").map(|(at, _)| at);
    at.filter_map(|at| text.get(at..at + ID_LEN)).filter(is_id).collect()
}

/// The JSON documents of an answer: of its events, of its elements, or itself.
pub fn documents(got: &Got) -> Vec<Value> {
    if got.content_type.starts_with("text/event-stream") {
        return events(&got.text);
    }
    match serde_json::from_str(&got.text) {
        Ok(Value::Array(elements)) => elements,
        Ok(document) => vec![document],
        // An array that was cut: as many elements as are whole.
        Err(_) => {
            let inner = got.text.trim_start().strip_prefix('[').unwrap_or(&got.text);
            let mut rest = inner;
            let mut elements = Vec::new();
            loop {
                let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
                let Some(Ok(element)) = stream.next() else { break elements };
                rest = rest[stream.byte_offset()..].trim_start().trim_start_matches(',');
                elements.push(element);
            }
        }
    }
}

/// The data of a stream's events as SDKs read them; `[DONE]` as text. What is no JSON is left out: half an event.
fn events(text: &str) -> Vec<Value> {
    let text = text.replace("\r\n", "\n");
    let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
    let data = whole.split("\n\n").filter_map(|event| {
        let mut lines = event.lines().filter_map(|line| line.strip_prefix("data: "));
        let first = lines.next()?;
        // Half an event and the error that follows it stand in one: its last line is the error's.
        Some(lines.next_back().unwrap_or(first).to_owned())
    });
    let read = data.filter_map(|data| match data.as_str() {
        "[DONE]" => Some(Value::String(data)),
        data => serde_json::from_str(data).ok(),
    });
    // A sign of life means nothing, wherever it stands.
    read.filter(|document: &Value| document["type"] != "ping").collect()
}

fn is_opening(dialect: Dialect, document: &Value) -> bool {
    match dialect {
        Dialect::Anthropic => document["type"] == "message_start",
        Dialect::OpenaiChat => document["choices"][0]["delta"]["role"] == "assistant",
        Dialect::OpenaiResponses => document["type"] == "response.created",
        // It has none but its first piece.
        Dialect::Gemini => Channel::Text.added(dialect, document).contains(".t00>"),
    }
}

fn end(case: &Case, got: &Got, documents: &[Value]) -> Result<End, String> {
    let dialect = case.dialect;
    let mut ends: Vec<End> = documents.iter().filter_map(|document| ending(dialect, document)).collect();
    if got.status != 200 {
        let is_error = ends.iter().all(|end| *end == End::Error) && ends.len() == 1;
        return if is_error {
            Ok(End::Error)
        } else {
            Err(format!("{} without an error: {got:?}", got.status))
        };
    }
    if dialect == Dialect::Gemini && ends == [End::Complete, End::Error] {
        // Google's streams end with their bytes: behind a finish reason another candidate might have come.
        ends.remove(0);
    }
    if dialect == Dialect::Gemini && ends == [End::Complete] && !got.is_whole {
        ends.clear();
    }
    match ends.as_slice() {
        [] => Ok(End::Cut),
        [end] if documents.last().and_then(|last| ending(dialect, last)) == Some(*end) => Ok(*end),
        several => Err(format!("ends {several:?}, and not with its last event")),
    }
}

/// What ends an answer in this dialect.
fn ending(dialect: Dialect, document: &Value) -> Option<End> {
    if words(dialect, document).is_some() || is_error_document(document) {
        return Some(End::Error);
    }
    let is_complete = match dialect {
        Dialect::Anthropic => document["type"] == "message_stop" || document["type"] == "message",
        Dialect::OpenaiChat => document == "[DONE]" || document["object"] == "chat.completion",
        Dialect::OpenaiResponses => {
            document["type"] == "response.completed" || document["object"] == "response"
        }
        Dialect::Gemini => document["candidates"][0]["finishReason"].is_string(),
    };
    is_complete.then_some(End::Complete)
}

/// A refusal that an upstream wrapped in its own way still is one.
fn is_error_document(document: &Value) -> bool {
    document["error"].is_object()
}

const ID_LEN: usize = 24;
