//! The whole life of a request, top to bottom. Each step calls into its own room.
//!
//! ```text
//!  head ─► who calls ─► body ─► what is asked ─► may it ─► content rules ─► conversation ─► budgets ─┐
//!   ┌────────────────────────────────────────────────────────────────────────────────────────────────┘
//!   └► ┌ choose ─► prepare ─► forward ─► classify ┐ an answer
//!      └───────────────── again ◄─────────────────┴─────────► relay, with the tap ─► settle ─► books
//! ```
//! What is to be booked is written to the journal twice: before a provider is called (*begin*, in `dispatch`), and
//! before the seat has the last byte (*end*, in `settle`).
//!
//! What the content rules answer here belongs to no conversation and counts in no budget, so they come before both.

use crate::budgets::need::Need;
use crate::ctx::{Arrival, Asked, Book, Origin, Target, cut};
use crate::dispatch;
use crate::events;
use crate::guards::{admit, authenticate, receive, understand, warmup};
use crate::hub::{Hub, now};
use crate::keep_alive::KeepAlive;
use crate::live::Principal;
use crate::pages;
use crate::reject::Reject;
use crate::relay;
use crate::responses;
use crate::seat::{Ending, Seat};
use crate::sessions::Session;
use crate::settle;
use http::Method;
use http::header::{UPGRADE, USER_AGENT};
use pingora::protocols::http::ServerSession;
use shared::ids::RequestId;
use shared::protocol::Dialect;
use shared::protocol::detect::{Endpoint, Miss, RequestHead, Route, detect};
use shared::protocol::headers;
use shared::rules::access::effective_groups;
use shared::rules::response::Lost;
use shared::rules::session::identify;
use shared::time::UnixMillis;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

/// Serves one request to its end. Never fails: what goes wrong is an answer, a log row, or both. False when the seat
/// left or stopped reading: nothing more can be delivered to it.
pub async fn serve(hub: &Hub, session: &mut ServerSession) -> bool {
    let mut seat = Seat::new(session, hub.door.waits.write_deadline);
    request(hub, &mut seat).await;
    seat.is_here()
}

async fn request(hub: &Hub, seat: &mut Seat<'_>) {
    // Head: what is it, and whose?
    let http = seat.http();
    let arrival = arrive(hub, http);
    let path = http.req_header().uri.path().to_owned();
    let method = http.req_header().method.clone();
    let route = detect(&request_head(http, &method, &path));
    if is_oversized(http) {
        return turn_away(hub, seat, &arrival, called(&route), &Reject::HeadersTooLarge).await;
    }
    match route {
        Ok(Route::Proxied(endpoint)) => exchange(hub, seat, &arrival, endpoint).await,
        Ok(Route::Models { listing, model }) => {
            // A variant with fewer steps: who calls, then the answer from what its groups allow.
            let answered = match who_calls(hub, seat, &arrival) {
                Ok(principal) => pages::models(seat, &arrival, &principal, listing, model.as_deref()).await,
                Err(reject) => Err(reject),
            };
            if let Err(reject) = answered {
                turn_away(hub, seat, &arrival, (MODELS, listing.dialect()), &reject).await;
            }
        }
        Ok(Route::Local(page)) => pages::local(seat, page).await,
        Err(miss) => {
            let (dialect, reject) = missed(miss);
            turn_away(hub, seat, &arrival, (NO_ENDPOINT, dialect), &reject).await;
        }
    }
}

/// Answers what is no HTTP request. Its path is unknown, so the dialect is the one that most clients can show.
pub async fn refuse_unreadable(hub: &Hub, session: &mut ServerSession) {
    let reject = Reject::UnreadableHead;
    hub.metrics.count_refusal(reject.label());
    if let Ok((head, body)) = reject.answer(Dialect::OpenaiChat, request_id(now())) {
        // The client may have hung up; there is nobody else to tell.
        let _ = session.write_error_response(head, body).await;
    }
}

/// A request that goes to a provider.
async fn exchange(hub: &Hub, seat: &mut Seat<'_>, arrival: &Arrival, endpoint: Endpoint<'_>) {
    let dialect = endpoint.family.dialect();
    let name = endpoint.family.as_str();
    // Who calls: decided before any byte of the body is read.
    let principal = match who_calls(hub, seat, arrival) {
        Ok(principal) => principal,
        Err(reject) => return turn_away(hub, seat, arrival, (name, dialect), &reject).await,
    };
    let mut page = Page { book: Book::open(arrival, &principal, name, rand::random()), session: None };
    let family = endpoint.family;
    let ending = match steps(hub, seat, arrival, &principal, endpoint, &mut page).await {
        Ok(ending) => ending,
        Err(reject) => {
            page.book.refused(if seat.has_begun() { 200 } else { reject.status() }, reject.label());
            refuse(hub, seat, dialect, arrival, &reject).await
        }
    };
    let Page { book, session } = page;
    // Before the page is closed, which takes it.
    if let Some(session) = &session {
        hub.sessions.saw(session, book.entry());
    }
    let served = book.served();
    // Settle: always runs, also when the seat has left. Only then the last byte leaves.
    settle::settle(hub, arrival, book).await;
    // The next turn is to find the conversation where this one left it.
    if let (Some(session), Some(served)) = (session, served) {
        hub.sessions.ended(session, family, served, &arrival.live).await;
    }
    end(seat, ending).await;
}

