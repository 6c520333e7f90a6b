//! What a request lets the provider read and do beyond its own bytes: content elsewhere, media, tools, tools of the provider's,
//! several inputs in one. Only who must know an upper bound of its cost asks; it reads the whole body.
//!
//! What a tool was asked or a schema describes is the model's own affair: a `url` in there is text.
//!
//! Sources: platform.claude.com "Vision", "PDF support", "Citations", "Files API", "Web search tool", "Web fetch tool", "Advisor tool",
//! "MCP connector", "Compaction at a token threshold", "Refusals and fallback"; OpenAI API reference, "Create a model response",
//! "Create chat completion", "Create completion", "Create embeddings"; ai.google.dev "Content", "Tool", "Embeddings".

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// What a request reaches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Its input may be more tokens than it has bytes: content that is not in the body (by URL, by id, by an earlier response), media
    /// in it (a small picture or PDF may be thousands of tokens), documents that the vendor cuts up for citations.
    pub outgrows_body: bool,
    /// It brings tools.
    pub has_tools: bool,
    /// How often the provider may take a turn of its own; `None`: it may as often as it likes.
    pub server_uses: Option<u64>,
    /// How many inputs it brings that are read each by itself: prompts to complete, texts to embed. At least 1.
    pub inputs: u64,
    /// It foretells its answer; what of that does not come is billed as output all the same.
    pub foretells: bool,
    /// By how many bytes its text grows when it is brought into Unicode's compatibility form (NFKC), as Anthropic's published
    /// tokenizer does before it counts: three bytes of U+FDFA become 33.
    pub swelling: u64,
}

/// Reads a JSON body, of whatever dialect. What cannot be read reaches for everything.
#[must_use]
pub fn reach(body: &[u8]) -> Reach {
    let mut found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = Node { found: &mut found, place: Place::Top }.deserialize(&mut deserializer);
    if read.is_err() {
        return Reach {
            outgrows_body: true,
            has_tools: true,
            server_uses: None,
            inputs: 1,
            foretells: true,
            swelling: 0,
        };
    }
    Reach {
        outgrows_body: found.outgrows_body,
        has_tools: found.tools > 0,
        server_uses: (!found.is_unbounded).then_some(found.uses),
        inputs: found.inputs.max(1),
        foretells: found.foretells,
        swelling: found.swelling,
    }
}

#[derive(Default)]
struct Found {
    outgrows_body: bool,
    tools: u64,
    uses: u64,
    is_unbounded: bool,
    inputs: u64,
    foretells: bool,
    swelling: u64,
    /// Of the tool that is read.
    tool: Tool,
}

#[derive(Default)]
struct Tool {
    is_server: bool,
    /// Its kind is one whose turns `max_uses` bounds.
    heeds_max_uses: bool,
    max_uses: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    /// Messages and their parts.
    Content,
    /// What a part is.
    Kind,
    /// Where a part says where its content is, and media.
    Source,
    /// One that is kept at the provider, with whatever tools; of the older API the text itself, which is no object.
    Prompt,
    /// Messages, or texts to embed.
    Input,
    /// A prompt or a text of several.
    Entry,
    /// Requests to embed, in one.
    Requests,
    /// One of them.
    Request,
    /// The list of tools.
    Tools,
    /// One of them.
    Tool,
    /// A tool's kind.
    ToolType,
    /// A tool's bound.
    MaxUses,
    /// Where a tool runs.
    Environment,
    /// What lets the provider go on by itself: servers to call, searches, other models to ask.
    Servers,
    /// What is done with a conversation that gets long.
    Management,
    /// What the answer will mostly be.
    Prediction,
    /// What makes no difference.
    Ignored,
}

