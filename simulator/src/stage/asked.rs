//! What a request asks for, read from its body: the few fields an answer depends on.
//!
//! Large bodies are skipped over, not kept: of the conversation only the last entry is looked at.

use super::endpoint::{Endpoint, Target};
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) endpoint: Endpoint,
    pub(crate) model: String,
    pub(crate) is_stream: bool,
    /// OpenAI chat: a usage chunk is wanted.
    pub(crate) include_usage: bool,
    /// Thinking or reasoning is wanted.
    pub(crate) thinking: bool,
    /// The function tools declared.
    pub(crate) tools: Vec<Tool>,
    /// A tool has to be called: by `tool_choice`, or because the last message says "call the tool NAME".
    pub(crate) wants_tool: Option<Wanted>,
    /// The last entry of the conversation is a tool's result.
    pub(crate) brings_tool_result: bool,
    /// Entries of `input` (embeddings) or `requests` (Gemini's batch).
    pub(crate) inputs: usize,
    /// Embeddings as base64 instead of numbers.
    pub(crate) is_base64: bool,
}

/// A function that may be called.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// JSON schema of its arguments.
    pub(crate) schema: Value,
}

/// Which tool the request itself wants to see called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Any,
    Named(String),
}

/// Why a request is refused as the vendor would.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskedError {
    #[error("The request body is not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("model: Field required")]
    NoModel,
    #[error("Not Found")]
    NoSuchPath,
    #[error("x-sim-script: {0}")]
    Script(#[source] crate::ScriptError),
}

impl Asked {
    /// Reads a body; endpoints without one ask by their path alone.
    pub(crate) fn read(target: Target, body: &[u8]) -> Result<Self, AskedError> {
        let Target { endpoint, model } = target;
        if !endpoint.has_body() {
            return Ok(Self::unread(endpoint, model.unwrap_or_default()));
        }
        let fields: Fields<'_> = serde_json::from_slice(body)?;
        let model =
            model.or_else(|| fields.model.as_deref().map(str::to_owned)).ok_or(AskedError::NoModel)?;
        let is_gemini_stream = matches!(endpoint, Endpoint::GeminiStream | Endpoint::GeminiStreamArray);
        let last = fields.last_entry();
        let declared = fields.tools.map_or_else(Vec::new, |tools| tools_of(tools.get()));
        let wants_tool = if declared.is_empty() { None } else { fields.wanted(last.as_ref(), &declared) };
        Ok(Self {
            endpoint,
            model,
            is_stream: fields.stream.unwrap_or(false) || is_gemini_stream,
            include_usage: fields.stream_options.and_then(|options| options.include_usage).unwrap_or(false),
            thinking: fields.wants_thinking(),
            wants_tool,
            tools: declared,
            brings_tool_result: last.as_ref().is_some_and(is_tool_result),
            inputs: fields.inputs(),
            is_base64: fields.encoding_format.as_deref() == Some("base64"),
        })
    }

    /// What is known of a request whose body was not read.
    pub(crate) fn unread(endpoint: Endpoint, model: String) -> Self {
        Self {
            endpoint,
            model,
            is_stream: matches!(endpoint, Endpoint::GeminiStream | Endpoint::GeminiStreamArray),
            include_usage: false,
            thinking: false,
            tools: Vec::new(),
            wants_tool: None,
            brings_tool_result: false,
            inputs: 1,
            is_base64: false,
        }
    }
}

/// The fields of all dialects in one; they do not collide.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_choice: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "toolConfig")]
    tool_config: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_effort: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "generationConfig")]
    generation_config: Option<&'a RawValue>,
    #[serde(borrow, default)]
    messages: Option<Last<'a>>,
    #[serde(borrow, default)]
    contents: Option<Last<'a>>,
    #[serde(borrow, default)]
    input: Option<Last<'a>>,
    #[serde(borrow, default)]
    requests: Option<Last<'a>>,
    #[serde(borrow, default)]
    encoding_format: Option<Cow<'a, str>>,
}

#[derive(Clone, Copy, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

