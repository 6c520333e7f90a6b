//! What seats ask for: four dialects, streams and whole answers, and what befalls them at the provider.

use super::dice::Dice;
use serde_json::{Value, json};
use simulator::{Cut, ErrorEvent, ErrorWords, FakeSuccess, Hang, Script, Usage};
use std::num::NonZeroUsize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Messages,
    Chat,
    Responses,
    Gemini,
}

/// Nano-USD a token; each is even, so that a factor of 1.5 leaves nothing to round.
pub struct Prices {
    pub input: i64,
    pub cache_write_5m: i64,
    pub cache_write_1h: i64,
    pub cache_read: i64,
    pub output: i64,
}

impl Api {
    pub const ALL: [Self; 4] = [Self::Messages, Self::Chat, Self::Responses, Self::Gemini];

    pub fn model(self) -> &'static str {
        match self {
            Self::Messages => "soak-claude",
            Self::Chat => "soak-chat",
            Self::Responses => "soak-responses",
            Self::Gemini => "soak-gemini",
        }
    }

    pub fn provider_type(self) -> &'static str {
        match self {
            Self::Messages => "claude",
            Self::Chat => "openai-compatible",
            Self::Responses => "codex",
            Self::Gemini => "gemini",
        }
    }

    pub fn prices(self) -> Prices {
        let (input, cache_write_5m, cache_write_1h, cache_read, output) = match self {
            Self::Messages => (3_000, 3_750, 6_000, 300, 15_000),
            Self::Chat => (1_250, 1_250, 1_250, 126, 10_000),
            Self::Responses => (1_252, 1_252, 1_252, 128, 10_002),
            Self::Gemini => (300, 300, 300, 30, 2_500),
        };
        Prices { input, cache_write_5m, cache_write_1h, cache_read, output }
    }

    /// The same in the catalogue's words.
    pub fn price_document(self) -> Value {
        let prices = self.prices();
        let usd = |nano: i64| format!("0.{nano:09}");
        json!({ "prices": {
            "input_cost_per_token": usd(prices.input),
            "cache_creation_input_token_cost": usd(prices.cache_write_5m),
            "cache_creation_input_token_cost_above_1hr": usd(prices.cache_write_1h),
            "cache_read_input_token_cost": usd(prices.cache_read),
            "output_cost_per_token": usd(prices.output),
        }})
    }

    pub fn path(self, is_stream: bool) -> &'static str {
        match (self, is_stream) {
            (Self::Messages, _) => "/v1/messages",
            (Self::Chat, _) => "/v1/chat/completions",
            (Self::Responses, _) => "/v1/responses",
            (Self::Gemini, true) => "/v1beta/models/soak-gemini:streamGenerateContent?alt=sse",
            (Self::Gemini, false) => "/v1beta/models/soak-gemini:generateContent",
        }
    }

    /// Asks for no more than a script may answer, and is long enough for all the input that one tells of: what a strict budget
    /// puts aside is then the most that it can cost.
    pub fn body(self, is_stream: bool) -> Value {
        let text = "hello ".repeat(MOST_INPUT / 6 + 1);
        let (model, talk) = (self.model(), json!([{"role": "user", "content": text}]));
        match self {
            Self::Messages => {
                json!({"model": model, "max_tokens": MOST_OUTPUT, "stream": is_stream, "messages": talk})
            }
            Self::Chat => {
                json!({"model": model, "max_completion_tokens": MOST_OUTPUT, "stream": is_stream, "messages": talk})
            }
            Self::Responses => {
                json!({"model": model, "max_output_tokens": MOST_OUTPUT, "stream": is_stream, "input": talk})
            }
            Self::Gemini => json!({
                "contents": [{"role": "user", "parts": [{"text": text}]}],
                "generationConfig": {"maxOutputTokens": MOST_OUTPUT},
            }),
        }
    }

    /// How a seat names its key.
    pub fn credential(self, secret: &str) -> (&'static str, String) {
        match self {
            Self::Messages => ("x-api-key", secret.to_owned()),
            Self::Chat | Self::Responses => ("authorization", format!("Bearer {secret}")),
            Self::Gemini => ("x-goog-api-key", secret.to_owned()),
        }
    }
}