/// What a request leaves behind, filled in on its way.
struct Page {
    book: Book,
    /// The conversation that it belongs to, where anything tells.
    session: Option<Session>,
}

/// From the body to the relayed answer. An `Err` is our own refusal; everything else was answered on the way.
async fn steps(
    hub: &Hub,
    seat: &mut Seat<'_>,
    arrival: &Arrival,
    principal: &Principal,
    endpoint: Endpoint<'_>,
    Page { book, session }: &mut Page,
) -> Result<Ending, Reject> {
    // Receive the body, once, and read what decisions need.
    let target = target(seat, &endpoint);
    let body = receive::receive(seat, &hub.door.body_memory).await?;
    let path_model = endpoint.path_model.map(|m| m.value);
    let asked = understand::understand(endpoint.family, target, path_model, body)?;
    book.asked(&asked);
    // May it: may this client use the key, and the key this model?
    understand::may_use(principal, &arrival.origin, &asked)?;
    // Content rules: a warm-up is answered here.
    if warmup::is_answered_here(&arrival.live, &asked) {
        return Ok(warmup::answer(seat, arrival, &asked, book).await);
    }
    // Conversation: which one is it, and who has its prompt cache?
    *session = converse(hub, seat, arrival, principal, &asked, book).await;
    // A response that it goes on from is at one account alone.
    let follow = hub.responses.follow(arrival, principal, &asked).await;
    let only = follow.map_err(|lost| match lost {
        Lost::Untold => Reject::ResponseStoreUnreachable,
        Lost::Deleted | Lost::Disabled | Lost::OtherType | Lost::OtherGroup | Lost::Unknown => {
            Reject::PreviousResponseNotFound
        }
    })?;
    // Budgets: do they have room for it? What it may cost is put aside until the books know what it did.
    let need = Need::of(&hub.budgets.histories, arrival, principal, &asked);
    let applicant = admit::Applicant { arrival, principal, asked: &asked, session: session.as_ref(), only };
    admit::admit(hub, seat, applicant, &need, book).await?;
    // Choose a provider, prepare, forward, classify, again: until an answer is real or nobody is left.
    let session_key = session.as_ref().map(Session::short_key);
    let job = dispatch::Job { hub, arrival, principal, asked: &asked, only, need: &need, session_key };
    // Boxed, and dropped here, as the parts of the relay are: an open stream then keeps only the frame of its own.
    let mut keep_alive = KeepAlive::of(&asked, hub.door.waits.stream_keep_alive);
    let found = Box::pin(dispatch::find_answer(&job, seat, book, &mut keep_alive, session)).await?;
    match found {
        // Relay it, reading along. The body is not needed any more: its memory is free again.
        dispatch::Found::Answer(answer, terms, admission) => {
            let keeps = responses::kept_for(&asked, principal.key.id);
            drop(asked);
            let relay = relay::Relay { hub, arrival, terms: &terms, keep_alive, keeps };
            Ok(relay::relay(relay, seat, book, answer, admission).await)
        }
        dispatch::Found::ClientGone => {
            book.client_closed();
            Ok(Ending::Cut)
        }
    }
}

/// The conversation that a request belongs to, where anything tells.
async fn converse(
    hub: &Hub,
    seat: &mut Seat<'_>,
    arrival: &Arrival,
    principal: &Principal,
    asked: &Asked,
    book: &mut Book,
) -> Option<Session> {
    let id = identify(&seat.http().req_header().headers, &asked.facts.session, &asked.body.bytes)?;
    let groups = effective_groups(&principal.user, &principal.key);
    let count = asked.facts.work.message_count;
    let session = hub.sessions.find(principal.key.id, &id, count, &arrival.live, groups).await;
    book.session(id, session.seed(book.seed()));
    Some(session)
}

fn arrive(hub: &Hub, session: &ServerSession) -> Arrival {
    let at = now();
    let fields = &session.req_header().headers;
    let socket = session.client_addr().and_then(|a| a.as_inet()).map(std::net::SocketAddr::ip);
    let forwarded = fields.get(&headers::X_FORWARDED_FOR).and_then(|v| v.to_str().ok());
    let client = fields.get(USER_AGENT).and_then(|v| v.to_str().ok());
    Arrival {
        id: request_id(at),
        at,
        clock: Instant::now(),
        origin: Origin {
            ip: hub
                .door
                .trusted_proxies
                .client_ip(socket.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), forwarded),
            client: client.map(|text| cut(text.to_owned(), 256)),
        },
        live: hub.live.load_full(),
    }
}

