//! The faults, in the order in which an attempt can meet them.

use super::asks::ask;
use super::seen::{Bill, Mode};
use super::table::{
    Asked, How, Means, NOTHING, PATIENT_MS, PIECES, Row, SERVED, SHORT_MS, Then, UNKNOWN, guessed,
};
use shared::contract::breaker::CoolKind;
use shared::contract::usage::Outcome;
use shared::model::Timers;
use shared::protocol::Dialect::{self, Anthropic, Gemini, OpenaiChat, OpenaiResponses};
use simulator::{Cut, ErrorEvent, ErrorWords, FakeSuccess, Hang, PingOnly, RetryHint, Script};
use std::num::NonZeroUsize;

pub fn all() -> Vec<Row> {
    [connections(), silences(), cuts(), error_events(), fakes(), refusals(), rate_limits(), breakdowns()]
        .into_iter()
        .flatten()
        .collect()
}

const BOTH: &[Mode] = &Mode::ALL;
const STREAM: &[Mode] = &[Mode::Stream];
const WHOLE: &[Mode] = &[Mode::Whole];
const EVERY: &[Dialect] = &Dialect::ALL;
/// Those whose streams open with an event that is no content yet.
const OPENED: &[Dialect] = &[Anthropic, OpenaiChat, OpenaiResponses];
/// So many events of a stream: in every dialect past its first content.
const PAST_CONTENT: u32 = 8;

fn row(fault: &'static str, how: How, means: fn(Dialect, Mode) -> Means) -> Row {
    Row { fault, how, timers: Timers::default(), modes: BOTH, dialects: EVERY, means }
}

fn plays(fault: &'static str, script: Script, means: fn(Dialect, Mode) -> Means) -> Row {
    let text = Some("first ".repeat(PIECES as usize));
    row(fault, How::Plays(Box::new(Script { text, events: Some(PIECES), ..script })), means)
}

impl Row {
    fn only(self, modes: &'static [Mode], dialects: &'static [Dialect]) -> Self {
        Self { modes, dialects, ..self }
    }

    /// All of its provider's timers are short.
    fn timed(self, ms: u64) -> Self {
        let timers = Timers {
            first_byte_timeout_streaming_ms: ms,
            streaming_idle_timeout_ms: ms,
            request_timeout_non_streaming_ms: ms,
        };
        Self { timers, ..self }
    }
}

fn connections() -> Vec<Row> {
    vec![
        row("refuses the connection", How::Refuses, |_, _| {
            Means::new("connect_refused", Asked::Once, Then::Next("transport")).bill(NOTHING)
        }),
        row("has a certificate that nobody trusts", How::Untrusted, |_, _| {
            Means::new("connect_tls", Asked::Once, Then::Next("transport")).bill(NOTHING)
        }),
        row("speaks no TLS where it should", How::SpeaksNoTls, |_, _| {
            Means::new("connect_tls", Asked::Once, Then::Next("transport")).bill(NOTHING)
        }),
    ]
}

fn late(mode: Mode, in_a_stream: &'static str) -> Means {
    Means::timeout(if mode == Mode::Stream { in_a_stream } else { "timeout_whole" })
}

fn silences() -> Vec<Row> {
    let pings = |after_opening, after_events| {
        let pings = PingOnly { every_ms: 20, for_ms: None, after_opening, after_events };
        Script { ping_only: Some(pings), ..Script::default() }
    };
    let drip =
        |bytes, drip_every_ms| Script { drip: NonZeroUsize::new(bytes), drip_every_ms, ..Script::default() };
    let stalled = |dialect, _| {
        Means::committed("timeout_progress", Then::Broken { by_timer: true }, heard(dialect)).counts()
    };
    vec![
        plays("hangs before the head", Script::hanging(Hang::BeforeHead), |_, mode| {
            late(mode, "timeout_head")
        })
        .timed(SHORT_MS),
        plays("hangs after the head", Script::hanging(Hang::AfterHead), |_, mode| {
            late(mode, "timeout_progress")
        })
        .timed(SHORT_MS),
        plays("hangs after the opening event", Script::hanging(Hang::MidStream(1)), |dialect, _| {
            Means::timeout("timeout_progress").bill(opened(dialect))
        })
        .only(STREAM, OPENED)
        .timed(SHORT_MS),
        plays("hangs half-way", Script::hanging(Hang::MidStream(1)), |_, _| Means::timeout("timeout_whole"))
            .only(WHOLE, EVERY)
            .timed(SHORT_MS),
        plays("hangs after content", Script::hanging(Hang::MidStream(PAST_CONTENT)), stalled)
            .only(STREAM, EVERY)
            .timed(PATIENT_MS),
        plays("sends pings and nothing else", pings(false, 0), |_, _| Means::timeout("timeout_progress"))
            .only(STREAM, EVERY)
            .timed(SHORT_MS),
        plays("sends pings alone after its opening events", pings(true, 0), |dialect, _| {
            Means::timeout("timeout_progress").bill(opened(dialect))
        })
        .only(STREAM, OPENED)
        .timed(SHORT_MS),
        plays("sends pings alone after content", pings(false, PAST_CONTENT), stalled)
            .only(STREAM, EVERY)
            .timed(PATIENT_MS),
        plays("keeps its stream open behind its end", pings(false, 99), |dialect, _| match dialect {
            Anthropic | OpenaiChat | OpenaiResponses => Means::served(),
            // Google's streams end with their bytes, and with nothing before that.
            Gemini => {
                let told = Bill { outcome: Outcome::Failed, ..SERVED };
                Means::committed("timeout_progress", Then::Broken { by_timer: true }, told).counts()
            }
        })
        .only(STREAM, EVERY)
        .timed(PATIENT_MS),
        plays("drips, an event within each limit", drip(512, 30), |_, _| Means::served()).timed(PATIENT_MS),
        plays("drips too slowly for an event, or the whole", drip(1, 20), |_, mode| {
            late(mode, "timeout_progress")
        })
        .timed(SHORT_MS),
    ]
}

