//! Random cases: a request, and two or three providers each of whose answers has a fault of its own, or none.

use super::super::asks::ask;
use super::super::seen::Mode;
use super::spoken::Channel;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use shared::protocol::Dialect;
use simulator::{Cut, ErrorEvent, FakeSuccess, Hang, PingOnly, RetryHint, Script, ToolCall, Usage};
use std::fmt;
use std::num::NonZeroUsize;

/// Who is speaking: provider and answer, both from 1.
pub type Speaker = (usize, usize);

/// One of them; the same seed gives the same.
#[derive(Debug)]
pub struct Case {
    pub seed: u64,
    pub dialect: Dialect,
    pub path: String,
    pub body: String,
    /// Seconds that the client waits, as its SDK says.
    pub client_waits: &'static str,
    /// The scripts of each provider's answers, in their order.
    pub providers: Vec<Vec<Script>>,
}

/// What an attempt says, thinks or calls a tool with, so many pieces: no other attempt has such a piece, and this one has
/// each once.
pub fn pieces(channel: Channel, (provider, answer): Speaker, count: u32) -> String {
    let letter = channel.letter();
    (0..count).map(|index| format!("<{provider}.{answer}.{letter}{index:02}>")).collect()
}

/// A call of the tool that requests declare, with so many pieces, and at least so many that each of the deltas in which a
/// simulator sends a call has a whole one.
pub fn call(speaker: Speaker, count: u32) -> ToolCall {
    let marks = pieces(Channel::Arguments, speaker, count.max(FEWEST_OF_A_CALL));
    ToolCall { name: None, arguments: Some(json!({ "note": marks })) }
}