fn request_id(at: UnixMillis) -> RequestId {
    RequestId::from_parts(u64::try_from(at.0).unwrap_or(0), &rand::random())
}

fn request_head<'a>(session: &ServerSession, method: &'a Method, path: &'a str) -> RequestHead<'a> {
    let head = session.req_header();
    let is_websocket =
        head.headers.get(UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"));
    RequestHead {
        method,
        path,
        has_anthropic_version: head.headers.contains_key(&headers::ANTHROPIC_VERSION),
        has_goog_api_key: head.headers.contains_key(&headers::X_GOOG_API_KEY),
        is_websocket_upgrade: is_websocket,
    }
}

/// Over 64 KiB or 200 fields.
fn is_oversized(session: &ServerSession) -> bool {
    let headers = &session.req_header().headers;
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    headers.len() > MAX_HEADER_FIELDS || bytes > MAX_HEADER_BYTES
}

fn who_calls(hub: &Hub, seat: &mut Seat<'_>, arrival: &Arrival) -> Result<Principal, Reject> {
    hub.live.check(&arrival.live, arrival.at).map_err(Reject::Config)?;
    let head = seat.http().req_header();
    authenticate::authenticate(
        &head.headers,
        head.uri.query(),
        &arrival.live,
        arrival.origin.ip,
        arrival.at,
        &hub.door.failures,
    )
}

fn target(seat: &mut Seat<'_>, endpoint: &Endpoint<'_>) -> Target {
    let uri = &seat.http().req_header().uri;
    Target {
        path: endpoint.path.to_owned(),
        query: uri.query().map(str::to_owned),
        path_model: endpoint.path_model.clone(),
    }
}

/// Refuses a request that no provider is chosen for. Where its key is known, its holder's log says so; a
/// stranger's request leaves a line, but no row, see ARCHITECTURE.md.
async fn turn_away(
    hub: &Hub,
    seat: &mut Seat<'_>,
    arrival: &Arrival,
    (endpoint, dialect): (&'static str, Dialect),
    reject: &Reject,
) {
    let head = seat.http().req_header();
    let known = authenticate::recognise(&head.headers, head.uri.query(), &arrival.live);
    let ending = refuse(hub, seat, dialect, arrival, reject).await;
    match known {
        None => events::stranger_refused(arrival.id, arrival.origin.ip, endpoint, reject),
        Some(principal) => {
            let mut book = Book::open(arrival, &principal, endpoint, rand::random());
            book.refused(reject.status(), reject.label());
            settle::settle(hub, arrival, book).await;
        }
    }
    end(seat, ending).await;
}

/// The last byte leaves; what is left of a refused body is read, so that the seat sees the refusal.
async fn end(seat: &mut Seat<'_>, ending: Ending) {
    ending.leave(seat).await;
    if !seat.http().is_body_done() {
        receive::discard(seat).await;
    }
}

/// Writes a refusal but for its end; into the stream, when that has begun.
async fn refuse(
    hub: &Hub,
    seat: &mut Seat<'_>,
    dialect: Dialect,
    arrival: &Arrival,
    reject: &Reject,
) -> Ending {
    hub.metrics.count_refusal(reject.label());
    if seat.has_begun() {
        seat.add(reject.in_stream(dialect, arrival.id)).await;
        return Ending::Whole;
    }
    if !seat.http().is_body_done() {
        // A body that was not read would be taken for the next request.
        seat.http().set_keepalive(None);
    }
    if let Ok((head, body)) = reject.answer(dialect, arrival.id) {
        seat.start(head).await;
        seat.add_last(body).await;
    }
    Ending::Whole
}

fn missed(miss: Miss) -> (Dialect, Reject) {
    match miss {
        Miss::UnknownPath { dialect } => (dialect, Reject::UnknownPath),
        Miss::MethodNotAllowed { dialect, allow } => (dialect, Reject::MethodNotAllowed(allow)),
        Miss::StatefulResource { dialect } => (dialect, Reject::StatefulResource),
        Miss::WebsocketUpgrade => (Dialect::OpenaiResponses, Reject::WebsocketUpgrade),
    }
}

/// What the log calls the endpoint of a request, and the dialect of its refusal.
fn called(route: &Result<Route<'_>, Miss>) -> (&'static str, Dialect) {
    match route {
        Ok(Route::Proxied(endpoint)) => (endpoint.family.as_str(), endpoint.family.dialect()),
        Ok(Route::Models { listing, .. }) => (MODELS, listing.dialect()),
        Ok(Route::Local(_)) => (NO_ENDPOINT, Dialect::Anthropic),
        Err(miss) => (NO_ENDPOINT, missed(*miss).0),
    }
}

/// What the log says instead of an endpoint family: no such path, or not with this method.
const NO_ENDPOINT: &str = "none";
/// The same for the lists of models, which are answered here.
const MODELS: &str = "models";
const MAX_HEADER_FIELDS: usize = 200;
const MAX_HEADER_BYTES: usize = 64 << 10;