fn cuts() -> Vec<Row> {
    let broken =
        |dialect, _| Means::committed("cut_after_content", Then::Broken { by_timer: false }, heard(dialect));
    vec![
        plays("cuts before the head", Script::cutting(Cut::BeforeHead), |_, _| Means::cut("cut_before_head")),
        plays("cuts after the head", Script::cutting(Cut::AfterHead), |_, _| {
            Means::cut("cut_before_content")
        }),
        plays("cuts inside its first event", Script::cutting(Cut::MidChunk(0)), |_, _| {
            Means::cut("cut_before_content")
        }),
        plays("cuts after the opening event", Script::cutting(Cut::MidStream(1)), |dialect, _| {
            Means::cut("cut_before_content").bill(opened(dialect))
        })
        .only(STREAM, OPENED),
        plays("cuts half-way", Script::cutting(Cut::MidStream(1)), |_, _| Means::cut("cut_before_content"))
            .only(WHOLE, EVERY),
        plays("cuts after content", Script::cutting(Cut::MidStream(PAST_CONTENT)), broken)
            .only(STREAM, EVERY),
        plays("cuts inside an event after content", Script::cutting(Cut::MidChunk(PAST_CONTENT)), broken)
            .only(STREAM, EVERY),
    ]
}

fn error_events() -> Vec<Row> {
    let at = |place, error| Script { error_event: Some(place), error, ..Script::default() };
    let internal = || {
        Some(ErrorWords {
            kind: Some("api_error".to_owned()),
            message: Some("Internal server error".to_owned()),
            code: Some("server_error".to_owned()),
        })
    };
    vec![
        plays("says it is overloaded, before content", at(ErrorEvent::BeforeContent, None), |dialect, _| {
            Means::overload().bill(opened(dialect))
        })
        .only(STREAM, EVERY),
        plays("says it broke, before content", at(ErrorEvent::BeforeContent, internal()), |dialect, _| {
            let label = if dialect == Gemini { "server_error" } else { "stream_error" };
            Means::server(label).bill(opened(dialect))
        })
        .only(STREAM, EVERY),
        plays("says it is overloaded, after content", at(ErrorEvent::AfterContent(3), None), |dialect, _| {
            Means::committed("overloaded", Then::ServedWithError, heard_three(dialect)).cools_for_overload()
        })
        .only(STREAM, EVERY),
        plays("says it broke, after content", at(ErrorEvent::AfterContent(3), internal()), |dialect, _| {
            let label = if dialect == Gemini { "server_error" } else { "stream_error" };
            Means::committed(label, Then::ServedWithError, heard_three(dialect)).counts()
        })
        .only(STREAM, EVERY),
    ]
}

fn fakes() -> Vec<Row> {
    let fake = |fake| Script { fake_success: Some(fake), ..Script::default() };
    vec![
        plays("says 200 with an error document", fake(FakeSuccess::ErrorJson), |dialect, mode| {
            // Gemini's streams are JSON too: there it is one that begins with an error.
            match (dialect, mode) {
                (Gemini, Mode::Stream) => Means::server("server_error"),
                _ => Means::fake("fake_success_error"),
            }
        }),
        plays("says 200 with a web page", fake(FakeSuccess::Html), |_, _| Means::fake("fake_success_html")),
        plays("says 200 with half a document", fake(FakeSuccess::TruncatedJson), |_, _| {
            Means::fake("fake_success_malformed")
        })
        .only(WHOLE, EVERY),
        plays("says 200 with an error event alone", fake(FakeSuccess::ErrorStream), |_, _| Means::overload()),
        plays("says 200 with nothing", fake(FakeSuccess::Empty), |_, _| Means::fake("fake_success_empty")),
        plays("ends its stream after the opening", fake(FakeSuccess::EmptyStream), |dialect, _| {
            Means::fake("fake_success_empty").bill(opened(dialect))
        })
        .only(STREAM, EVERY),
    ]
}

