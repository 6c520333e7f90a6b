//! What the model says: the same for every dialect, and the same every time.

use crate::script::Script;
use crate::stage::{Asked, Wanted};
use serde_json::{Map, Value, json};

/// One answer's substance.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Content {
    /// Pieces of thought; empty without thinking.
    pub(crate) thinking: Vec<String>,
    /// Pieces of text, one a delta.
    pub(crate) text: Vec<String>,
    pub(crate) call: Option<Call>,
}

/// A tool is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// A JSON object.
    pub(crate) arguments: String,
}

impl Content {
    pub(crate) fn compose(asked: &Asked, script: &Script) -> Self {
        let thinking = match &script.thought {
            Some(thought) => pieces(thought, deltas(script)),
            None if script.thinking || asked.thinking => THOUGHTS.map(String::from).into(),
            None => vec![],
        };
        Self { thinking, text: text(script), call: call(asked, script) }
    }

    pub(crate) fn whole_text(&self) -> String {
        self.text.concat()
    }

    pub(crate) fn whole_thought(&self) -> String {
        self.thinking.concat()
    }
}

impl Call {
    /// The arguments in the pieces a stream delivers them in.
    pub(crate) fn pieces(&self) -> Vec<String> {
        pieces(&self.arguments, ARGUMENT_PIECES)
    }
}

fn text(script: &Script) -> Vec<String> {
    let count = deltas(script);
    match (&script.text, script.text_bytes) {
        (Some(text), _) => pieces(text, count),
        (None, Some(bytes)) => pieces(&filler(bytes), count),
        (None, None) => (0..count).map(stock_word).collect(),
    }
}

fn deltas(script: &Script) -> usize {
    script.events.unwrap_or(USUAL_EVENTS).max(1) as usize
}

/// The stock sentence, word by word, over and over.
fn stock_word(index: usize) -> String {
    let word = WORDS[index % WORDS.len()];
    if index == 0 { word.to_owned() } else { format!(" {word}") }
}

/// So many bytes of letters and spaces.
fn filler(bytes: usize) -> String {
    FILLER.chars().cycle().take(bytes).collect()
}

/// Exactly so many pieces, cut between characters, as even as can be; some are empty when there is too little.
fn pieces(text: &str, count: usize) -> Vec<String> {
    let boundary = |at: usize| (at..=text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len());
    let ends = (0..=count).map(|i| boundary(text.len() * i / count));
    let ends: Vec<usize> = ends.collect();
    ends.windows(2).map(|window| text[window[0]..window[1]].to_owned()).collect()
}

fn call(asked: &Asked, script: &Script) -> Option<Call> {
    // A tool's result has just come: another call would never let a tool loop end.
    if asked.brings_tool_result {
        return None;
    }
    let by_script = script.tool_call.as_ref();
    let name = match (by_script, &asked.wants_tool) {
        (Some(call), _) => call.name.as_deref(),
        (None, Some(Wanted::Named(name))) => Some(name.as_str()),
        (None, Some(Wanted::Any)) => None,
        (None, None) => return None,
    };
    let tool = match name {
        Some(name) => asked.tools.iter().find(|tool| tool.name == name),
        None => asked.tools.first(),
    }?;
    let scripted = by_script.and_then(|call| call.arguments.clone());
    let arguments = scripted.unwrap_or_else(|| made_up(&tool.schema, 0));
    Some(Call { name: tool.name.clone(), arguments: arguments.to_string() })
}

/// The simplest value that a JSON schema takes: required properties only.
fn made_up(schema: &Value, depth: usize) -> Value {
    if let Some(fixed) = [&schema["const"], &schema["enum"][0]].into_iter().find(|value| !value.is_null()) {
        return fixed.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or_default();
    match kind.to_ascii_lowercase().as_str() {
        "string" => json!("simulated"),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "boolean" => json!(true),
        "array" => json!([]),
        "null" => Value::Null,
        // No type, or an object. A schema that is deeper than this does not end.
        _ if depth > DEEPEST_SCHEMA => json!({}),
        _ => {
            let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
            let names = required.iter().filter_map(Value::as_str);
            let fields = names.map(|name| (name.to_owned(), made_up(&schema["properties"][name], depth + 1)));
            Value::Object(Map::from_iter(fields))
        }
    }
}

const USUAL_EVENTS: u32 = 8;
const ARGUMENT_PIECES: usize = 3;
const DEEPEST_SCHEMA: usize = 8;
const WORDS: [&str; 8] = ["The", "simulated", "upstream", "answers", "plainly,", "word", "by", "word."];
const THOUGHTS: [&str; 3] = ["The question is simple;", " a plain answer", " will do."];
const FILLER: &str = "the quick brown fox jumps over the lazy dog and ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::ToolCall;
    use crate::stage::{Endpoint, Tool};

    fn asked(wants_tool: Option<Wanted>) -> Asked {
        let schema = json!({"type":"object","required":["city","unit","days","deep"],"properties":{
            "city":{"type":"string"},"unit":{"enum":["C","F"]},"days":{"type":"INTEGER","minimum":3},
            "deep":{"type":"object","required":["on"],"properties":{"on":{"type":"boolean"}}},"more":{"type":"string"}}});
        let tools =
            vec![Tool { name: "get".into(), schema: Value::Null }, Tool { name: "weather".into(), schema }];
        Asked { tools, wants_tool, ..Asked::unread(Endpoint::OpenaiChat, "m".into()) }
    }

    #[test]
    fn the_text_has_as_many_pieces_as_asked_and_says_what_was_asked() {
        let script = Script { text: Some("héé🦀".into()), events: Some(3), ..Script::default() };
        let content = Content::compose(&asked(None), &script);
        assert_eq!(content.text.len(), 3);
        assert_eq!(content.whole_text(), "héé🦀");
        let filled = Script { text_bytes: Some(5), events: Some(9), ..Script::default() };
        let content = Content::compose(&asked(None), &filled);
        assert_eq!((content.text.len(), content.whole_text().len()), (9, 5));
    }

    #[test]
    fn a_scripted_thought_is_thought_in_as_many_pieces_as_the_text() {
        let script = Script { thought: Some("aabbcc".into()), events: Some(3), ..Script::default() };
        assert_eq!(Content::compose(&asked(None), &script).thinking, ["aa", "bb", "cc"]);
    }

    #[test]
    fn arguments_obey_the_schema_s_required_fields() {
        let wanted = asked(Some(Wanted::Named("weather".into())));
        let call = Content::compose(&wanted, &Script::default()).call.unwrap();
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        assert_eq!(arguments, json!({"city":"simulated","unit":"C","days":3,"deep":{"on":true}}));
        assert_eq!(call.pieces().concat(), call.arguments);
    }

    #[test]
    fn a_script_calls_a_declared_tool_but_not_after_its_result() {
        let script = Script { tool_call: Some(ToolCall::default()), ..Script::default() };
        assert_eq!(Content::compose(&asked(None), &script).call.unwrap().name, "get");
        let answered = Asked { brings_tool_result: true, ..asked(None) };
        assert_eq!(Content::compose(&answered, &script).call, None);
        let nowhere = Asked { tools: vec![], ..asked(None) };
        assert_eq!(Content::compose(&nowhere, &script).call, None);
    }
}
