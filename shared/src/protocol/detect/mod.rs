//! Which API a request calls, told from its head alone.
//!
//! Knows nothing of bodies, credentials or providers. The table is design §4's; what the predecessor
//! proxied beyond it is answered 404 here and never forwarded. Paths are matched byte by byte (no case
//! folding, no dot or slash normalisation), so a path that an upstream might read differently is unknown.

mod family;

pub use family::Family;

use super::Dialect;
use http::Method;
use std::ops::Range;

/// What `detect` needs of a request head.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path as sent, still percent-encoded, without the query.
    pub path: &'a str,
    /// An `anthropic-version` header is present.
    pub has_anthropic_version: bool,
    /// An `x-goog-api-key` header is present.
    pub has_goog_api_key: bool,
    /// `Upgrade: websocket` is asked for.
    pub is_websocket_upgrade: bool,
}

/// What a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// Goes to a provider.
    Proxied(Endpoint<'a>),
    /// The list of models or one of them, answered here from what the caller's groups allow.
    Models {
        /// The shape of the list.
        listing: ModelListing,
        /// The one asked for, percent-decoded; `None` for the list.
        model: Option<String>,
    },
    /// A page of our own.
    Local(LocalPage),
}

/// Why a request is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// 404: no such path.
    UnknownPath {
        /// The dialect of the refusal.
        dialect: Dialect,
    },
    /// 405: the path exists, for another method.
    MethodNotAllowed {
        /// The dialect of the refusal.
        dialect: Dialect,
        /// The `Allow` header.
        allow: &'static str,
    },
    /// 404: a resource that lives at one upstream account; not proxied until ids are mapped to the provider
    /// that made them.
    StatefulResource {
        /// The dialect of the refusal.
        dialect: Dialect,
    },
    /// 426: a WebSocket on `/v1/responses`; Codex then uses HTTP.
    WebsocketUpgrade,
}

/// An API call that goes to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// Which call.
    pub family: Family,
    /// The path to forward: as sent, less one trailing slash.
    pub path: &'a str,
    /// The model, where the path names it (Gemini).
    pub path_model: Option<PathModel>,
}

/// A model named in the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathModel {
    /// Percent-decoded. Never empty; holds no slash, backslash, `%`, `?`, `#`, blank or control character.
    pub value: String,
    /// The bytes of [`Endpoint::path`] that name it.
    pub range: Range<usize>,
}

/// The shape of a list of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelListing {
    /// `{"data":[{"type":"model",…}],"has_more":false,…}`.
    Anthropic,
    /// `{"object":"list","data":[…]}`.
    Openai,
    /// `{"models":[{"name":"models/…"}]}`.
    Gemini,
}

/// A page of our own, without credentials. Answers GET and HEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalPage {
    /// `/`: says where things are.
    Root,
    /// `/_ping`.
    Ping,
    /// `/api/hello`: Claude Code's warm-up.
    Hello,
}

/// Tells what a request is, or why it is none of ours.
pub fn detect<'a>(head: &RequestHead<'a>) -> Result<Route<'a>, Miss> {
    let path = match head.path.strip_suffix('/') {
        Some(rest) if !rest.is_empty() => rest,
        _ => head.path,
    };
    if let Some(page) = local_page(path) {
        return if is_read(head.method) {
            Ok(Route::Local(page))
        } else {
            Err(Miss::MethodNotAllowed { dialect: dialect_of_unknown(head, path), allow: "GET, HEAD" })
        };
    }
    if let Some((listing, model)) = model_listing(head, path) {
        return if is_read(head.method) {
            Ok(Route::Models { listing, model })
        } else {
            Err(Miss::MethodNotAllowed { dialect: listing.dialect(), allow: "GET, HEAD" })
        };
    }
    let Some(endpoint) = fixed_endpoint(path).map_or_else(|| gemini_endpoint(path), Some) else {
        let dialect = dialect_of_unknown(head, path);
        return Err(if is_stateful(path) {
            Miss::StatefulResource { dialect }
        } else {
            Miss::UnknownPath { dialect }
        });
    };
    if head.is_websocket_upgrade && endpoint.family == Family::OpenaiResponses {
        return Err(Miss::WebsocketUpgrade);
    }
    if head.method != Method::POST {
        return Err(Miss::MethodNotAllowed { dialect: endpoint.family.dialect(), allow: "POST" });
    }
    Ok(Route::Proxied(endpoint))
}