impl Fields<'_> {
    fn last_entry(&self) -> Option<Value> {
        let conversation = [&self.messages, &self.contents, &self.input].into_iter().flatten().next()?;
        // An entry this large is a document, not an instruction to us.
        let entry = conversation.entry.filter(|entry| entry.get().len() <= LARGEST_INSTRUCTION)?;
        serde_json::from_str(entry.get()).ok()
    }

    fn inputs(&self) -> usize {
        [&self.requests, &self.input].into_iter().flatten().next().map_or(1, |list| list.count)
    }

    fn wants_thinking(&self) -> bool {
        let parse =
            |raw: Option<&RawValue>| raw.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        let anthropic = parse(self.thinking).is_some_and(|thinking| thinking["type"] != "disabled");
        let responses = parse(self.reasoning).is_some_and(|reasoning| !reasoning["summary"].is_null());
        let chat = parse(self.reasoning_effort).is_some_and(|effort| effort != "none" && !effort.is_null());
        // Google takes both spellings, and its SDK sends the second.
        let gemini = parse(self.generation_config).is_some_and(|config| {
            let thinking = &config["thinkingConfig"];
            thinking["includeThoughts"] == true || thinking["include_thoughts"] == true
        });
        anthropic || responses || chat || gemini
    }

    fn wanted(&self, last: Option<&Value>, tools: &[Tool]) -> Option<Wanted> {
        let parse = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).ok();
        let choice = self.tool_choice.and_then(parse).and_then(|choice| forced_by_choice(&choice));
        let config = self.tool_config.and_then(parse).and_then(|config| forced_by_config(&config));
        choice.or(config).or_else(|| said_in(last?, tools))
    }
}

fn forced_by_choice(choice: &Value) -> Option<Wanted> {
    let kind = choice["type"].as_str().or_else(|| choice.as_str())?;
    let name = choice["name"].as_str().or_else(|| choice["function"]["name"].as_str());
    match (kind, name) {
        ("tool" | "function", Some(name)) => Some(Wanted::Named(name.to_owned())),
        ("any" | "required", _) => Some(Wanted::Any),
        _ => None,
    }
}

fn forced_by_config(config: &Value) -> Option<Wanted> {
    let calling = &config["functionCallingConfig"];
    if calling["mode"] != "ANY" {
        return None;
    }
    let named = calling["allowedFunctionNames"][0].as_str();
    Some(named.map_or(Wanted::Any, |name| Wanted::Named(name.to_owned())))
}

/// "call the tool NAME" in the text of the last message.
fn said_in(last: &Value, tools: &[Tool]) -> Option<Wanted> {
    let text = last.to_string();
    let (_, after) = text.split_once("call the tool ")?;
    // The longest name first: `get` must not win over `get_weather`.
    let named = tools.iter().filter(|tool| after.starts_with(&tool.name)).max_by_key(|tool| tool.name.len());
    named.map(|tool| Wanted::Named(tool.name.clone()))
}

fn is_tool_result(entry: &Value) -> bool {
    let is_result = |part: &Value| {
        part["type"] == "tool_result"
            || part["functionResponse"].is_object()
            || part["function_response"].is_object()
    };
    let has_result = |parts: &Value| parts.as_array().is_some_and(|parts| parts.iter().any(is_result));
    entry["role"] == "tool"
        || entry["type"] == "function_call_output"
        || entry["type"] == "custom_tool_call_output"
        || has_result(&entry["content"])
        || has_result(&entry["parts"])
}

fn tools_of(raw: &str) -> Vec<Tool> {
    let Ok(Value::Array(declared)) = serde_json::from_str(raw) else { return Vec::new() };
    declared.iter().flat_map(functions_of).collect()
}

/// The functions of one entry of `tools`, in any dialect. Server tools have no schema and are left out.
fn functions_of(entry: &Value) -> Vec<Tool> {
    let gemini =
        entry["functionDeclarations"].as_array().or_else(|| entry["function_declarations"].as_array());
    if let Some(functions) = gemini {
        return functions.iter().flat_map(functions_of).collect();
    }
    let entry = if entry["function"].is_object() { &entry["function"] } else { entry };
    let schema = ["input_schema", "parameters", "parametersJsonSchema", "parameters_json_schema"]
        .into_iter()
        .map(|field| &entry[field])
        .find(|schema| schema.is_object());
    let is_plain = entry["type"].is_null() || entry["type"] == "custom" || entry["type"] == "function";
    match (entry["name"].as_str(), schema) {
        (Some(name), Some(schema)) => vec![Tool { name: name.to_owned(), schema: schema.clone() }],
        (Some(name), None) if is_plain => vec![Tool { name: name.to_owned(), schema: Value::Null }],
        _ => Vec::new(),
    }
}

