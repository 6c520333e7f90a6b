//! The simulator's own count: a record for each request, kept while it runs and after, and the sums.
//!
//! Records are bounded in number; the oldest leaves first and is counted. Sums never leave. A record is visible
//! from the moment its request has been read, so that a test can see a request that hangs.

use crate::stage::{Dialect, Endpoint};
use crate::usage::Usage;
use http::request::Parts;
use http::{Method, Version};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Served {
    /// Our id, which the answer carries as `request-id` (Anthropic) or `x-request-id` (the others).
    pub id: String,
    /// The request's `x-sim-id`.
    pub marker: Option<String>,
    /// What came.
    pub request: RequestFacts,
    /// What left.
    pub answer: AnswerFacts,
    /// The connection it came on.
    pub connection: ConnectionFacts,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestFacts {
    /// Whose API was spoken; absent for a path nobody has.
    pub dialect: Option<Dialect>,
    /// Which of its endpoints.
    pub endpoint: Endpoint,
    /// The HTTP method.
    pub method: String,
    /// Path and query as received.
    pub path: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub http_version: String,
    /// Names and values; those of one name stand together.
    pub headers: Vec<(String, String)>,
    /// Digest of the body as received, before decoding, in hex. Absent when the body was not read or digests
    /// are off.
    pub body_sha256: Option<String>,
    /// Length of that body.
    pub body_bytes: u64,
    /// The model asked for.
    pub model: Option<String>,
    /// True when a stream was asked for.
    pub is_stream: bool,
}

impl RequestFacts {
    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Every credential that came with the request: header names and values, and `?key=` as `key`.
    #[must_use]
    pub fn credentials(&self) -> Vec<(String, String)> {
        let is_credential =
            |name: &str| matches!(name, "authorization" | "x-api-key" | "x-goog-api-key" | "api-key");
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        let in_query = query.split('&').filter_map(|pair| pair.strip_prefix("key="));
        let in_headers = self.headers.iter().filter(|(name, _)| is_credential(name)).cloned();
        in_headers.chain(in_query.map(|value| ("key".to_owned(), value.to_owned()))).collect()
    }
}

/// What left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnswerFacts {
    /// The status sent; absent before the head.
    pub status: Option<u16>,
    /// Events handed to the connection in full. A whole answer is one event.
    pub events: u32,
    /// Bytes of the body handed to the connection, before its framing.
    pub body_bytes: u64,
    /// Digest of those bytes in hex, once the answer is over and if digests are on.
    pub body_sha256: Option<String>,
    /// The tokens of the whole answer, told or not. Absent for errors.
    pub usage: Option<Usage>,
    /// The tokens a reader of the sent bytes knows of.
    pub told: Option<Usage>,
    /// How it ended.
    pub ended: Ending,
    /// The client closed while we would have gone on, or while we hung.
    pub client_left: bool,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It has not.
    InProgress,
    /// All of it was sent and it was a success.
    Completed,
    /// All of it was sent and it was an error, by status or in the stream.
    Errored,
    /// The script cut it.
    Cut,
    /// The script let it hang.
    Hung,
    /// The client left before the end.
    ClientGone,
}

impl Ending {
    /// Nothing more will be sent.
    #[must_use]
    pub fn is_over(self) -> bool {
        match self {
            Self::InProgress => false,
            Self::Completed | Self::Errored | Self::Cut | Self::Hung | Self::ClientGone => true,
        }
    }
}

/// The connection a request came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionFacts {
    /// Counted from 1 in the order of acceptance.
    pub id: u64,
    /// This request's number on it, from 1.
    pub request: u32,
}

/// The sums over every request, also those whose record has left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Requests received.
    pub requests: u64,
    /// How those that are over ended.
    pub endings: BTreeMap<Ending, u64>,
    /// The sum of [`AnswerFacts::usage`] over completed answers.
    pub completed_usage: Usage,
    /// The sum of [`AnswerFacts::told`] over all answers that are over.
    pub told_usage: Usage,
    /// Records that left for want of room.
    pub overflow: u64,
}

/// A record while it is written.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) head: Head,
    pub(crate) connection: ConnectionFacts,
    pub(crate) body: BodyFacts,
    pub(crate) answer: Mutex<AnswerFacts>,
}