impl Place {
    fn under(self, key: &str) -> Self {
        match self {
            Self::Top => match key {
                "tools" | "functions" => Self::Tools,
                "mcp_servers" | "web_search_options" | "search_parameters" | "fallbacks" => Self::Servers,
                "previous_response_id" | "conversation" | "cachedContent" | "cached_content" => Self::Source,
                "prompt" => Self::Prompt,
                "prediction" => Self::Prediction,
                "context_management" => Self::Management,
                "requests" => Self::Requests,
                "input" => Self::Input,
                "messages" | "contents" | "content" | "system" | "instructions" | "systemInstruction"
                | "system_instruction" => Self::Content,
                _ => Self::Ignored,
            },
            Self::Content | Self::Input | Self::Entry | Self::Request => match key {
                "type" => Self::Kind,
                // What a tool was asked, and what it is called: text to the model.
                "arguments" | "args" | "functionCall" | "function_call" | "text" | "role" | "thinking"
                | "signature" | "encrypted_content" | "data" | "input" => Self::Ignored,
                "url" | "image_url" | "file_url" | "file_id" | "fileUri" | "file_uri" | "file_data"
                | "inlineData" | "inline_data" | "input_audio" | "audio" | "container_id"
                | "id_reference" => Self::Source,
                // Of `citations`: the document is cut into sentences, each with a number.
                "enabled" => Self::Source,
                _ => Self::Content,
            },
            Self::Tools | Self::Tool => match key {
                "type" => Self::ToolType,
                "max_uses" => Self::MaxUses,
                "environment" => Self::Environment,
                // Google's tools of its own are known by their names.
                "googleSearch"
                | "google_search"
                | "googleSearchRetrieval"
                | "google_search_retrieval"
                | "enterpriseWebSearch"
                | "enterprise_web_search"
                | "retrieval"
                | "codeExecution"
                | "code_execution"
                | "urlContext"
                | "url_context"
                | "googleMaps"
                | "google_maps"
                | "fileSearch"
                | "file_search"
                | "mcpServers"
                | "mcp_servers" => Self::Servers,
                _ => Self::Ignored,
            },
            Self::Management if matches!(key, "type" | "edits") => Self::Management,
            Self::Environment if key == "type" => Self::Environment,
            _ => Self::Ignored,
        }
    }

