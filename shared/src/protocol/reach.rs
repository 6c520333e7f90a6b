//! What a request lets the provider read and do beyond its own bytes: content elsewhere, tools, tools of the provider's. Only
//! who must know an upper bound of its cost asks; it reads the whole body.
//!
//! What a tool was asked or a schema describes is the model's own affair: a `url` in there is text.
//!
//! Sources: platform.claude.com "Vision", "Files API", "Web search tool", "Web fetch tool", "MCP connector"; OpenAI API reference,
//! "Create a model response" and "Create chat completion"; ai.google.dev "Content", "Tool".

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// What a request reaches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Content that is not in the body: by URL, by id, by an earlier response.
    pub refers_elsewhere: bool,
    /// It brings tools.
    pub has_tools: bool,
    /// How often the provider may use tools of its own; `None`: it may as often as it likes.
    pub server_uses: Option<u64>,
}

/// Reads a JSON body, of whatever dialect. What cannot be read reaches for everything.
#[must_use]
pub fn reach(body: &[u8]) -> Reach {
    let mut found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = Node { found: &mut found, place: Place::Top }.deserialize(&mut deserializer);
    if read.is_err() {
        return Reach { refers_elsewhere: true, has_tools: true, server_uses: None };
    }
    Reach {
        refers_elsewhere: found.refers_elsewhere,
        has_tools: found.tools > 0,
        server_uses: (!found.is_unbounded).then_some(found.uses),
    }
}

#[derive(Default)]
struct Found {
    refers_elsewhere: bool,
    tools: u64,
    uses: u64,
    is_unbounded: bool,
    /// Of the tool that is read.
    tool: Tool,
}

#[derive(Default)]
struct Tool {
    is_server: bool,
    max_uses: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    /// Messages and their parts.
    Content,
    /// Where a part says where its content is.
    Source,
    /// One that is kept at the provider; of the older API the text itself, which is no object.
    Prompt,
    /// The list of tools.
    Tools,
    /// One of them.
    Tool,
    /// A tool's kind.
    ToolType,
    /// A tool's bound.
    MaxUses,
    /// Servers that the provider may call.
    Servers,
    /// What makes no difference.
    Ignored,
}

impl Place {
    fn under(self, key: &str) -> Self {
        match self {
            Self::Top => match key {
                "tools" | "functions" => Self::Tools,
                "mcp_servers" => Self::Servers,
                "previous_response_id" | "conversation" | "cachedContent" | "cached_content" => Self::Source,
                "prompt" => Self::Prompt,
                "messages" | "input" | "contents" | "system" | "instructions" | "systemInstruction"
                | "system_instruction" => Self::Content,
                _ => Self::Ignored,
            },
            Self::Content => match key {
                // What a tool was asked, and what it is called: text to the model.
                "input" | "arguments" | "args" | "functionCall" | "function_call" | "text" | "role"
                | "type" | "thinking" | "signature" | "encrypted_content" | "data" => Self::Ignored,
                "url" | "image_url" | "file_url" | "file_id" | "fileUri" | "file_uri" | "file_data"
                | "container_id" | "id_reference" => Self::Source,
                _ => Self::Content,
            },
            Self::Source => Self::Source,
            Self::Tools | Self::Tool => match key {
                "type" => Self::ToolType,
                "max_uses" => Self::MaxUses,
                // Google's tools of its own are known by their names.
                "googleSearch"
                | "google_search"
                | "googleSearchRetrieval"
                | "google_search_retrieval"
                | "codeExecution"
                | "code_execution"
                | "urlContext"
                | "url_context"
                | "googleMaps"
                | "google_maps"
                | "fileSearch"
                | "file_search" => Self::Servers,
                _ => Self::Ignored,
            },
            Self::Prompt | Self::ToolType | Self::MaxUses | Self::Servers | Self::Ignored => Self::Ignored,
        }
    }
}

struct Node<'a> {
    found: &'a mut Found,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.place {
            Place::Ignored => deserializer.deserialize_ignored_any(IgnoredAny).map(|_| ()),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.place {
            // What is written out is here.
            Place::Source if !text.is_empty() && !text.starts_with("data:") => {
                self.found.refers_elsewhere = true
            }
            Place::ToolType => self.found.tool.is_server |= is_server_tool(text),
            _ => {}
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        if self.place == Place::MaxUses {
            self.found.tool.max_uses = Some(number);
        }
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { found, place } = self;
        let inner = if place == Place::Tools { Place::Tool } else { place };
        loop {
            let is_there = seq.next_element_seed(Node { found: &mut *found, place: inner })?.is_some();
            match (is_there, place) {
                (false, _) => return Ok(()),
                (true, Place::Tools) => found.count_tool(),
                (true, Place::Servers) => found.is_unbounded = true,
                (true, _) => {}
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { found, place } = self;
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            let inner = match (place, &*key) {
                (Place::Content, "type") => {
                    let kind: serde_json::Value = map.next_value()?;
                    found.refers_elsewhere |= kind == "item_reference" || kind == "container_upload";
                    continue;
                }
                (Place::Source | Place::Prompt, "id" | "url" | "file_id" | "fileUri" | "file_uri") => {
                    Place::Source
                }
                // `detail` and the like say nothing about where.
                (Place::Source, _) => Place::Ignored,
                (place, key) => place.under(key),
            };
            if inner == Place::Servers && place == Place::Tool {
                found.tool.is_server = true;
            }
            map.next_value_seed(Node { found: &mut *found, place: inner })?;
        }
        Ok(())
    }
}

