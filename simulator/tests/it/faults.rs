//! Every fault does to the socket what its name says.

use crate::client::{
    MESSAGES, MESSAGES_BODY, PATIENCE, Raw, STREAM_BODY, collect, ended, http2, playing, post, request, split,
};
use flate2::read::GzDecoder;
use simulator::{
    Cut, Ending, ErrorEvent, FakeSuccess, Hang, PingOnly, Refuser, RetryHint, Script, Simulator,
};
use std::io::Read;
use std::num::NonZeroUsize;
use tokio::net::TcpStream;
use tokio::time::timeout;

async fn stream_of(simulator: &Simulator) -> (String, Result<String, String>) {
    split(&Raw::post(simulator, MESSAGES, STREAM_BODY).await.read_to_close().await)
}

fn names(body: &str) -> Vec<&str> {
    body.lines().filter_map(|line| line.strip_prefix("event: ")).collect()
}

#[tokio::test]
async fn cut_before_the_head_sends_no_byte() {
    let simulator = playing(Script::cutting(Cut::BeforeHead)).await;
    let text = Raw::post(&simulator, MESSAGES, STREAM_BODY).await.read_to_close().await;
    assert_eq!(text, "");
    let served = ended(&simulator, 0).await;
    assert_eq!((served.answer.ended, served.answer.status), (Ending::Cut, None));
}

#[tokio::test]
async fn cut_after_the_head_sends_the_head_alone() {
    let simulator = playing(Script::cutting(Cut::AfterHead)).await;
    let (head, body) = stream_of(&simulator).await;
    assert!(head.starts_with("http/1.1 200"));
    assert_eq!(body, Err(String::new()));
    let mut whole = Raw::post(&simulator, MESSAGES, MESSAGES_BODY).await;
    let (head, body) = split(&whole.read_to_close().await);
    assert!(head.contains("content-length: ") && body == Ok(String::new()));
}

#[tokio::test]
async fn cut_mid_stream_sends_so_many_whole_events_and_no_end() {
    let simulator = playing(Script::cutting(Cut::MidStream(4))).await;
    let (_, body) = stream_of(&simulator).await;
    let sent = body.unwrap_err();
    assert_eq!(names(&sent), ["message_start", "content_block_start", "ping", "content_block_delta"]);
    assert!(sent.ends_with("\n\n"));
    let served = ended(&simulator, 0).await;
    assert_eq!((served.answer.ended, served.answer.events), (Ending::Cut, 4));
    assert_eq!(served.answer.body_bytes, sent.len() as u64);
    // The reader knows what message_start said, and not the output.
    assert_eq!(served.answer.told.map(|told| (told.input, told.output)), Some((25, 1)));
    assert_eq!(served.answer.usage.map(|usage| usage.output), Some(12));
}

#[tokio::test]
async fn cut_in_mid_chunk_breaks_off_inside_an_event() {
    let simulator = playing(Script::cutting(Cut::MidChunk(4))).await;
    let (_, body) = stream_of(&simulator).await;
    let sent = body.unwrap_err();
    assert_eq!(names(&sent).len(), 5, "{sent}");
    assert!(!sent.ends_with("\n\n"), "{sent}");
    assert_eq!(ended(&simulator, 0).await.answer.events, 4);
}

#[tokio::test]
async fn a_whole_answer_cut_is_shorter_than_its_length_says() {
    for cut in [Cut::MidStream(1), Cut::MidChunk(0)] {
        let simulator = playing(Script::cutting(cut)).await;
        let mut raw = Raw::post(&simulator, MESSAGES, MESSAGES_BODY).await;
        let (head, body) = split(&raw.read_to_close().await);
        let (_, len) = head.split_once("content-length: ").unwrap();
        let len: usize = len.split("\r\n").next().unwrap().parse().unwrap();
        let sent = body.unwrap().len();
        assert!(0 < sent && sent < len, "{sent} of {len}");
    }
}

#[tokio::test]
async fn http2_cuts_reset_the_stream_and_leave_the_connection() {
    let simulator = playing(Script::default()).await;
    simulator.set_sequence([
        Script::cutting(Cut::BeforeHead),
        Script::cutting(Cut::MidStream(3)),
        Script::default(),
    ]);
    let url = simulator.base_url() + MESSAGES;
    let mut sender = http2(&simulator).await;
    assert!(sender.send_request(post(&url, STREAM_BODY)).await.is_err());
    let cut = sender.send_request(post(&url, STREAM_BODY)).await.unwrap();
    assert_eq!(cut.status(), 200);
    assert!(collect(cut).await.is_err());
    let whole = sender.send_request(post(&url, STREAM_BODY)).await.unwrap();
    assert!(collect(whole).await.unwrap().ends_with(b"\n\n"));
    assert!(simulator.served().iter().all(|served| served.connection.id == 1));
}

