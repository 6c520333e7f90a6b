//! The check itself: it reads every mark of a sound answer, and tells a mark that comes twice or from another attempt.

use super::super::asks::ask;
use super::super::seen::Mode;
use super::cases::{Case, Speaker, call, pieces, with_tool};
use super::sound::{Got, documents, speech};
use super::spoken::Channel;
use crate::harness::upstream_with;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use shared::protocol::Dialect;
use simulator::Script;

const ONE: Speaker = (1, 1);
const OTHER: Speaker = (2, 1);

/// Thinks, and speaks or calls.
fn script(speaker: Speaker, channel: Channel) -> Script {
    Script {
        text: Some(pieces(Channel::Text, speaker, PIECES)),
        thought: Some(pieces(Channel::Thought, speaker, PIECES)),
        tool_call: (channel == Channel::Arguments).then(|| call(speaker, PIECES)),
        events: Some(PIECES),
        ..Script::default()
    }
}

/// What the first attempt says where nothing stands between.
async fn answer(dialect: Dialect, mode: Mode, channel: Channel, of_array: bool) -> (Case, Got) {
    let scripts = [ONE, OTHER].map(|speaker| script(speaker, channel));
    let upstream = upstream_with(scripts[0].clone()).await;
    let (mut path, body) = ask(dialect, mode);
    if of_array {
        path = path.replace("?alt=sse", "");
    }
    let body = with_tool(dialect, &body);
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = http::Request::post(format!("{}{path}", upstream.base_url()));
    let request = request.header("content-type", "application/json");
    let request = request.body(Full::new(bytes::Bytes::from(body.clone()))).expect("a request");
    let (head, whole) = client.request(request).await.expect("the simulator answers").into_parts();
    let got = Got {
        status: head.status.as_u16(),
        content_type: head.headers["content-type"].to_str().expect("text").to_owned(),
        text: String::from_utf8(whole.collect().await.expect("a body").to_bytes().into()).expect("text"),
        is_whole: true,
        was_encoded: false,
    };
    let providers = scripts.map(|script| vec![script]).into();
    (Case { seed: 0, dialect, path, body, client_waits: "1", providers }, got)
}

/// What the check says of this text in place of the answer's.
fn told(case: &Case, got: &Got, text: String) -> Vec<String> {
    let got = Got { text, content_type: got.content_type.clone(), ..*got };
    let mut told = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            told.push(what.to_owned());
        }
    };
    speech(&mut must, case, &got, &documents(&got));
    told
}

/// Each event or array element by itself, with what divides them; a whole answer is one.
fn parts(got: &Got) -> Vec<&str> {
    let end = match &got.content_type {
        kind if kind.starts_with("text/event-stream") => {
            if got.text.contains("\r\n\r\n") {
                "\r\n\r\n"
            } else {
                "\n\n"
            }
        }
        _ if got.text.starts_with('[') => ",\r\n",
        _ => return vec![&got.text],
    };
    got.text.split_inclusive(end).collect()
}

#[tokio::test]
async fn each_mark_is_read_and_one_that_comes_twice_or_from_another_attempt_is_told() {
    let mut asked = Vec::new();
    for dialect in Dialect::ALL {
        asked.extend([(dialect, Mode::Stream, false), (dialect, Mode::Whole, false)]);
    }
    asked.push((Dialect::Gemini, Mode::Stream, true));
    for (dialect, mode, of_array) in asked {
        for channel in Channel::ALL {
            let (case, got) = answer(dialect, mode, channel, of_array).await;
            let here = format!("{dialect:?} {mode:?} {channel:?} {of_array}");
            assert_eq!(told(&case, &got, got.text.clone()), [""; 0], "{here}");
            let read: String =
                documents(&got).iter().map(|document| channel.added(dialect, document)).collect();
            assert_eq!(read, channel.said(dialect, case.script(ONE)), "{here}");
            assert!(read.contains(&pieces(channel, ONE, PIECES)), "{here}: {read}");

            // The first event, or the answer, that carries a mark.
            let mark = |(provider, answer): Speaker| format!("<{provider}.{answer}.{}", channel.letter());
            let parts = parts(&got);
            let at = parts.iter().position(|part| part.contains(&mark(ONE))).expect("a mark");
            let with = |part: String| parts[..at].concat() + &part + &parts[at + 1..].concat();
            let doubled = match parts.len() {
                // Within the whole answer.
                1 => parts[0].replacen(&mark(ONE), &format!("{0}00>{0}", mark(ONE)), 1),
                _ => with(format!("{}{}", parts[at], parts[at].trim_start_matches('['))),
            };
            let doubles = told(&case, &got, doubled);
            assert_eq!(doubles.len(), 1, "{here}: {doubles:?}");
            let says = format!("{channel:?} is not a beginning");
            assert!(doubles[0].starts_with(&says), "{here}: {doubles:?}");

            let foreign = told(&case, &got, with(parts[at].replacen(&mark(ONE), &mark(OTHER), 1)));
            assert!(foreign.iter().any(|what| what.starts_with("several attempts speak")), "{here}");
            assert!(foreign.iter().any(|what| what.starts_with(&says)), "{here}: {foreign:?}");
        }
    }
}

const PIECES: u32 = 6;
