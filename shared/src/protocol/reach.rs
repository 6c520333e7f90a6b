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
    /// How often the provider may take a turn of its own, searches of the next field not counted; `None`: it may as often as it likes.
    pub server_uses: Option<u64>,
    /// It lets the model search the web by OpenAI's tool, which has no limit of its own.
    pub searches: bool,
    /// `max_tool_calls`: how many calls of OpenAI's own tools there may be in an answer of the Responses API, all together ("any
    /// further attempts to call a tool by the model will be ignored", OpenAI API reference).
    pub max_tool_calls: Option<u64>,
    /// It asks for Anthropic's fast mode.
    pub is_fast: bool,
    /// It says where the model may run (Anthropic's `inference_geo`), and that is everywhere. Else a workspace may have another default.
    pub is_anywhere: bool,
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
            searches: true,
            max_tool_calls: None,
            is_fast: true,
            is_anywhere: false,
            inputs: 1,
            foretells: true,
            swelling: 0,
        };
    }
    Reach {
        outgrows_body: found.outgrows_body,
        has_tools: found.tools > 0,
        server_uses: (!found.is_unbounded).then_some(found.uses),
        searches: found.searches,
        max_tool_calls: found.max_tool_calls,
        is_fast: found.is_fast,
        is_anywhere: found.geos == (Geos { anywhere: true, elsewhere: false }),
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
    searches: bool,
    max_tool_calls: Option<u64>,
    is_fast: bool,
    geos: Geos,
    inputs: u64,
    foretells: bool,
    swelling: u64,
    /// Of the tool that is read.
    tool: Tool,
}

/// What a request says of where the model may run, be it twice.
#[derive(Default, PartialEq, Eq)]
struct Geos {
    anywhere: bool,
    elsewhere: bool,
}

#[derive(Default)]
struct Tool {
    is_server: bool,
    /// It is OpenAI's search of the web.
    searches: bool,
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
    /// The bound of all tools together.
    MaxToolCalls,
    Speed,
    Geo,
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
                "max_tool_calls" => Self::MaxToolCalls,
                "speed" => Self::Speed,
                "inference_geo" => Self::Geo,
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
                found.tool.searches |= is_search_tool(text);
                found.tool.heeds_max_uses = matches!(text, "web_search_20250305" | "web_fetch_20250910");
            }
            Place::Environment => found.tool.is_server |= text != "local",
            Place::Speed => found.is_fast |= text == "fast",
            Place::Geo if text == "global" => found.geos.anywhere = true,
            Place::Geo => found.geos.elsewhere = true,
            Place::Servers => found.is_unbounded |= !text.is_empty(),
            Place::Management => found.is_unbounded |= text.starts_with("compact"),
            _ => {}
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        match self.place {
            Place::MaxUses => self.found.tool.max_uses = Some(number),
            Place::MaxToolCalls => self.found.max_tool_calls = self.found.max_tool_calls.max(Some(number)),
            _ => {}
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
            Tool { searches: true, .. } => self.searches = true,
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

/// True for OpenAI's search of the web, in any of its releases.
fn is_search_tool(kind: &str) -> bool {
    matches!(
        kind,
        "web_search" | "web_search_2025_08_26" | "web_search_preview" | "web_search_preview_2025_03_11"
    )
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
mod tests;
