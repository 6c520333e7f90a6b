//! Who may come in, by three doors: a few open paths; `/api/v1/me/…` for the holder of a key, who shows that key; and all else
//! for `Authorization: Bearer <ADMIN_TOKEN>`. No credential opens the other's door.
//!
//! The token is compared in constant time, a key is looked up by its digest. Wrong credentials are counted per address and
//! answered 429 from the eleventh in a minute on; a right one is never refused for its address, so that nobody can lock
//! others out. The guard also gives each request its id, which every answer carries.

use crate::error::{Class, Error};
use crate::service::seats::{Seat, holder};
use crate::service::{Actor, Admin};
use actix_web::HttpMessage;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use rand::TryRngCore;
use rand::rngs::OsRng;
use shared::ids::RequestId;
use shared::secret::{KeyDigest, Secret};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// Knows the admin token and who has guessed at it, or at keys.
#[derive(Debug)]
pub struct Gate {
    token: KeyDigest,
    failures: Mutex<Failures>,
}

impl Gate {
    /// A gate that this token opens.
    #[must_use]
    pub fn new(token: &Secret) -> Self {
        Self { token: KeyDigest::of(token.expose()), failures: Mutex::new(Failures::default()) }
    }

    fn actor(&self, request: &ServiceRequest) -> Result<Actor, Error> {
        let credential = bearer(request).ok_or(Error::Unauthenticated)?;
        // Digests of equal length are compared: neither the length nor a common prefix of the token shows.
        let given = KeyDigest::of(credential).to_hex();
        let is_admin: bool = given.as_bytes().ct_eq(self.token.to_hex().as_bytes()).into();
        if !is_admin {
            return Err(self.refused(request, Instant::now()));
        }
        let client_ip = request.peer_addr().map(|address| address.ip().to_string());
        Ok(Actor { name: "admin_token", client_ip, request_id: None })
    }

    async fn seat(&self, admin: &Admin, request: &ServiceRequest) -> Result<Seat, Error> {
        let digest = KeyDigest::of(seat_key(request).ok_or(Error::Unauthenticated)?);
        match admin.run(move |admin| holder(admin, digest)).await {
            Err(Error::Unauthenticated) => Err(self.refused(request, Instant::now())),
            known => known,
        }
    }

    /// Counts a wrong credential, and says what is answered.
    fn refused(&self, request: &ServiceRequest, now: Instant) -> Error {
        let Some(address) = request.peer_addr() else { return Error::Unauthenticated };
        // A panic while holding the lock leaves a whole table behind.
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.note(address.ip(), now) {
            Some(wait) => Error::Throttled { retry_after_secs: wait.as_secs().max(1) },
            None => Error::Unauthenticated,
        }
    }
}

/// Which credential a path wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// None: nothing there shows anything of an installation.
    Open,
    /// A seat's key: what is there shows its holder itself alone.
    Seat,
    /// The admin token.
    Admin,
}

impl Door {
    /// Whatever is not named here is the admin's.
    pub(crate) fn of(path: &str) -> Self {
        match path {
            "/" | "/api/openapi.json" | "/api/v1/health/live" | "/api/v1/health/ready" | "/swagger-ui" => {
                Self::Open
            }
            path if path.starts_with("/swagger-ui/") => Self::Open,
            "/api/v1/me" => Self::Seat,
            path if path.starts_with("/api/v1/me/") => Self::Seat,
            _ => Self::Admin,
        }
    }
}

/// Lets requests through or answers them, gives them their id, and logs what was our fault.
pub async fn guard(
    gate: Data<Gate>,
    admin: Data<Admin>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let id = new_request_id();
    let path = request.path().to_owned();
    let mut answer = match admit(&gate, &admin, &request, &id).await {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(error) => request.error_response(error),
    };
    if let Some(error) = answer.response().error().and_then(|e| e.as_error::<Error>()) {
        match error.class() {
            Class::Client => tracing::debug!(request_id = %id, path, code = error.code(), "refused"),
            Class::Ours | Class::Degraded => {
                tracing::error!(request_id = %id, path, code = error.code(), %error, "request failed");
            }
        }
    }
    let headers = answer.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(HeaderName::from_static("x-request-id"), value);
    }
    if path.starts_with("/api/v1/") {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(answer)
}

