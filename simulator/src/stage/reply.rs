//! Which answer a request gets: status, headers and tape, before anything befalls it. Pure but for the clock in
//! some headers.

use super::asked::{Asked, AskedError};
use super::endpoint::Endpoint;
use super::repertoire::Staged;
use super::score;
use crate::script::{ErrorWords, FakeSuccess, RetryHint, Script};
use crate::served::Ending;
use crate::usage::Usage;
use crate::vendor::{self, Case, Tape};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

/// An answer, not yet on its way.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) tape: Tape,
    /// The head does not tell the length.
    pub(crate) is_stream: bool,
    /// The tokens of the whole answer.
    pub(crate) usage: Option<Usage>,
    /// How it ends if nothing befalls it.
    pub(crate) ending: Ending,
}

/// What a reply depends on.
pub(crate) struct Question<'a> {
    pub(crate) endpoint: Endpoint,
    pub(crate) asked: &'a Result<Asked, AskedError>,
    pub(crate) staged: &'a Staged,
    /// Our id, without a prefix.
    pub(crate) id: &'a str,
    /// What was received, as JSON; asked for only by `echo`.
    pub(crate) echo: &'a dyn Fn() -> String,
}

impl Question<'_> {
    pub(crate) fn reply(&self) -> Reply {
        let script = &self.staged.script;
        let mut reply = self.bare_reply();
        if let Some(place) = script.error_event.filter(|_| reply.is_stream) {
            let status = vendor::status_in_stream(self.endpoint);
            let case = self.case(status, script.error.as_ref());
            reply.tape = score::with_error(&reply.tape, place, |sent| case.in_stream(sent, sent == 0));
            reply.ending = Ending::Errored;
        }
        if script.gzip {
            // Compressing into memory does not fail; if it did, the plain answer is the honest one.
            if let Ok(tape) = score::gzipped(&reply.tape) {
                reply.tape = tape;
                reply.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
        }
        let (name, id) = vendor::id_header(self.endpoint, self.id);
        put(&mut reply.headers, name, &id);
        for (name, value) in &script.headers {
            put(&mut reply.headers, name, value);
        }
        reply
    }

    fn bare_reply(&self) -> Reply {
        let script = &self.staged.script;
        if let Some(status) = script.status {
            return self.refused(status, script.error.as_ref());
        }
        if let Some(fake) = script.fake_success {
            return self.fake(fake);
        }
        if script.echo {
            return whole((self.echo)(), JSON, Ending::Completed);
        }
        match (self.asked, script.bytes) {
            (_, Some(len)) => self.sized(len),
            (Err(AskedError::NoSuchPath), None) => self.refused(404, Some(&said("Not Found"))),
            (Err(error), None) => self.refused(400, Some(&said(&error.to_string()))),
            (Ok(asked), None) => self.ordinary(asked),
        }
    }

    fn ordinary(&self, asked: &Asked) -> Reply {
        let tape = self.staged.template(asked).press(self.id);
        self.generated(asked, tape)
    }

    fn generated(&self, asked: &Asked, tape: Tape) -> Reply {
        let content_type = if asked.is_stream { vendor::stream_type(self.endpoint) } else { JSON };
        let mut reply = whole(tape.bytes.clone(), content_type, Ending::Completed);
        for (name, value) in vendor::headers(self.endpoint) {
            put(&mut reply.headers, name, &value);
        }
        reply.tape = tape;
        reply.is_stream = asked.is_stream;
        reply.usage = vendor::usage(self.endpoint, &self.staged.script);
        reply
    }

    /// Exactly so many bytes: an ordinary answer when one can be made so long, else letters.
    fn sized(&self, len: usize) -> Reply {
        let asked = self.asked.as_ref().ok();
        let template = asked.and_then(|asked| {
            let template = vendor::template_of_len(asked, &self.staged.script, len)?;
            Some((asked, template))
        });
        let mut reply = match template {
            // The same id every time: the body must not differ.
            Some((asked, template)) => self.generated(asked, template.press(&"0".repeat(vendor::ID_LEN))),
            None => whole(letters(len), "text/plain", Ending::Completed),
        };
        for value in ["kept", "twice"] {
            reply.headers.append("x-sim-unknown", HeaderValue::from_static(value));
        }
        reply
    }

    fn refused(&self, status: u16, words: Option<&ErrorWords>) -> Reply {
        let refusal = self.case(status, words).refusal();
        let mut reply = whole(refusal.body, JSON, Ending::Errored);
        reply.status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in refusal.headers {
            put(&mut reply.headers, name, &value);
        }
        if let Some(hint) = self.staged.script.retry_hint {
            say_when(&mut reply.headers, hint, self.case(status, words).retry_after());
        }
        reply
    }

    fn fake(&self, fake: FakeSuccess) -> Reply {
        match fake {
            FakeSuccess::ErrorJson => {
                let refusal = self.case(500, self.staged.script.error.as_ref()).refusal();
                whole(refusal.body, JSON, Ending::Errored)
            }
            FakeSuccess::Html => whole(PAGE, "text/html; charset=utf-8", Ending::Errored),
            FakeSuccess::Empty => whole("", JSON, Ending::Errored),
            FakeSuccess::ErrorStream => {
                let status = vendor::status_in_stream(self.endpoint);
                let event = self.case(status, self.staged.script.error.as_ref()).in_stream(0, true);
                let mut reply = whole(event, vendor::stream_type(self.endpoint), Ending::Errored);
                reply.is_stream = true;
                reply
            }
            FakeSuccess::TruncatedJson | FakeSuccess::EmptyStream => {
                let unread = Asked::unread(self.endpoint, String::new());
                let mut reply = self.ordinary(self.asked.as_ref().unwrap_or(&unread));
                reply.tape = if fake == FakeSuccess::EmptyStream {
                    reply.tape.opening()
                } else {
                    Tape::whole(reply.tape.bytes.slice(..reply.tape.bytes.len() / 2))
                };
                reply.usage = None;
                reply.ending = Ending::Errored;
                reply
            }
        }
    }

    fn case<'c>(&'c self, status: u16, words: Option<&'c ErrorWords>) -> Case<'c> {
        let script: &Script = &self.staged.script;
        Case {
            endpoint: self.endpoint,
            status,
            model: self.asked.as_ref().map_or("unknown", |asked| asked.model.as_str()),
            words,
            retry_after_secs: script.retry_after_secs,
            says_wait_in_body: matches!(script.retry_hint, None | Some(RetryHint::RetryInfo)),
            id: self.id,
        }
    }
}