impl Endpoint<'_> {
    /// The path with another model in it, percent-encoded; the path itself where it names none.
    #[must_use]
    pub fn path_with_model(&self, model: &str) -> String {
        let Some(named) = &self.path_model else { return self.path.to_owned() };
        let before = self.path.get(..named.range.start).unwrap_or_default();
        let after = self.path.get(named.range.end..).unwrap_or_default();
        let mut path = String::with_capacity(before.len() + model.len() + after.len());
        path.push_str(before);
        for byte in model.bytes() {
            if byte.is_ascii_alphanumeric() || UNRESERVED.contains(&byte) {
                path.push(char::from(byte));
            } else {
                path.push('%');
                path.push(char::from(HEX[usize::from(byte >> 4)]));
                path.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
        path.push_str(after);
        path
    }
}

impl ModelListing {
    /// The dialect of refusals on this path.
    #[must_use]
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Anthropic => Dialect::Anthropic,
            Self::Openai => Dialect::OpenaiChat,
            Self::Gemini => Dialect::Gemini,
        }
    }
}

fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

fn local_page(path: &str) -> Option<LocalPage> {
    match path {
        "/" => Some(LocalPage::Root),
        "/_ping" => Some(LocalPage::Ping),
        "/api/hello" => Some(LocalPage::Hello),
        _ => None,
    }
}

/// The list of models, or one of them: a single segment that is no Gemini action.
fn model_listing(head: &RequestHead<'_>, path: &str) -> Option<(ModelListing, Option<String>)> {
    let (listing, rest) = if let Some(rest) = path.strip_prefix("/v1beta/models") {
        (ModelListing::Gemini, rest)
    } else {
        let listing = match (head.has_anthropic_version, head.has_goog_api_key) {
            (true, _) => ModelListing::Anthropic,
            (false, true) => ModelListing::Gemini,
            (false, false) => ModelListing::Openai,
        };
        (listing, path.strip_prefix("/v1/models")?)
    };
    if rest.is_empty() {
        return Some((listing, None));
    }
    if !is_read(head.method) || gemini_endpoint(path).is_some() || is_stateful(path) {
        return None;
    }
    Some((listing, Some(decode_model(rest.strip_prefix('/')?)?)))
}

fn fixed_endpoint(path: &str) -> Option<Endpoint<'_>> {
    let family = match path {
        "/v1/messages" => Family::AnthropicMessages,
        "/v1/messages/count_tokens" => Family::AnthropicCountTokens,
        "/v1/responses" => Family::OpenaiResponses,
        "/v1/responses/compact" => Family::OpenaiResponsesCompact,
        "/v1/chat/completions" => Family::OpenaiChat,
        "/v1/completions" => Family::OpenaiCompletions,
        "/v1/embeddings" => Family::OpenaiEmbeddings,
        _ => return None,
    };
    Some(Endpoint { family, path, path_model: None })
}

fn gemini_endpoint(path: &str) -> Option<Endpoint<'_>> {
    let prefix = GEMINI_PREFIXES.into_iter().find(|prefix| path.starts_with(prefix))?;
    let (segment, action) = path.get(prefix.len()..)?.rsplit_once(':')?;
    let family = match action {
        "generateContent" => Family::GeminiGenerate,
        "streamGenerateContent" => Family::GeminiStreamGenerate,
        "countTokens" => Family::GeminiCountTokens,
        "embedContent" | "batchEmbedContents" => Family::GeminiEmbed,
        _ => return None,
    };
    let value = decode_model(segment)?;
    let range = prefix.len()..prefix.len() + segment.len();
    Some(Endpoint { family, path, path_model: Some(PathModel { value, range }) })
}