/// What the provider does with a request.
pub fn script(dice: &mut Dice, api: Api, is_stream: bool, may_hang: bool) -> Script {
    // Before the first item of a Responses stream a model may think for a quarter of an hour.
    let may_think = api == Api::Responses && is_stream;
    let plain = Script {
        first_byte_delay_ms: dice.between(0, 80),
        spacing_ms: dice.between(0, 40),
        events: Some(dice.between(1, 20) as u32),
        usage: Some(usage(dice, api)),
        ..Script::default()
    };
    // An overload or a rate limit rests the provider for a second, in which nothing else of this list is asked for.
    if dice.between(0, 1_000) < 4 {
        return Script { status: Some(dice.one_of(&[429, 529])), retry_after_secs: Some(1), ..plain };
    }
    let some = dice.between(0, 8) as u32;
    let broken = Script { error: Some(no_overload(api)), ..plain.clone() };
    match dice.between(0, 100) {
        // Long ones, so that most faults meet some in their midst.
        0..12 => Script { events: Some(50), spacing_ms: 60, ..plain },
        12..20 => Script { status: Some(dice.one_of(&[400, 500, 502])), ..plain },
        20..24 => Script { error_event: Some(ErrorEvent::BeforeContent), ..broken },
        24..28 => Script { error_event: Some(ErrorEvent::AfterContent(some)), ..broken },
        28..30 => Script { cut: Some(Cut::BeforeHead), ..plain },
        30..32 => Script { cut: Some(Cut::AfterHead), ..plain },
        32..35 => Script { cut: Some(Cut::MidStream(some)), ..plain },
        35..38 => Script { cut: Some(Cut::MidChunk(some)), ..plain },
        38..39 if may_hang => Script { hang: Some(Hang::BeforeHead), ..plain },
        39..40 if may_hang && !may_think => Script { hang: Some(Hang::AfterHead), ..plain },
        40..42 if may_hang && !may_think => Script { hang: Some(Hang::MidStream(some)), ..plain },
        42..45 => Script { fake_success: Some(fake(dice)), ..broken },
        45..47 => Script { no_usage: true, ..plain },
        47..50 => Script { gzip: true, ..plain },
        50..53 => Script { drip: NonZeroUsize::new(64), ..plain },
        53..55 => Script { chunked: true, ..plain },
        _ => plain,
    }
}

/// A failure that rests nobody. The vendors' usual words for an error under a 200 are those of an overload.
fn no_overload(api: Api) -> ErrorWords {
    let (kind, code) = match api {
        Api::Messages => ("api_error", None),
        Api::Chat | Api::Responses => ("server_error", Some("server_error")),
        Api::Gemini => ("INTERNAL", None),
    };
    ErrorWords {
        kind: Some(kind.to_owned()),
        message: Some("Internal server error".to_owned()),
        code: code.map(str::to_owned),
    }
}

fn fake(dice: &mut Dice) -> FakeSuccess {
    dice.one_of(&[FakeSuccess::ErrorJson, FakeSuccess::Html, FakeSuccess::Empty, FakeSuccess::TruncatedJson])
}

fn usage(dice: &mut Dice, api: Api) -> Usage {
    let output = dice.between(1, MOST_OUTPUT);
    let mut usage =
        Usage { input: dice.between(1, 2_000), output, cache_read: dice.between(0, 500), ..Usage::default() };
    match api {
        Api::Messages => {
            usage.cache_write_5m = dice.between(0, 300);
            usage.cache_write_1h = dice.between(0, 300);
        }
        Api::Chat | Api::Responses | Api::Gemini => usage.reasoning = dice.between(0, output),
    }
    usage
}

/// Tokens of input that a script tells of at most: all classes together.
const MOST_INPUT: usize = 3_100;
/// Tokens of output.
const MOST_OUTPUT: u64 = 900;