fn whole(body: impl Into<bytes::Bytes>, content_type: &'static str, ending: Ending) -> Reply {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
    let tape = Tape::whole(body);
    Reply { status: StatusCode::OK, headers, tape, is_stream: false, usage: None, ending }
}

/// Says in this way alone when to come back.
fn say_when(headers: &mut HeaderMap, hint: RetryHint, secs: u32) {
    let names: Vec<HeaderName> = headers.keys().cloned().collect();
    for name in names {
        if name.as_str().starts_with("retry-after") || name.as_str().starts_with("anthropic-ratelimit") {
            headers.remove(name);
        }
    }
    // A date has no fractions: one that says less than was asked for would be too early.
    let then = Timestamp::now().as_second() + 1 + i64::from(secs);
    match hint {
        RetryHint::Silent | RetryHint::RetryInfo => {}
        RetryHint::Seconds => put(headers, "retry-after", &secs.to_string()),
        RetryHint::Date => {
            let date = Timestamp::from_second(then).map(|then| then.strftime(HTTP_DATE).to_string());
            put(headers, "retry-after", &date.unwrap_or_default());
        }
        RetryHint::UnifiedReset => put(headers, "anthropic-ratelimit-unified-reset", &then.to_string()),
    }
}

/// A name or value that HTTP cannot carry is left out.
fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

fn said(message: &str) -> ErrorWords {
    ErrorWords { message: Some(message.to_owned()), ..ErrorWords::default() }
}

fn letters(len: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(len).collect()
}

const HTTP_DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";
const JSON: &str = "application/json";
const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head><body><h1>Checking your browser</h1></body></html>\n";