/// `None` for whatever could make an upstream read another path than we do: slashes however encoded, dot
/// segments, doubly encoded bytes, query and fragment marks, blanks and control characters.
fn decode_model(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' { hex(rest.next()?)? << 4 | hex(rest.next()?)? } else { byte });
    }
    let model = String::from_utf8(bytes).ok()?;
    let is_safe =
        |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '/' | '\\' | '%' | '?' | '#');
    let is_segment = !model.is_empty() && model != "." && model != "..";
    (is_segment && model.chars().all(is_safe)).then_some(model)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Whether the path names something that lives at one upstream account.
fn is_stateful(path: &str) -> bool {
    // Asynchronous Gemini calls make a batch or an operation to be fetched later.
    if GEMINI_PREFIXES.iter().any(|prefix| path.starts_with(prefix)) {
        return path.rsplit_once(':').is_some_and(|(_, action)| GEMINI_ASYNC_ACTIONS.contains(&action));
    }
    if path == "/v1/responses/input_tokens" {
        return false;
    }
    let is_below = |root: &&str| path.strip_prefix(*root).is_some_and(|rest| rest.starts_with('/'));
    let is_at = |root: &&str| path == *root || is_below(root);
    STATEFUL_ROOTS.iter().any(is_at) || STATEFUL_PARENTS.iter().any(is_below)
}

/// The dialect a caller of an unknown path most likely reads: by path, then by header, then OpenAI's for
/// `/v1` and Anthropic's elsewhere.
fn dialect_of_unknown(head: &RequestHead<'_>, path: &str) -> Dialect {
    let is_under =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is_under("/v1beta") || is_under("/v1/publishers") {
        Dialect::Gemini
    } else if is_under("/v1/messages") || head.has_anthropic_version {
        Dialect::Anthropic
    } else if head.has_goog_api_key {
        Dialect::Gemini
    } else if is_under("/v1/responses") {
        Dialect::OpenaiResponses
    } else if is_under("/v1") {
        Dialect::OpenaiChat
    } else {
        Dialect::Anthropic
    }
}

/// What stands before the model in a Gemini path.
const GEMINI_PREFIXES: [&str; 3] = ["/v1beta/models/", "/v1/models/", "/v1/publishers/google/models/"];

/// Gemini actions that only start something.
const GEMINI_ASYNC_ACTIONS: [&str; 3] =
    ["batchGenerateContent", "asyncBatchEmbedContent", "predictLongRunning"];

/// Stateful with all that is below them.
const STATEFUL_ROOTS: [&str; 24] = [
    "/upload/v1beta/files",
    "/v1/assistants",
    "/v1/batches",
    "/v1/chatkit",
    "/v1/containers",
    "/v1/conversations",
    "/v1/evals",
    "/v1/files",
    "/v1/fine_tuning",
    "/v1/messages/batches",
    "/v1/organization",
    "/v1/realtime",
    "/v1/skills",
    "/v1/threads",
    "/v1/uploads",
    "/v1/vector_stores",
    "/v1/videos",
    "/v1beta/batches",
    "/v1beta/cachedContents",
    "/v1beta/corpora",
    "/v1beta/fileSearchStores",
    "/v1beta/files",
    "/v1beta/operations",
    "/v1beta/tunedModels",
];

/// Calls whose children are stateful: `/v1/responses/{id}`, `/v1/chat/completions/{id}`.
const STATEFUL_PARENTS: [&str; 2] = ["/v1/responses", "/v1/chat/completions"];

/// What RFC 3986 lets stand in a path segment besides letters and digits and needs no encoding; `:` is left
/// out, it separates the action.
const UNRESERVED: [u8; 5] = *b"-._~@";

const HEX: [u8; 16] = *b"0123456789ABCDEF";

#[cfg(test)]
mod tests;