/// The last entry of a list and the number of its entries; a single string is its own only entry.
#[derive(Default)]
struct Last<'a> {
    entry: Option<&'a RawValue>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Last<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        if !raw.get().starts_with('[') {
            return Ok(Self { entry: Some(raw), count: 1 });
        }
        let mut list = serde_json::Deserializer::from_str(raw.get());
        list.deserialize_seq(LastEntry).map_err(serde::de::Error::custom)
    }
}

struct LastEntry;

impl<'de> Visitor<'de> for LastEntry {
    type Value = Last<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut last = Last::default();
        while let Some(entry) = seq.next_element::<&'de RawValue>()? {
            last = Last { entry: Some(entry), count: last.count + 1 };
        }
        Ok(last)
    }
}

const LARGEST_INSTRUCTION: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(endpoint: Endpoint, body: &str) -> Asked {
        Asked::read(Target { endpoint, model: None }, body.as_bytes()).unwrap()
    }

    #[test]
    fn each_dialect_s_tools_are_understood() {
        let anthropic = read(
            Endpoint::AnthropicMessages,
            r#"{"model":"m","tools":[{"name":"get","input_schema":{}},{"name":"get_weather","input_schema":{"type":"object"}},
                {"type":"web_search_20250305","name":"web_search"}],
                "messages":[{"role":"user","content":"please call the tool get_weather"}]}"#,
        );
        assert_eq!(anthropic.tools.len(), 2);
        assert_eq!(anthropic.wants_tool, Some(Wanted::Named("get_weather".into())));
        let chat = read(
            Endpoint::OpenaiChat,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"tool_choice":"required",
                "tools":[{"type":"function","function":{"name":"f","parameters":{}}}],
                "messages":[{"role":"user","content":"hi"},{"role":"tool","content":"x"}]}"#,
        );
        assert_eq!(chat.wants_tool, Some(Wanted::Any));
        assert!(chat.is_stream && chat.include_usage && chat.brings_tool_result);
        let responses = read(
            Endpoint::OpenaiResponses,
            r#"{"model":"m","reasoning":{"summary":"auto"},"input":"hi","tool_choice":{"type":"function","name":"f"},
                "tools":[{"type":"function","name":"f","parameters":{}},{"type":"web_search"}]}"#,
        );
        assert_eq!(responses.wants_tool, Some(Wanted::Named("f".into())));
        assert!(responses.thinking);
        assert_eq!(responses.tools.len(), 1);
        let gemini = Asked::read(
            Target { endpoint: Endpoint::GeminiStream, model: Some("g".into()) },
            br#"{"tools":[{"functionDeclarations":[{"name":"f","parameters":{}}]}],
                "toolConfig":{"functionCallingConfig":{"mode":"ANY"}},
                "contents":[{"role":"user","parts":[{"functionResponse":{"name":"f"}}]}]}"#,
        )
        .unwrap();
        assert_eq!(gemini.wants_tool, Some(Wanted::Any));
        assert!(gemini.brings_tool_result && gemini.is_stream);
    }

    #[test]
    fn a_body_that_is_no_request_is_refused() {
        let target = || Target { endpoint: Endpoint::OpenaiChat, model: None };
        assert!(matches!(Asked::read(target(), b"{"), Err(AskedError::Json(_))));
        assert!(matches!(Asked::read(target(), b"{\"messages\":[]}"), Err(AskedError::NoModel)));
    }

    #[test]
    fn embedding_inputs_are_counted() {
        assert_eq!(read(Endpoint::OpenaiEmbeddings, r#"{"model":"m","input":["a","b"]}"#).inputs, 2);
        assert_eq!(read(Endpoint::OpenaiEmbeddings, r#"{"model":"m","input":"a"}"#).inputs, 1);
    }
}