/// A request's head in one piece of memory of its own. (As hyper hands it out it would keep the connection's
/// read buffer alive, and with it the request's body.)
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) version: Version,
    /// Path and query, then the names and values.
    text: Box<str>,
    /// Where each of them ends in the text.
    ends: Box<[u32]>,
}

impl Head {
    pub(crate) fn copy(parts: &Parts) -> Self {
        let mut text = String::with_capacity(USUAL_HEAD);
        let mut ends = Vec::with_capacity(1 + 2 * parts.headers.len());
        let mut add = |piece: &str| {
            text.push_str(piece);
            ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
        };
        add(parts.uri.path_and_query().map_or_else(|| parts.uri.path(), |path| path.as_str()));
        for (name, value) in &parts.headers {
            add(name.as_str());
            add(&String::from_utf8_lossy(value.as_bytes()));
        }
        Self { method: parts.method.clone(), version: parts.version, text: text.into(), ends: ends.into() }
    }

    /// Path and query.
    pub(crate) fn path(&self) -> &str {
        self.piece(0)
    }

    /// Names and values.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        (1..self.ends.len()).step_by(2).map(|index| (self.piece(index), self.piece(index + 1)))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn piece(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start as usize..self.ends[index] as usize]
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct BodyFacts {
    pub(crate) sha256: Option<ring::digest::Digest>,
    pub(crate) bytes: u64,
    pub(crate) model: Option<String>,
    pub(crate) is_stream: bool,
}

impl Entry {
    pub(crate) fn answer(&self) -> MutexGuard<'_, AnswerFacts> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn marker(&self) -> Option<&str> {
        self.head.header("x-sim-id")
    }

    fn spell_out(&self) -> Served {
        let head = &self.head;
        Served {
            id: self.id.clone(),
            marker: self.marker().map(str::to_owned),
            request: RequestFacts {
                dialect: self.endpoint.dialect(),
                endpoint: self.endpoint,
                method: head.method.to_string(),
                path: head.path().to_owned(),
                http_version: format!("{:?}", head.version),
                headers: head.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                body_sha256: self.body.sha256.as_ref().map(|digest| hex(digest.as_ref())),
                body_bytes: self.body.bytes,
                model: self.body.model.clone(),
                is_stream: self.body.is_stream,
            },
            answer: self.answer().clone(),
            connection: self.connection,
        }
    }
}

/// The records of a listener.
#[derive(Debug)]
pub(crate) struct Book {
    cap: usize,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    entries: VecDeque<Arc<Entry>>,
    totals: Totals,
}

impl Book {
    pub(crate) fn new(cap: usize) -> Self {
        Self { cap, pages: Mutex::default() }
    }

    /// Takes a new record in.
    pub(crate) fn open(&self, entry: Arc<Entry>) {
        let mut pages = self.pages();
        pages.totals.requests += 1;
        if self.cap == 0 || pages.entries.len() >= self.cap {
            pages.totals.overflow += 1;
            pages.entries.pop_front();
        }
        if self.cap > 0 {
            pages.entries.push_back(entry);
        }
    }

    /// Adds what an answer that is over came to.
    pub(crate) fn close(&self, answer: &AnswerFacts) {
        let mut pages = self.pages();
        let totals = &mut pages.totals;
        *totals.endings.entry(answer.ended).or_default() += 1;
        if answer.ended == Ending::Completed {
            totals.completed_usage += answer.usage.unwrap_or_default();
        }
        totals.told_usage += answer.told.unwrap_or_default();
    }

    pub(crate) fn served(&self) -> Vec<Served> {
        // The entries are spelled out without the lock: there may be many.
        let entries: Vec<_> = self.pages().entries.iter().cloned().collect();
        entries.iter().map(|entry| entry.spell_out()).collect()
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<Served> {
        let found = self.pages().entries.iter().rev().find(|entry| entry.id == id).cloned();
        found.map(|entry| entry.spell_out())
    }

    pub(crate) fn by_marker(&self, marker: &str) -> Vec<Served> {
        let entries: Vec<_> = self.pages().entries.iter().cloned().collect();
        let marked = entries.iter().filter(|entry| entry.marker() == Some(marker));
        marked.map(|entry| entry.spell_out()).collect()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.pages().totals.clone()
    }

    pub(crate) fn clear(&self) {
        *self.pages() = Pages::default();
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let nibble = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [nibble(byte >> 4), nibble(byte & 15)]).collect()
}

/// Bytes of an SDK's request head, about.
const USUAL_HEAD: usize = 1024;