    /// Of what stands in a list there.
    fn inside(self) -> Self {
        match self {
            Self::Tools => Self::Tool,
            Self::Prompt | Self::Input => Self::Entry,
            Self::Requests => Self::Request,
            // A text may be written as a list of its tokens.
            Self::Entry => Self::Ignored,
            other => other,
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
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let Self { found, place } = self;
        found.swelling = found.swelling.saturating_add(swelling(text));
        match place {
            Place::Source => found.outgrows_body |= !text.is_empty(),
            Place::Kind => found.outgrows_body |= is_kind_that_outgrows(text),
            Place::Entry => found.inputs += 1,
            Place::ToolType => {
                found.tool.is_server |= is_server_tool(text);
                found.tool.heeds_max_uses = matches!(text, "web_search_20250305" | "web_fetch_20250910");
            }
            Place::Environment => found.tool.is_server |= text != "local",
            Place::Servers => found.is_unbounded |= !text.is_empty(),
            Place::Management => found.is_unbounded |= text.starts_with("compact"),
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

    fn visit_bool<E: Error>(self, is_true: bool) -> Result<(), E> {
        self.found.outgrows_body |= is_true && self.place == Place::Source;
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
        if place == Place::Entry {
            found.inputs += 1;
        }
        while seq.next_element_seed(Node { found: &mut *found, place: place.inside() })?.is_some() {
            if place == Place::Servers {
                found.is_unbounded = true;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { found, place } = self;
        match place {
            Place::Source => found.outgrows_body = true,
            Place::Prompt => {
                found.outgrows_body = true;
                found.is_unbounded = true;
            }
            Place::Servers => found.is_unbounded = true,
            Place::Prediction => found.foretells = true,
            Place::Requests | Place::Request => found.inputs += 1,
            _ => {}
        }
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            found.swelling = found.swelling.saturating_add(swelling(&key));
            map.next_value_seed(Node { found: &mut *found, place: place.under(&key) })?;
        }
        // Google's JSON takes a single tool where a list belongs.
        if matches!(place, Place::Tool | Place::Tools) {
            found.count_tool();
        }
        Ok(())
    }
}

impl Found {
    fn count_tool(&mut self) {
        self.tools += 1;
        match std::mem::take(&mut self.tool) {
            Tool { is_server: false, .. } => {}
            Tool { heeds_max_uses: true, max_uses: Some(uses), .. } => {
                self.uses = self.uses.saturating_add(uses);
            }
            Tool { .. } => self.is_unbounded = true,
        }
    }
}

/// By how many bytes a text is longer in NFKC.
fn swelling(text: &str) -> u64 {
    if text.is_ascii() || is_nfkc_quick(text.chars()) == IsNormalized::Yes {
        return 0;
    }
    let normalized: usize = text.nfkc().map(char::len_utf8).sum();
    u64::try_from(normalized.saturating_sub(text.len())).unwrap_or(u64::MAX)
}

/// True for a part whose content is elsewhere, or media.
fn is_kind_that_outgrows(kind: &str) -> bool {
    matches!(kind, "item_reference" | "container_upload" | "base64" | "image_generation_call")
}

/// True for a tool that the provider runs itself. Those that the caller runs have a type of their own at Anthropic and Codex.
fn is_server_tool(kind: &str) -> bool {
    let of_the_caller = [
        "custom",
        "function",
        "bash_",
        "text_editor_",
        "computer",
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

    const NOTHING: Reach = Reach {
        outgrows_body: false,
        has_tools: false,
        server_uses: Some(0),
        inputs: 1,
        foretells: false,
        swelling: 0,
    };

    fn of(body: &Value) -> Reach {
        reach(&serde_json::to_vec(body).unwrap())
    }

    #[test]
    fn what_is_written_out_reaches_for_nothing() {
        let bodies = [
            json!({"messages": [{"role": "user", "content": "see https://example.com/a.png"}]}),
            json!({"system": [{"type": "text", "text": "url"}], "messages": [{"role": "user", "content": [
                {"type": "document", "citations": {"enabled": false}, "source":
                    {"type": "text", "media_type": "text/plain", "data": "base64"}},
                {"type": "text", "text": "file_id"}]}]}),
            json!({"messages": [{"role": "assistant", "content": [
                {"type": "tool_use", "id": "t", "name": "WebFetch", "input": {"url": "https://example.com"}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]}]}),
            json!({"messages": [{"role": "assistant", "audio": null, "tool_calls": [{"id": "c", "type": "function",
                    "function": {"name": "f", "arguments": "{\"url\":\"https://example.com\"}"}}]}]}),
            json!({"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"file_id\": \"x\"}"},
                {"type": "reasoning", "encrypted_content": "x"}]}),
            json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}, {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"url": "https://example.com"}}}]}]}),
            json!({"model": "text", "prompt": "go on"}),
        ];
        for body in bodies {
            assert_eq!(of(&body), NOTHING, "{body}");
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
            json!({"role": "assistant", "audio": {"id": "audio_1"}}),
            json!({"type": "tool_result", "content": [{"type": "image", "source": {"type": "url", "url": "https://a"}}]}),
        ];
        for part in parts {
            for body in [
                json!({"messages": [{"role": "user", "content": [part]}]}),
                json!({"input": [{"role": "user", "content": [part]}]}),
                json!({"contents": [{"parts": [part]}]}),
            ] {
                assert!(of(&body).outgrows_body, "{body}");
            }
        }
        for body in [
            json!({"input": "go on", "previous_response_id": "resp_1"}),
            json!({"input": "go on", "conversation": {"id": "conv_1"}}),
            json!({"input": "go on", "conversation": "conv_1"}),
            json!({"prompt": {"id": "pmpt_1"}}),
            json!({"input": [{"type": "item_reference", "id": "msg_1"}]}),
            json!({"contents": [], "cachedContent": "cachedContents/1"}),
            json!({"content": {"parts": [{"fileData": {"fileUri": "gs://a/b"}}]}}),
            json!({"requests": [{"content": {"parts": [{"fileData": {"fileUri": "gs://a/b"}}]}}]}),
        ] {
            assert!(of(&body).outgrows_body, "{body}");
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
        assert_eq!(own, Reach { has_tools: true, ..NOTHING });
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
            // Bound by no `max_uses`: each run of code is another turn, and so is each question to the other model.
            json!({"type": "web_search_20260209", "name": "web_search", "max_uses": 5}),
            json!({"type": "code_execution_20250825", "name": "code_execution", "max_uses": 5}),
            json!({"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-8", "max_uses": 1}),
            json!({"type": "shell", "environment": {"type": "container_auto"}}),
            json!({"googleSearch": {}}),
            json!({"url_context": {}}),
        ] {
            assert_eq!(with(json!([tool])).server_uses, None, "{tool}");
        }
        assert_eq!(with(json!([{"type": "shell", "environment": {"type": "local"}}])).server_uses, Some(0));
        assert_eq!(
            with(json!({"googleSearch": {}})),
            Reach { has_tools: true, server_uses: None, ..NOTHING }
        );
    }

    #[test]
    fn what_lets_the_provider_go_on_by_itself_has_no_bound() {
        for body in [
            json!({"mcp_servers": [{"type": "url", "url": "https://example.com"}]}),
            json!({"web_search_options": {}}),
            json!({"search_parameters": {"mode": "auto"}}),
            json!({"fallbacks": [{"model": "claude-opus-4-8"}]}),
            json!({"fallbacks": "default"}),
            json!({"prompt": {"id": "pmpt_1"}}),
            json!({"context_management": {"edits": [{"type": "compact_20260112"}]}}),
            json!({"context_management": [{"type": "compaction", "compact_threshold": 1_000}]}),
        ] {
            assert_eq!(of(&body).server_uses, None, "{body}");
        }
        for body in [
            json!({"mcp_servers": [], "fallbacks": null, "web_search_options": null}),
            json!({"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}),
        ] {
            assert_eq!(of(&body), NOTHING, "{body}");
        }
    }

    #[test]
    fn media_in_the_body_outgrow_it() {
        let data = "data:image/png;base64,aGk=";
        for part in [
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}),
            json!({"type": "document", "source": {"type": "base64", "data": "aGk="}}),
            json!({"type": "tool_result", "content": [{"type": "image", "source": {"type": "base64", "data": "aGk="}}]}),
            json!({"type": "document", "citations": {"enabled": true}, "source": {"type": "text", "data": "hi"}}),
            json!({"type": "image_url", "image_url": {"url": data, "detail": "high"}}),
            json!({"type": "input_image", "image_url": data}),
            json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}}),
            json!({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}),
            json!({"type": "image_generation_call", "result": "aGk="}),
            json!({"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": data}}),
            json!({"inlineData": {"mimeType": "video/mp4", "data": "aGk="}}),
            json!({"inline_data": {"mime_type": "video/mp4", "data": "aGk="}}),
            json!({"functionResponse": {"name": "f", "parts": [{"inlineData": {"data": "aGk="}}]}}),
        ] {
            for body in [
                json!({"messages": [{"role": "user", "content": [part]}]}),
                json!({"input": [part]}),
                json!({"contents": [{"parts": [part]}]}),
                json!({"requests": [{"content": {"parts": [part]}}]}),
            ] {
                assert!(of(&body).outgrows_body, "{body}");
            }
        }
    }

    #[test]
    fn inputs_that_are_read_each_by_itself_are_counted() {
        for (body, inputs) in [
            (json!({"prompt": "a"}), 1),
            (json!({"prompt": ["a", "b", "c"]}), 3),
            (json!({"prompt": [1, 2, 3]}), 1),
            (json!({"prompt": [[1, 2], [3]]}), 2),
            (json!({"input": "a"}), 1),
            (json!({"input": ["a", "b"]}), 2),
            (json!({"input": [[1], [2], [3]]}), 3),
            (
                json!({"input": [{"role": "user", "content": "a"}, {"role": "user", "content": ["b", "c"]}]}),
                1,
            ),
            (
                json!({"requests": [{"content": {"parts": [{"text": "a"}, {"text": "b"}]}}, {"content": {}}]}),
                2,
            ),
            (json!({"messages": ["a", "b"]}), 1),
        ] {
            assert_eq!(of(&body).inputs, inputs, "{body}");
        }
    }

    #[test]
    fn a_foretold_answer_is_seen() {
        assert!(of(&json!({"prediction": {"type": "content", "content": "let x = 1;"}})).foretells);
        assert!(!of(&json!({"prediction": null})).foretells);
    }

    #[test]
    fn what_normalization_adds_is_counted_escaped_or_not() {
        for (body, swelling) in [
            ("{\"messages\": [{\"content\": \"\u{FDFA}\"}]}", 30),
            (r#"{"messages": [{"content": "\uFDFA"}]}"#, 30),
            (r#"{"tools": [{"input_schema": {"\u3316": "\u00bc"}}]}"#, 15 + 3),
            (r#"{"messages": [{"content": "漢字 한국어 \ud83d\ude00 नमस्ते"}]}"#, 0),
        ] {
            assert_eq!(reach(body.as_bytes()).swelling, swelling, "{body}");
        }
    }

    #[test]
    fn what_cannot_be_read_reaches_for_everything() {
        for body in [b"{\"messages\": [\"\\ud800".as_slice(), b""] {
            let Reach { outgrows_body, has_tools, server_uses, foretells, .. } = reach(body);
            assert_eq!((outgrows_body, has_tools, server_uses, foretells), (true, true, None, true));
        }
    }
}