/// The request that declares a tool besides.
pub fn with_tool(dialect: Dialect, body: &str) -> String {
    let schema = json!({"type": "object"});
    let tool = match dialect {
        Dialect::Anthropic => json!({"name": "note", "input_schema": schema}),
        Dialect::OpenaiChat => {
            json!({"type": "function", "function": {"name": "note", "parameters": schema}})
        }
        Dialect::OpenaiResponses => json!({"type": "function", "name": "note", "parameters": schema}),
        Dialect::Gemini => json!({"functionDeclarations": [{"name": "note", "parameters": schema}]}),
    };
    let rest = body.strip_prefix('{').expect("a body is an object");
    format!(r#"{{"tools":[{tool}],{rest}"#)
}

/// The input tokens that an attempt tells: no other attempt tells as many.
pub fn input_tokens((provider, answer): Speaker) -> u64 {
    (1_000 * provider + 10 * answer) as u64
}

impl Case {
    /// What this attempt was told to answer.
    pub fn script(&self, (provider, answer): Speaker) -> &Script {
        &self.providers[provider - 1][answer - 1]
    }

    pub fn new(dialect: Dialect, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mode = if rng.random_bool(0.85) { Mode::Stream } else { Mode::Whole };
        let (mut path, mut body) = ask(dialect, mode);
        if rng.random_bool(0.3) {
            // Google's stream as one JSON array; a chat stream whose usage is asked for on the seat's behalf.
            path = path.replace("?alt=sse", "");
            body = body.replace(r#""stream_options":{"include_usage":true},"#, "");
            body = body.replace(r#","stream_options":{"include_usage":true}"#, "");
        }
        let has_tool = rng.random_bool(0.5);
        if has_tool {
            body = with_tool(dialect, &body);
        }
        let count = rng.random_range(2..=3);
        let providers = (1..=count).map(|provider| answers(&mut rng, provider, has_tool)).collect();
        let client_waits = if rng.random_bool(0.2) { "3" } else { "1" };
        Self { seed, dialect, path, body, client_waits, providers }
    }
}

/// The request, and of each script what is not as usual.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} ({} s)", self.path, self.body, self.client_waits)?;
        let usual = serde_json::to_value(Script::default()).map_err(|_| fmt::Error)?;
        for (number, scripts) in self.providers.iter().enumerate() {
            for (answer, script) in scripts.iter().enumerate() {
                let Ok(Value::Object(mut fields)) = serde_json::to_value(script) else {
                    return Err(fmt::Error);
                };
                fields.retain(|name, value| usual[name.as_str()] != *value && !SAID.contains(&name.as_str()));
                writeln!(f, "  {}.{}: {}", number + 1, answer + 1, Value::Object(fields))?;
            }
        }
        Ok(())
    }
}

/// More answers than a provider is asked for; the last one, which stays, says nothing of its own.
fn answers(rng: &mut StdRng, provider: usize, has_tool: bool) -> Vec<Script> {
    let own = (1..=MOST_ANSWERS).map(|answer| script(rng, (provider, answer), has_tool));
    own.collect::<Vec<_>>().into_iter().chain([Script::failing(500)]).collect()
}

fn script(rng: &mut StdRng, speaker: Speaker, has_tool: bool) -> Script {
    let events = rng.random_range(1..=12);
    let is_thinking = rng.random_bool(0.4);
    let is_calling = has_tool && rng.random_bool(0.6);
    let mut script = Script {
        text: Some(pieces(Channel::Text, speaker, events)),
        thought: is_thinking.then(|| pieces(Channel::Thought, speaker, events)),
        tool_call: is_calling.then(|| call(speaker, events)),
        events: Some(events),
        usage: Some(Usage { input: input_tokens(speaker), output: 12, ..Usage::default() }),
        no_usage: rng.random_bool(0.1),
        usage_only_in_last_event: rng.random_bool(0.2),
        chunked: rng.random_bool(0.2),
        ..Script::default()
    };
    ways(rng, &mut script);
    fault(rng, &mut script);
    if script.ping_only.is_none() {
        script.gzip = rng.random_bool(0.15);
    }
    script
}

/// How the bytes arrive.
fn ways(rng: &mut StdRng, script: &mut Script) {
    let some = |rng: &mut StdRng, of: &[u64]| of[rng.random_range(0..of.len())];
    script.first_byte_delay_ms = some(rng, &[0, 0, 0, 30, 90]);
    script.first_event_delay_ms = some(rng, &[0, 0, 0, 30, 90]);
    script.spacing_ms = some(rng, &[0, 0, 0, 1, 15]);
    if rng.random_bool(0.25) {
        script.drip = NonZeroUsize::new(rng.random_range(1..=120));
        script.drip_every_ms = some(rng, &[0, 0, 1]);
    }
}

fn fault(rng: &mut StdRng, script: &mut Script) {
    let events = rng.random_range(0..20);
    match rng.random_range(0..10) {
        0 | 1 => {}
        2 | 3 => {
            let often = [401, 429, 500, 503, 529, 403, 404, 302, 504, 400, 413];
            script.status = Some(often[rng.random_range(0..often.len())]);
            script.retry_hint = Some(RetryHint::Silent);
        }
        4 | 5 => {
            let bytes = rng.random_range(0..4_000);
            let cuts = [
                Cut::BeforeHead,
                Cut::AfterHead,
                Cut::MidStream(events),
                Cut::MidChunk(events),
                Cut::AfterBytes(bytes),
                Cut::AfterBytes(bytes),
            ];
            script.cut = Some(cuts[rng.random_range(0..cuts.len())]);
        }
        6 => {
            let hangs = [Hang::BeforeHead, Hang::AfterHead, Hang::MidStream(events)];
            script.hang = Some(hangs[rng.random_range(0..hangs.len())]);
        }
        7 => {
            let places = [ErrorEvent::BeforeContent, ErrorEvent::AfterContent(events / 2)];
            script.error_event = Some(places[rng.random_range(0..places.len())]);
        }
        8 => {
            let fakes = [
                FakeSuccess::ErrorJson,
                FakeSuccess::Html,
                FakeSuccess::Empty,
                FakeSuccess::TruncatedJson,
                FakeSuccess::ErrorStream,
                FakeSuccess::EmptyStream,
            ];
            script.fake_success = Some(fakes[rng.random_range(0..fakes.len())]);
        }
        _ => {
            let for_ms = [None, Some(60)][rng.random_range(0..2)];
            let after_opening = rng.random_bool(0.5);
            script.ping_only = Some(PingOnly { every_ms: 10, for_ms, after_opening, after_events: events });
        }
    }
}

const MOST_ANSWERS: usize = 8;
/// Three deltas, `{"note":"` in the first of them.
const FEWEST_OF_A_CALL: u32 = 4;
/// The same in all scripts but for its marks.
const SAID: [&str; 2] = ["usage", "text"];