impl Found {
    fn count_tool(&mut self) {
        self.tools += 1;
        let tool = std::mem::take(&mut self.tool);
        match (tool.is_server, tool.max_uses) {
            (false, _) => {}
            (true, Some(uses)) => self.uses = self.uses.saturating_add(uses),
            (true, None) => self.is_unbounded = true,
        }
    }
}

/// True for a tool that the provider runs itself. Those that the caller runs have a type of their own at Anthropic and Codex.
fn is_server_tool(kind: &str) -> bool {
    let of_the_caller = [
        "custom",
        "function",
        "bash_",
        "text_editor_",
        "computer_",
        "memory_",
        "local_shell",
        "apply_patch",
        "shell",
    ];
    !of_the_caller.iter().any(|prefix| kind.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(body: &Value) -> Reach {
        reach(&serde_json::to_vec(body).unwrap())
    }

    #[test]
    fn what_is_written_out_reaches_for_nothing() {
        let bodies = [
            json!({"messages": [{"role": "user", "content": "see https://example.com/a.png"}]}),
            json!({"system": [{"type": "text", "text": "url"}], "messages": [{"role": "user", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                {"type": "text", "text": "file_id"}]}]}),
            json!({"messages": [{"role": "assistant", "content": [
                {"type": "tool_use", "id": "t", "name": "WebFetch", "input": {"url": "https://example.com"}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]}]}),
            json!({"messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "high"}}]},
                {"role": "assistant", "tool_calls": [{"id": "c", "type": "function",
                    "function": {"name": "f", "arguments": "{\"url\":\"https://example.com\"}"}}]}]}),
            json!({"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"file_id\": \"x\"}"},
                {"type": "reasoning", "encrypted_content": "x"}]}),
            json!({"contents": [{"role": "user", "parts": [{"text": "hi"},
                {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"url": "https://example.com"}}}]}]}),
            json!({"model": "text", "prompt": "go on"}),
        ];
        for body in bodies {
            let nothing = Reach { refers_elsewhere: false, has_tools: false, server_uses: Some(0) };
            assert_eq!(of(&body), nothing, "{body}");
        }
    }

    #[test]
    fn content_elsewhere_is_found_in_each_dialect() {
        let parts = [
            json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}),
            json!({"type": "document", "source": {"type": "file", "file_id": "file_1"}}),
            json!({"type": "container_upload", "file_id": "file_1"}),
            json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}),
            json!({"type": "file", "file": {"file_id": "file-1"}}),
            json!({"type": "input_image", "image_url": "https://example.com/a.png"}),
            json!({"type": "input_file", "file_url": "https://example.com/a.pdf"}),
            json!({"type": "input_file", "file_id": "file-1"}),
            json!({"fileData": {"mimeType": "video/mp4", "fileUri": "gs://a/b"}}),
            json!({"file_data": {"mime_type": "video/mp4", "file_uri": "gs://a/b"}}),
            json!({"type": "tool_result", "content": [{"type": "image", "source": {"type": "url", "url": "https://a"}}]}),
        ];
        for part in parts {
            for body in [
                json!({"messages": [{"role": "user", "content": [part]}]}),
                json!({"input": [{"role": "user", "content": [part]}]}),
                json!({"contents": [{"parts": [part]}]}),
            ] {
                assert!(of(&body).refers_elsewhere, "{body}");
            }
        }
        for body in [
            json!({"input": "go on", "previous_response_id": "resp_1"}),
            json!({"input": "go on", "conversation": {"id": "conv_1"}}),
            json!({"input": "go on", "conversation": "conv_1"}),
            json!({"prompt": {"id": "pmpt_1"}}),
            json!({"input": [{"type": "item_reference", "id": "msg_1"}]}),
            json!({"contents": [], "cachedContent": "cachedContents/1"}),
        ] {
            assert!(of(&body).refers_elsewhere, "{body}");
        }
    }

    #[test]
    fn tools_of_the_provider_are_told_from_the_callers_and_counted() {
        let with = |tools: Value| of(&json!({"tools": tools, "messages": []}));
        let schema = json!({"type": "object", "properties": {"url": {"type": "string"}}});
        let own = with(json!([
            {"name": "WebFetch", "input_schema": schema},
            {"type": "custom", "name": "x", "input_schema": schema},
            {"type": "bash_20250124", "name": "bash"},
            {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
            {"type": "function", "function": {"name": "f", "parameters": schema}},
            {"functionDeclarations": [{"name": "f", "parameters": schema}]},
        ]));
        assert_eq!(own, Reach { refers_elsewhere: false, has_tools: true, server_uses: Some(0) });
        let bounded = with(json!([
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
            {"max_uses": 2, "type": "web_fetch_20250910", "name": "web_fetch"},
            {"name": "mine", "max_uses": 9},
        ]));
        assert_eq!(bounded.server_uses, Some(7));
        for tool in [
            json!({"type": "web_search_20250305", "name": "web_search"}),
            json!({"type": "code_execution_20250825", "name": "code_execution"}),
            json!({"type": "web_search"}),
            json!({"type": "file_search", "vector_store_ids": ["vs_1"]}),
            json!({"type": "mcp", "server_url": "https://example.com"}),
            json!({"googleSearch": {}}),
            json!({"url_context": {}}),
        ] {
            assert_eq!(with(json!([tool])).server_uses, None, "{tool}");
        }
        let servers = json!({"mcp_servers": [{"type": "url", "url": "https://example.com"}], "messages": []});
        assert_eq!(of(&servers).server_uses, None);
    }

    #[test]
    fn what_cannot_be_read_reaches_for_everything() {
        let all = Reach { refers_elsewhere: true, has_tools: true, server_uses: None };
        assert_eq!(reach(b"{\"messages\": [\"\\ud800"), all);
        assert_eq!(reach(b""), all);
    }
}
