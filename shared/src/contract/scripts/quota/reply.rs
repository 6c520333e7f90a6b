//! What the script's replies say.

use super::scope_name;
use crate::money::NanoUsd;
use crate::rules::quota::{
    Admission, Ask, Kind, Life, Refusal, RequestsNow, ScopeId, SessionsNow, Standing, Terms, What, WindowNow,
};
use crate::time::UnixMillis;

/// The reply to [`admit`](super::admit), after its first part. `None`: it is not one.
#[must_use]
pub fn admission(ask: &Ask, reply: &[String]) -> Option<Admission> {
    match reply {
        [word] if word == "unseeded" => Some(Admission::Unseeded),
        [word] if word == "over" => Some(Admission::Over),
        [word, at, escrowed, rest @ ..] if word == "admitted" => {
            let at = UnixMillis(at.parse().ok()?);
            let escrowed = NanoUsd(escrowed.parse().ok()?);
            Some(Admission::Admitted { at, escrowed, standing: stood(&ask.scopes, rest)? })
        }
        [word, scope, what, kind, current, held, escrowed, opens] if word == "refused" => {
            let (scope, terms) = ask.scopes.iter().find(|(id, _)| scope_name(*id) == *scope)?;
            let count = || current.parse().ok();
            let what = match what.as_str() {
                "sessions" => What::Sessions { limit: terms.limits.concurrent_sessions?, current: count()? },
                "requests" => What::Requests { limit: terms.limits.requests_per_minute?, current: count()? },
                "money" => {
                    let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
                    What::Money {
                        kind,
                        limit: terms.window(kind)?.limit,
                        spent: NanoUsd(current.parse().ok()?),
                        held: NanoUsd(held.parse().ok()?),
                        escrowed: NanoUsd(escrowed.parse().ok()?),
                        need: ask.need,
                    }
                }
                _ => return None,
            };
            Some(Admission::Refused(Refusal { scope: *scope, what, resets_at: moment(opens)? }))
        }
        _ => None,
    }
}

/// The standing of a reply: in the order in which they were asked for, of each scope five values for each limited window, then two
/// for its limit on requests, if it has one, then one for that on sessions.
#[must_use]
pub fn stood(scopes: &[(ScopeId, Terms)], reply: &[String]) -> Option<Standing> {
    let mut parts = reply.iter().map(String::as_str);
    let mut standing = Standing::default();
    for (scope, terms) in scopes {
        for window in terms.windows() {
            standing.windows.push(WindowNow {
                scope: *scope,
                kind: window.kind,
                limit: window.limit,
                spent: NanoUsd(parts.next()?.parse().ok()?),
                held: NanoUsd(parts.next()?.parse().ok()?),
                escrowed: NanoUsd(parts.next()?.parse().ok()?),
                starts_at: moment(parts.next()?)?,
                resets_at: moment(parts.next()?)?,
            });
        }
        if let Some(limit) = terms.limit_of_requests() {
            let (current, resets_at) = (parts.next()?.parse().ok()?, moment(parts.next()?)?);
            standing.requests.push(RequestsNow { scope: *scope, limit, current, resets_at });
        }
        if let Some(limit) = terms.limit_of_sessions() {
            standing.sessions.push(SessionsNow {
                scope: *scope,
                limit,
                current: parts.next()?.parse().ok()?,
            });
        }
    }
    parts.next().is_none().then_some(standing)
}

/// The reply to [`super::life`], after its first part. `None`: it is not one.
#[must_use]
pub fn life_said(reply: &[String]) -> Option<Option<Life>> {
    match reply {
        [life] => Some(Some(Life(life.clone())).filter(|Life(life)| !life.is_empty())),
        _ => None,
    }
}

/// A moment or an empty text; `None`: neither.
fn moment(text: &str) -> Option<Option<UnixMillis>> {
    match text {
        "" => Some(None),
        number => Some(Some(UnixMillis(number.parse().ok()?))),
    }
}