#[tokio::test]
async fn http2_cut_in_mid_chunk_closes_the_connection() {
    let simulator = playing(Script::cutting(Cut::MidChunk(4))).await;
    let url = simulator.base_url() + MESSAGES;
    let mut sender = http2(&simulator).await;
    let cut = sender.send_request(post(&url, STREAM_BODY)).await.unwrap();
    assert!(collect(cut).await.is_err());
    assert!(sender.send_request(post(&url, STREAM_BODY)).await.is_err());
}

#[tokio::test]
async fn a_hang_keeps_the_connection_open_and_ends_with_the_client() {
    for (hang, sent) in [(Hang::BeforeHead, None), (Hang::AfterHead, Some(0)), (Hang::MidStream(4), Some(4))]
    {
        let simulator = playing(Script::hanging(hang)).await;
        let mut raw = Raw::post(&simulator, MESSAGES, STREAM_BODY).await;
        let served = ended(&simulator, 0).await;
        assert_eq!(served.answer.ended, Ending::Hung);
        assert_eq!(served.answer.status.is_some(), sent.is_some());
        if let Some(events) = sent {
            raw.read_until("\r\n\r\n").await;
            while split(&raw.text()).1.unwrap_err().matches("\n\n").count() < events {
                raw.read().await.unwrap();
            }
            assert_eq!(names(&raw.text()).len(), events);
        }
        // Had the simulator closed, the client would now count as gone.
        assert!(!simulator.served()[0].answer.client_left);
        drop(raw);
        let left = async {
            while !simulator.served()[0].answer.client_left {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, left).await.expect("the simulator notices that the client left");
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_stream_is_noticed() {
    let simulator = playing(Script { spacing_ms: 5, events: Some(10_000), ..Script::default() }).await;
    let mut raw = Raw::post(&simulator, MESSAGES, STREAM_BODY).await;
    raw.read_until("content_block_delta").await;
    drop(raw);
    let served = ended(&simulator, 0).await;
    assert_eq!((served.answer.ended, served.answer.client_left), (Ending::ClientGone, true));
    assert!(served.answer.events < 10_000);
}

#[tokio::test]
async fn an_error_event_stands_where_it_was_asked_for_and_ends_the_stream() {
    let simulator = playing(Script::default()).await;
    simulator.set_sequence(
        [ErrorEvent::BeforeContent, ErrorEvent::AfterContent(2)]
            .map(|place| Script { error_event: Some(place), ..Script::default() }),
    );
    let mut bodies = Vec::new();
    for _ in 0..2 {
        let mut raw = Raw::post(&simulator, MESSAGES, STREAM_BODY).await;
        let (head, body) = split(&raw.read_until("\r\n0\r\n\r\n").await);
        assert!(head.starts_with("http/1.1 200"));
        bodies.push(body.unwrap());
    }
    assert_eq!(names(&bodies[0]), ["message_start", "error"]);
    assert!(bodies[0].contains(r#""type":"overloaded_error""#));
    let deltas = names(&bodies[1]).iter().filter(|name| **name == "content_block_delta").count();
    assert_eq!((deltas, names(&bodies[1]).last()), (2, Some(&"error")));
    assert_eq!(ended(&simulator, 1).await.answer.ended, Ending::Errored);
}

#[tokio::test]
async fn statuses_come_with_the_vendor_s_headers() {
    let simulator = playing(Script::default()).await;
    for (path, status, header) in [
        (MESSAGES, 429, "anthropic-ratelimit-unified-reset: "),
        (MESSAGES, 529, "x-should-retry: true"),
        (MESSAGES, 400, "x-should-retry: false"),
        (MESSAGES, 500, "request-id: req_sim"),
        ("/v1/responses", 429, "retry-after-ms: 3000"),
        ("/v1/chat/completions", 503, "retry-after: 3"),
        ("/v1beta/models/g:generateContent", 429, "x-request-id: req_sim"),
    ] {
        simulator.set_script(Script { retry_after_secs: Some(3), ..Script::failing(status) });
        let mut raw = Raw::post(&simulator, path, STREAM_BODY).await;
        let (head, _) = split(&raw.read_until("\"error\"").await);
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert!(head.contains(header), "{path} {status}: {head}");
    }
}

#[tokio::test]
async fn when_to_come_back_is_said_in_the_one_way_that_was_asked_for() {
    let simulator = playing(Script::default()).await;
    let ways = ["retry-after: ", "retry-after-ms: ", "anthropic-ratelimit-", "retrydelay"];
    let gemini = "/v1beta/models/g:generateContent";
    let everywhere = &[MESSAGES, "/v1/chat/completions", gemini][..];
    for (hint, paths, way, shape) in [
        (RetryHint::Silent, everywhere, None, ""),
        (RetryHint::Seconds, everywhere, Some("retry-after: "), "retry-after: 3\r\n"),
        (RetryHint::Date, everywhere, Some("retry-after: "), " gmt\r\n"),
        (
            RetryHint::UnifiedReset,
            everywhere,
            Some("anthropic-ratelimit-"),
            "anthropic-ratelimit-unified-reset: 1",
        ),
        (RetryHint::RetryInfo, &[MESSAGES, "/v1/chat/completions"], None, ""),
        (RetryHint::RetryInfo, &[gemini], Some("retrydelay"), r#""retrydelay":"3s""#),
    ] {
        for path in paths {
            let base = Script { retry_after_secs: Some(3), ..Script::failing(429) };
            simulator.set_script(Script { retry_hint: Some(hint), ..base });
            let mut raw = Raw::connect(&simulator).await;
            raw.send(&request(path, MESSAGES_BODY, "connection: close\r\n")).await;
            let text = raw.read_to_close().await.to_lowercase();
            let said: Vec<&str> = ways.into_iter().filter(|way| text.contains(way)).collect();
            assert_eq!(said, way.into_iter().collect::<Vec<_>>(), "{text}");
            assert!(text.contains(shape), "{text}");
        }
    }
}

#[tokio::test]
async fn an_error_can_be_all_there_is_of_a_stream() {
    let simulator =
        playing(Script { fake_success: Some(FakeSuccess::ErrorStream), ..Script::default() }).await;
    for body in [STREAM_BODY, MESSAGES_BODY] {
        let mut raw = Raw::post(&simulator, MESSAGES, body).await;
        let (head, body) = split(&raw.read_until("\r\n0\r\n\r\n").await);
        assert!(head.starts_with("http/1.1 200") && head.contains("text/event-stream"), "{head}");
        assert_eq!(names(&body.unwrap()), ["error"]);
    }
    simulator.set_script(Script { fake_success: Some(FakeSuccess::EmptyStream), ..Script::default() });
    let mut raw = Raw::post(&simulator, MESSAGES, STREAM_BODY).await;
    let (_, body) = split(&raw.read_until("\r\n0\r\n\r\n").await);
    assert_eq!(names(&body.unwrap()), ["message_start"]);
}

#[tokio::test]
async fn fake_successes_say_200_and_are_none() {
    let simulator = playing(Script::default()).await;
    let fakes = [FakeSuccess::ErrorJson, FakeSuccess::Html, FakeSuccess::Empty, FakeSuccess::TruncatedJson];
    simulator.set_sequence(fakes.map(|fake| Script { fake_success: Some(fake), ..Script::default() }));
    let mut bodies = Vec::new();
    for _ in fakes {
        let mut raw = Raw::connect(&simulator).await;
        raw.send(&request(MESSAGES, MESSAGES_BODY, "connection: close\r\n")).await;
        let (head, body) = split(&raw.read_to_close().await);
        assert!(head.starts_with("http/1.1 200"));
        let body = body.unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        bodies.push(body);
    }
    assert!(bodies[0].starts_with(r#"{"type":"error""#));
    assert!(bodies[1].starts_with("<!DOCTYPE html>"));
    assert_eq!(bodies[2], "");
    assert!(bodies[3].starts_with(r#"{"id":"msg_"#));
    assert!(serde_json::from_str::<serde_json::Value>(&bodies[3]).is_err());
    for index in 0..4 {
        assert_eq!(ended(&simulator, index).await.answer.ended, Ending::Errored);
    }
}

#[tokio::test]
async fn gzip_comes_although_identity_was_asked() {
    let simulator = playing(Script { gzip: true, spacing_ms: 1, ..Script::default() }).await;
    for body in [MESSAGES_BODY, STREAM_BODY] {
        let mut sender = http2(&simulator).await;
        let mut request = post(&(simulator.base_url() + MESSAGES), body);
        request.headers_mut().insert("accept-encoding", "identity".parse().unwrap());
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.headers()["content-encoding"], "gzip");
        let bytes = collect(response).await.unwrap();
        let mut plain = String::new();
        GzDecoder::new(&bytes[..]).read_to_string(&mut plain).unwrap();
        assert!(plain.contains("word by") || plain.contains("message_stop"), "{plain}");
    }
}

#[tokio::test]
async fn a_whole_answer_can_be_chunked() {
    let simulator = playing(Script { chunked: true, ..Script::default() }).await;
    let mut raw = Raw::post(&simulator, MESSAGES, MESSAGES_BODY).await;
    let (head, body) = split(&raw.read_until("\r\n0\r\n\r\n").await);
    assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length"));
    assert!(serde_json::from_str::<serde_json::Value>(&body.unwrap()).is_ok());
}

#[tokio::test]
async fn a_drip_is_many_small_chunks_of_the_same_bytes() {
    let drip = Script { drip: NonZeroUsize::new(3), ..Script::default() };
    let simulator = playing(drip).await;
    let mut raw = Raw::post(&simulator, MESSAGES, STREAM_BODY).await;
    let text = raw.read_until("\r\n0\r\n\r\n").await;
    let (_, chunks) = text.split_once("\r\n\r\n").unwrap();
    let sizes = chunks.split("\r\n").step_by(2).filter_map(|len| usize::from_str_radix(len, 16).ok());
    assert!(sizes.max() <= Some(3));
    assert_eq!(names(&split(&text).1.unwrap()).last(), Some(&"message_stop"));
    assert_eq!(ended(&simulator, 0).await.answer.ended, Ending::Completed);

    // A whole answer too, and it is complete although nobody asks for more than its length.
    let mut raw = Raw::post(&simulator, MESSAGES, MESSAGES_BODY).await;
    raw.read_until("\"usage\"").await;
    assert_eq!(ended(&simulator, 1).await.answer.ended, Ending::Completed);
}

#[tokio::test]
async fn pings_are_all_there_is_until_their_time_is_over() {
    let pings = PingOnly { every_ms: 1, for_ms: Some(20), after_opening: true, ..PingOnly::default() };
    let simulator = playing(Script { ping_only: Some(pings), ..Script::default() }).await;
    let mut raw = Raw::post(&simulator, MESSAGES, STREAM_BODY).await;
    let (_, body) = split(&raw.read_until("\r\n0\r\n\r\n").await);
    let body = body.unwrap();
    let names = names(&body);
    let pings = names[1..].iter().take_while(|name| **name == "ping").count();
    assert!(names[0] == "message_start" && pings > 1, "{names:?}");
    assert_eq!(names[pings + 1], "content_block_start");
    assert_eq!(names.last(), Some(&"message_stop"));

    let for_ever = PingOnly { every_ms: 1, ..PingOnly::default() };
    simulator.set_script(Script { ping_only: Some(for_ever), ..Script::default() });
    for (path, ping) in [
        (MESSAGES, "event: ping\ndata: {\"type\": \"ping\"}\n\n"),
        ("/v1/chat/completions", ": ping\n\n"),
        ("/v1beta/models/g:streamGenerateContent?alt=sse", "\r\n"),
    ] {
        let mut raw = Raw::post(&simulator, path, STREAM_BODY).await;
        raw.read_until("\r\n\r\n").await;
        let (_, so_far) = split(&raw.text());
        let mut payload = so_far.unwrap_or_else(|part| part);
        while payload.len() < 3 * ping.len() {
            raw.read().await.unwrap();
            payload = split(&raw.text()).1.unwrap_err();
        }
        assert!(payload.starts_with(&ping.repeat(3)), "{payload:?}");
    }
}

#[tokio::test]
async fn an_early_reply_does_not_wait_for_the_body() {
    let simulator = playing(Script { early_reply: true, ..Script::failing(413) }).await;
    let mut raw = Raw::connect(&simulator).await;
    // A body is promised and never sent.
    raw.send("POST /v1/messages HTTP/1.1\r\nhost: sim\r\ncontent-length: 1000000\r\n\r\n").await;
    let text = raw.read_to_close().await;
    let (head, body) = split(&text);
    assert!(head.starts_with("http/1.1 413") && head.contains("connection: close"), "{head}");
    assert!(body.unwrap().contains("request_too_large"));
    assert_eq!(simulator.served()[0].request.body_bytes, 0);
}

#[tokio::test]
async fn delays_hold_the_head_and_the_first_event_back() {
    let simulator = playing(Script { first_event_delay_ms: 1, ..Script::default() }).await;
    let mut raw = Raw::post(&simulator, MESSAGES, STREAM_BODY).await;
    let first = raw.read_until("\r\n\r\n").await;
    // The head left alone: the events were not there yet.
    assert!(first.ends_with("\r\n\r\n") && !first.contains("message_start"), "{first}");
    raw.read_until("message_stop").await;
    simulator.clear();
    simulator.set_script(Script { first_byte_delay_ms: 60_000, ..Script::default() });
    let raw = Raw::post(&simulator, MESSAGES, STREAM_BODY).await;
    while simulator.served().is_empty() {
        tokio::task::yield_now().await;
    }
    drop(raw);
    let served = ended(&simulator, 0).await;
    assert_eq!((served.answer.ended, served.answer.status), (Ending::ClientGone, None));
}

#[tokio::test]
async fn a_refuser_refuses_for_as_long_as_it_lives() {
    let refuser = Refuser::start().unwrap();
    for _ in 0..3 {
        let error = TcpStream::connect(refuser.addr()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    assert!(refuser.base_url().starts_with("http://127.0.0.1:"));
}
