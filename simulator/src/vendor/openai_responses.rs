//! OpenAI Responses: responses (whole and streamed), compact, input_tokens.

use super::content::{Call, Content};
use super::tape::{ID, Kind, TapeWriter, Template, fill, quoted};
use super::{CREATED, Telling};
use crate::usage::Usage;

/// A whole response.
pub(crate) fn response(content: &Content, telling: &Telling) -> Template {
    let mut tape = TapeWriter::default();
    tape.tell(telling.usage);
    tape.event(Kind::Content, &object(State::of(telling), &items(content).join(","), telling));
    tape.finish()
}

/// The stream of the same response.
pub(crate) fn stream(content: &Content, telling: &Telling) -> Template {
    let mut stream = Stream::default();
    let begun = object(State::InProgress, "", telling);
    stream.event(Kind::Opening, "response.created", &format!(r#""response":{begun}"#));
    stream.event(Kind::Opening, "response.in_progress", &format!(r#""response":{begun}"#));
    if !content.thinking.is_empty() {
        stream.reasoning(content);
    }
    match &content.call {
        Some(call) => stream.call(call),
        None => stream.message(content, telling.padding),
    }
    stream.tape.tell(telling.usage);
    let state = State::of(telling);
    let done = object(state, &items(content).join(","), telling);
    stream.event(Kind::Structure, state.event(), &format!(r#""response":{done}"#));
    stream.tape.finish()
}

/// The answer of compact.
pub(crate) fn compact(telling: &Telling) -> Template {
    let usage = telling.usage.map_or("null".to_owned(), |usage| usage_object(&usage));
    let mut tape = TapeWriter::default();
    tape.tell(telling.usage);
    let values = [("id", ID), ("created", CREATED), ("secret", SECRET), ("usage", &usage)];
    tape.event(Kind::Content, &fill(COMPACTION, &values));
    tape.finish()
}

/// The answer of input_tokens.
pub(crate) fn input_tokens(usage: &Usage) -> String {
    format!(r#"{{"object":"response.input_tokens","input_tokens":{}}}"#, usage.total_input())
}

/// A response that has failed, with its error object, for `response.failed`.
pub(crate) fn failed(id: &str, model: &str, error: &str) -> String {
    let values = [
        ("id", id),
        ("created", CREATED),
        ("status", "failed"),
        ("error", error),
        ("incomplete", "null"),
        ("model", &quoted(model)),
        ("output", ""),
        ("tier", "\"default\""),
        ("usage", "null"),
    ];
    fill(RESPONSE, &values)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State<'a> {
    InProgress,
    Completed,
    Incomplete(&'a str),
}

impl<'a> State<'a> {
    fn of(telling: &'a Telling) -> Self {
        match telling.stop_reason.as_deref() {
            Some(reason @ ("max_output_tokens" | "content_filter")) => Self::Incomplete(reason),
            _ => Self::Completed,
        }
    }

    fn status(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
        }
    }

    fn event(self) -> &'static str {
        match self {
            Self::InProgress => "response.in_progress",
            Self::Completed => "response.completed",
            Self::Incomplete(_) => "response.incomplete",
        }
    }
}

/// Numbers the events and the items.
#[derive(Default)]
struct Stream {
    tape: TapeWriter,
    events: usize,
    items: usize,
}

impl Stream {
    fn event(&mut self, kind: Kind, name: &str, fields: &str) {
        let number = self.events;
        self.tape.event(
            kind,
            &format!(
                "event: {name}\ndata: {{\"type\":\"{name}\",\"sequence_number\":{number},{fields}}}\n\n"
            ),
        );
        self.events += 1;
    }

    fn item(&mut self, name: &str, item: &str) {
        let fields = format!(r#""output_index":{},"item":{item}"#, self.items);
        self.event(Kind::Structure, name, &fields);
    }

    fn reasoning(&mut self, content: &Content) {
        let at = format!(r#""item_id":"rs_{ID}","output_index":{},"summary_index":0"#, self.items);
        let part = |text: &str| format!(r#"{at},"part":{{"type":"summary_text","text":{}}}"#, quoted(text));
        let whole = content.whole_thought();
        self.item("response.output_item.added", &reasoning_item(None));
        self.event(Kind::Structure, "response.reasoning_summary_part.added", &part(""));
        for piece in &content.thinking {
            let fields = format!(r#"{at},"delta":{}"#, quoted(piece));
            self.event(Kind::Content, "response.reasoning_summary_text.delta", &fields);
        }
        let fields = format!(r#"{at},"text":{}"#, quoted(&whole));
        self.event(Kind::Structure, "response.reasoning_summary_text.done", &fields);
        self.event(Kind::Structure, "response.reasoning_summary_part.done", &part(&whole));
        self.item("response.output_item.done", &reasoning_item(Some(&whole)));
        self.items += 1;
    }

    /// `padding` bytes go into the first delta's `obfuscation`, which the API has for that purpose.
    fn message(&mut self, content: &Content, padding: usize) {
        let at = format!(r#""item_id":"msg_{ID}","output_index":{},"content_index":0"#, self.items);
        let whole = content.whole_text();
        self.item("response.output_item.added", &message_item(None));
        let part = text_part("");
        self.event(Kind::Structure, "response.content_part.added", &format!(r#"{at},"part":{part}"#));
        let mut padding = "x".repeat(padding);
        for piece in &content.text {
            let delta = quoted(piece);
            let fields = format!(r#"{at},"delta":{delta},"logprobs":[],"obfuscation":"{padding}""#);
            self.event(Kind::Content, "response.output_text.delta", &fields);
            padding.clear();
        }
        let fields = format!(r#"{at},"text":{},"logprobs":[]"#, quoted(&whole));
        self.event(Kind::Structure, "response.output_text.done", &fields);
        let part = text_part(&whole);
        self.event(Kind::Structure, "response.content_part.done", &format!(r#"{at},"part":{part}"#));
        self.item("response.output_item.done", &message_item(Some(&whole)));
        self.items += 1;
    }

    fn call(&mut self, call: &Call) {
        let at = format!(r#""item_id":"fc_{ID}","output_index":{}"#, self.items);
        self.item("response.output_item.added", &call_item(call, "in_progress", ""));
        for piece in call.pieces() {
            let fields = format!(r#"{at},"delta":{},"obfuscation":"""#, quoted(&piece));
            self.event(Kind::Content, "response.function_call_arguments.delta", &fields);
        }
        let (arguments, name) = (quoted(&call.arguments), quoted(&call.name));
        let fields = format!(r#"{at},"arguments":{arguments},"name":{name}"#);
        self.event(Kind::Structure, "response.function_call_arguments.done", &fields);
        self.item("response.output_item.done", &call_item(call, "completed", &call.arguments));
        self.items += 1;
    }
}

fn items(content: &Content) -> Vec<String> {
    let mut items = Vec::new();
    if !content.thinking.is_empty() {
        items.push(reasoning_item(Some(&content.whole_thought())));
    }
    items.push(match &content.call {
        Some(call) => call_item(call, "completed", &call.arguments),
        None => message_item(Some(&content.whole_text())),
    });
    items
}

/// An item whose text is not there yet is in progress.
fn message_item(text: Option<&str>) -> String {
    let status = if text.is_some() { "completed" } else { "in_progress" };
    let part = text.map(text_part);
    fill(MESSAGE, &[("id", ID), ("status", status), ("content", &part.unwrap_or_default())])
}

fn reasoning_item(summary: Option<&str>) -> String {
    let part = summary.map(|text| format!(r#"{{"type":"summary_text","text":{}}}"#, quoted(text)));
    fill(REASONING, &[("id", ID), ("summary", &part.unwrap_or_default()), ("secret", SECRET)])
}

fn call_item(call: &Call, status: &str, arguments: &str) -> String {
    let (name, arguments) = (quoted(&call.name), quoted(arguments));
    fill(CALL, &[("id", ID), ("status", status), ("name", &name), ("arguments", &arguments)])
}

fn text_part(text: &str) -> String {
    fill(TEXT_PART, &[("text", &quoted(text))])
}

fn object(state: State<'_>, output: &str, telling: &Telling) -> String {
    let usage = telling.usage.filter(|_| state != State::InProgress);
    let incomplete = match state {
        State::Incomplete(reason) => format!(r#"{{"reason":{}}}"#, quoted(reason)),
        State::InProgress | State::Completed => "null".to_owned(),
    };
    fill(
        RESPONSE,
        &[
            ("id", ID),
            ("created", CREATED),
            ("status", state.status()),
            ("error", "null"),
            ("incomplete", &incomplete),
            ("model", &quoted(&telling.model)),
            ("output", output),
            ("tier", &quoted(telling.service_tier.as_deref().unwrap_or("default"))),
            ("usage", &usage.map_or("null".to_owned(), |usage| usage_object(&usage))),
        ],
    )
}

fn usage_object(usage: &Usage) -> String {
    let input = usage.total_input();
    fill(
        USAGE,
        &[
            ("input", &input.to_string()),
            ("cached", &usage.cache_read.to_string()),
            ("written", &usage.cache_write_5m.to_string()),
            ("output", &usage.output.to_string()),
            ("reasoning", &usage.reasoning.to_string()),
            ("total", &(input + usage.output).to_string()),
        ],
    )
}

const RESPONSE: &str = r#"{"id":"resp_$id","object":"response","created_at":$created,"status":"$status","background":false,"error":$error,"incomplete_details":$incomplete,"instructions":null,"max_output_tokens":null,"max_tool_calls":null,"model":$model,"output":[$output],"parallel_tool_calls":true,"previous_response_id":null,"prompt_cache_key":null,"reasoning":{"effort":null,"summary":null},"safety_identifier":null,"service_tier":$tier,"store":true,"temperature":1.0,"text":{"format":{"type":"text"},"verbosity":"medium"},"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1.0,"truncation":"disabled","usage":$usage,"user":null,"metadata":{}}"#;
const MESSAGE: &str =
    r#"{"id":"msg_$id","type":"message","status":"$status","content":[$content],"role":"assistant"}"#;
const REASONING: &str =
    r#"{"id":"rs_$id","type":"reasoning","encrypted_content":"$secret","summary":[$summary]}"#;
const CALL: &str = r#"{"id":"fc_$id","type":"function_call","status":"$status","arguments":$arguments,"call_id":"call_$id","name":$name}"#;
const TEXT_PART: &str = r#"{"type":"output_text","annotations":[],"logprobs":[],"text":$text}"#;
const COMPACTION: &str = r#"{"id":"resp_$id","object":"response.compaction","created_at":$created,"output":[{"id":"msg_$id","type":"message","status":"completed","content":[{"type":"input_text","text":"Hello"}],"role":"user"},{"id":"cmp_$id","type":"compaction","encrypted_content":"$secret"}],"usage":$usage}"#;
const SECRET: &str = "Z0FBQUFBLXNpbXVsYXRlZC1lbmNyeXB0ZWQtY29udGVudA";
const USAGE: &str = r#"{"input_tokens":$input,"input_tokens_details":{"cached_tokens":$cached,"cache_write_tokens":$written},"output_tokens":$output,"output_tokens_details":{"reasoning_tokens":$reasoning},"total_tokens":$total}"#;