/// Lets a request in, and puts beside it for its handler who sent it.
async fn admit(gate: &Gate, admin: &Admin, request: &ServiceRequest, id: &str) -> Result<(), Error> {
    match Door::of(request.path()) {
        Door::Open => return Ok(()),
        Door::Seat => {
            let seat = gate.seat(admin, request).await?;
            request.extensions_mut().insert(seat);
        }
        Door::Admin => {
            let mut actor = gate.actor(request)?;
            actor.request_id = Some(id.to_owned());
            request.extensions_mut().insert(actor);
        }
    }
    // No stored text holds a NUL, and Postgres refuses to look for one.
    if request.path().contains("%00") { Err(Error::NoRoute) } else { Ok(()) }
}

fn bearer(request: &ServiceRequest) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credential) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim()).filter(|c| !c.is_empty())
}

/// The one key of a request; given twice, it must be the same.
fn seat_key(request: &ServiceRequest) -> Option<&str> {
    let header = request.headers().get("x-api-key").and_then(|value| value.to_str().ok()).map(str::trim);
    match (bearer(request), header.filter(|key| !key.is_empty())) {
        (Some(bearer), Some(header)) if bearer != header => None,
        (bearer, header) => bearer.or(header),
    }
}

fn new_request_id() -> String {
    let mut chance = [0; 10];
    // Without chance an id still has its time: enough for a line in a log.
    let _ = OsRng.try_fill_bytes(&mut chance);
    let now = crate::service::now().0.max(0).cast_unsigned();
    RequestId::from_parts(now, &chance).to_string()
}

/// Wrong credentials by address, in windows of a minute from the first one.
#[derive(Debug, Default)]
struct Failures(HashMap<IpAddr, (Instant, u32)>);

impl Failures {
    /// Counts a failure; answers how long the address is throttled, if it is.
    fn note(&mut self, address: IpAddr, now: Instant) -> Option<Duration> {
        if self.0.len() >= MAX_ADDRESSES {
            self.0.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
            if self.0.len() >= MAX_ADDRESSES {
                self.0.clear();
            }
        }
        let (since, count) = self.0.entry(address).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        (*count > MAX_FAILURES).then(|| WINDOW - now.duration_since(*since))
    }
}

const WINDOW: Duration = Duration::from_secs(60);
const MAX_FAILURES: u32 = 10;
/// Bounds the table's memory; a flood from more addresses starts it anew.
const MAX_ADDRESSES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_failure_in_a_minute_is_throttled_until_the_minute_is_over() {
        let mut failures = Failures::default();
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let start = Instant::now();
        for _ in 0..MAX_FAILURES {
            assert_eq!(failures.note(here, start), None);
        }
        let later = start + Duration::from_secs(20);
        assert_eq!(failures.note(here, later), Some(Duration::from_secs(40)));
        assert_eq!(failures.note(there, later), None);
        assert_eq!(failures.note(here, start + WINDOW), None);
    }

    #[test]
    fn a_path_that_only_looks_like_anothers_is_the_admins() {
        for (path, door) in [
            ("/api/v1/me/quota", Door::Seat),
            ("/api/v1/me", Door::Seat),
            ("/swagger-ui/index.html", Door::Open),
            ("/api/v1/mean", Door::Admin),
            ("/api/v1/%6de/quota", Door::Admin),
            ("//api/v1/me/quota", Door::Admin),
            ("/api/v1/users/me/", Door::Admin),
            ("/api/v1/health/live/", Door::Admin),
        ] {
            assert_eq!(Door::of(path), door, "{path}");
        }
    }

    #[test]
    fn the_table_of_failures_is_bounded() {
        let mut failures = Failures::default();
        let now = Instant::now();
        for n in 0..u32::try_from(MAX_ADDRESSES).unwrap() + 5 {
            failures.note(IpAddr::from(n.to_be_bytes()), now);
        }
        assert!(failures.0.len() <= MAX_ADDRESSES);
    }
}