fn refusals() -> Vec<Row> {
    let of_a_path = ErrorWords {
        kind: None,
        message: Some("There is no such path.".to_owned()),
        code: Some("unknown_url".to_owned()),
    };
    vec![
        plays("400", Script::failing(400), |_, _| fault(400)),
        plays("401", Script::failing(401), |_, _| Means::credential().status(401)),
        plays("402", Script::failing(402), |_, _| Means::credential().status(402)),
        plays("403", Script::failing(403), |_, _| Means::credential().status(403)),
        plays("404 that names the model", Script::failing(404), |_, _| {
            Means::new("model_missing", Asked::Once, Then::NextOrRefusal(404)).status(404).cools(
                CoolKind::ModelMissing,
                true,
                600_000..=600_000,
            )
        }),
        plays("404 of a path", Script { error: Some(of_a_path), ..Script::failing(404) }, |_, _| {
            Means::new("not_found", Asked::Once, Then::NextOrRefusal(404)).status(404)
        }),
        plays("413", Script::failing(413), |_, _| fault(413)),
        plays("422", Script::failing(422), |_, _| fault(422)),
    ]
}

fn fault(status: u16) -> Means {
    Means::new("request_fault", Asked::Once, Then::Refusal(status)).status(status)
}

fn limited() -> Means {
    Means::new("rate_limited", Asked::Once, Then::NextRate).status(429)
}

fn rate_limits() -> Vec<Row> {
    let hinted = |retry_hint| Script { retry_after_secs: Some(120), retry_hint, ..Script::failing(429) };
    // A date says whole seconds: up to one more than was meant.
    let dated: fn(Dialect, Mode) -> Means =
        |_, _| limited().waits(120..=121).cools(CoolKind::RateLimit, true, 120_000..=121_000);
    let counted: fn(Dialect, Mode) -> Means =
        |_, _| limited().waits(120..=120).cools(CoolKind::RateLimit, true, 120_000..=120_000);
    vec![
        plays("429, `retry-after: 120`", hinted(Some(RetryHint::Seconds)), counted),
        plays("429, `retry-after` with a date in 120 s", hinted(Some(RetryHint::Date)), dated),
        plays(
            "429, `anthropic-ratelimit-unified-reset` in 120 s",
            hinted(Some(RetryHint::UnifiedReset)),
            dated,
        )
        .only(BOTH, &[Anthropic]),
        plays("429, a `RetryInfo` of 120 s in the body alone", hinted(Some(RetryHint::RetryInfo)), counted)
            .only(BOTH, &[Gemini]),
        plays("429, all of the vendor's hints at 120 s", hinted(None), counted),
        plays("429 without a hint", hinted(Some(RetryHint::Silent)), |_, _| {
            limited().cools(CoolKind::RateLimit, true, 30_000..=30_000)
        }),
    ]
}

fn breakdowns() -> Vec<Row> {
    let busy = Script { retry_after_secs: Some(20), ..Script::failing(529) };
    vec![
        plays("302", Script::failing(302), |_, _| Means {
            asked: Asked::Once,
            ..Means::server("redirected").status(302)
        }),
        plays("408", Script::failing(408), |_, _| Means::server("server_error").status(408)),
        plays("500", Script::failing(500), |_, _| Means::server("server_error").status(500)),
        plays("501", Script::failing(501), |_, _| Means {
            asked: Asked::Once,
            ..Means::server("server_error").status(501)
        }),
        plays("502", Script::failing(502), |_, _| Means::server("server_error").status(502)),
        plays("503", Script::failing(503), |dialect, _| match dialect {
            Anthropic => Means::server("server_error").status(503),
            // Their words for it are those of an overload.
            OpenaiChat | OpenaiResponses | Gemini => Means::overload().status(503),
        }),
        plays("504", Script::failing(504), |_, _| Means::timeout("timeout_upstream").status(504)),
        plays("529, to be asked again in 20 s", busy, |_, _| Means::overload().status(529).waits(20..=20)),
    ]
}

/// What the opening event tells: Anthropic's `message_start` counts the input.
fn opened(dialect: Dialect) -> Bill {
    match dialect {
        Anthropic => guessed(25, 1),
        OpenaiChat | OpenaiResponses | Gemini => UNKNOWN,
    }
}

/// The input of a stream that broke before it was counted: four bytes a token.
fn not_counted(dialect: Dialect) -> u64 {
    let (_, body) = ask(dialect, Mode::Stream);
    u64::try_from(body.len().div_ceil(4)).expect("a small body")
}

/// What is told and guessed of a stream after [`PAST_CONTENT`] events.
fn heard(dialect: Dialect) -> Bill {
    match dialect {
        Anthropic => guessed(25, 8),
        OpenaiChat => guessed(not_counted(dialect), 11),
        OpenaiResponses => guessed(not_counted(dialect), 6),
        Gemini => guessed(25, 12),
    }
}

/// The same after three pieces of text.
fn heard_three(dialect: Dialect) -> Bill {
    match dialect {
        Anthropic => guessed(25, 5),
        OpenaiChat | OpenaiResponses => guessed(not_counted(dialect), 5),
        Gemini => guessed(25, 5),
    }
}
