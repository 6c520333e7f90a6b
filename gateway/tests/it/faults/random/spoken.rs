//! What an answer says, read as SDKs put it together: text, thoughts and a tool's arguments, each by itself.

use serde_json::Value;
use shared::protocol::Dialect;
use simulator::Script;

/// One of the three things that come in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Text,
    /// Thinking, reasoning.
    Thought,
    /// Of the tool that is called.
    Arguments,
}

impl Channel {
    pub const ALL: [Self; 3] = [Self::Text, Self::Thought, Self::Arguments];

    /// What its marks begin with.
    pub fn letter(self) -> char {
        match self {
            Self::Text => 't',
            Self::Thought => 'r',
            Self::Arguments => 'a',
        }
    }

    /// All that an answer by this script says here, when the request declares a tool.
    pub fn said(self, dialect: Dialect, script: &Script) -> String {
        let call = script.tool_call.as_ref().and_then(|call| call.arguments.as_ref());
        match self {
            // Only Anthropic's simulator speaks before it calls.
            Self::Text if call.is_some() && dialect != Dialect::Anthropic => String::new(),
            Self::Text => script.text.clone().unwrap_or_default(),
            Self::Thought => script.thought.clone().unwrap_or_default(),
            Self::Arguments => call.map(Value::to_string).unwrap_or_default(),
        }
    }

    /// What a document adds to it.
    pub fn added(self, dialect: Dialect, document: &Value) -> String {
        match dialect {
            Dialect::Anthropic => self.of_anthropic(document),
            Dialect::OpenaiChat => self.of_chat(document),
            Dialect::OpenaiResponses => self.of_responses(document),
            Dialect::Gemini => self.of_gemini(document),
        }
    }

    fn of_anthropic(self, document: &Value) -> String {
        let (delta, part) = match self {
            Self::Text => ("/delta/text", "/text"),
            Self::Thought => ("/delta/thinking", "/thinking"),
            Self::Arguments => ("/delta/partial_json", "/input"),
        };
        match document["type"].as_str() {
            Some("message") => all(&document["content"], part),
            _ => at(document, delta),
        }
    }

    fn of_chat(self, document: &Value) -> String {
        let of = |message: &Value| match self {
            Self::Text => at(message, "/content"),
            Self::Thought => at(message, "/reasoning_content"),
            Self::Arguments => all(&message["tool_calls"], "/function/arguments"),
        };
        let choices = document["choices"].as_array().into_iter().flatten();
        choices.map(|choice| of(&choice["delta"]) + &of(&choice["message"])).collect()
    }

    fn of_responses(self, document: &Value) -> String {
        let delta = match self {
            Self::Text => "response.output_text.delta",
            Self::Thought => "response.reasoning_summary_text.delta",
            Self::Arguments => "response.function_call_arguments.delta",
        };
        if document["type"] == delta {
            return at(document, "/delta");
        }
        if document["object"] != "response" {
            return String::new();
        }
        let items = document["output"].as_array().into_iter().flatten();
        let of = |item: &Value| match self {
            Self::Text => all(&item["content"], "/text"),
            Self::Thought => all(&item["summary"], "/text"),
            Self::Arguments => at(item, "/arguments"),
        };
        items.map(of).collect()
    }

    fn of_gemini(self, document: &Value) -> String {
        let parts = document["candidates"][0]["content"]["parts"].as_array().into_iter().flatten();
        let of = |part: &Value| match (self, part["thought"] == true) {
            (Self::Text, false) | (Self::Thought, true) => at(part, "/text"),
            (Self::Arguments, _) => at(part, "/functionCall/args"),
            (Self::Text, true) | (Self::Thought, false) => String::new(),
        };
        parts.map(of).collect()
    }
}

/// What is there: a string's characters, an object as JSON.
fn at(document: &Value, pointer: &str) -> String {
    match document.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(object @ Value::Object(_)) => object.to_string(),
        Some(_) | None => String::new(),
    }
}

fn all(list: &Value, pointer: &str) -> String {
    list.as_array().into_iter().flatten().map(|part| at(part, pointer)).collect()
}
