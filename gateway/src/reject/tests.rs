//! What each refusal tells the vendors' clients to do: ask again, or stop (reference/protocols.md §6.1 to §6.4).

use super::*;
use serde_json::Value;
use shared::ids::KeyId;
use shared::money::NanoUsd;
use shared::rules::quota::{Kind, ScopeId, What};
use std::collections::BTreeSet;

/// What a client is to do, and the seconds in `retry-after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// Another try mends nothing by itself; it may after so long.
    Stops(Option<u64>),
    /// Another try may be served.
    AsksAgain(Option<u64>),
}
use Client::{AsksAgain, Stops};

struct Row {
    refusal: Reject,
    status: u16,
    client: Client,
}

/// Rows for each refusal there is. The patterns are those of an exhaustive `match`: a new refusal does not compile before
/// somebody says here what clients do with it.
macro_rules! table {
    ($($refusal:pat => $status:literal $(, $client:expr => [$($sample:expr),+])+;)*) => {
        fn table() -> Vec<Row> {
            fn check(refusal: &Reject, pattern: &str) {
                let found = match refusal { $($refusal => stringify!($refusal),)* };
                assert_eq!(found, pattern, "{refusal:?} stands in another's row");
            }
            let mut rows = Vec::new();
            $($($(
                let row = Row { refusal: $sample, status: $status, client: $client };
                check(&row.refusal, stringify!($refusal));
                rows.push(row);
            )+)+)*
            rows
        }
    };
}

table! {
    Reject::Config(_) => 503, AsksAgain(Some(5)) => [Reject::Config(Unusable::Missing), Reject::Config(Unusable::Stale)];
    Reject::UnknownPath => 404, Stops(None) => [Reject::UnknownPath];
    Reject::StatefulResource => 404, Stops(None) => [Reject::StatefulResource];
    Reject::MethodNotAllowed(_) => 405, Stops(None) => [Reject::MethodNotAllowed("POST")];
    Reject::WebsocketUpgrade => 426, Stops(None) => [Reject::WebsocketUpgrade];
    Reject::UnreadableHead => 400, Stops(None) => [Reject::UnreadableHead];
    Reject::HeadersTooLarge => 431, Stops(None) => [Reject::HeadersTooLarge];
    Reject::NoCredential => 401, Stops(None) => [Reject::NoCredential];
    Reject::ConflictingCredentials => 401, Stops(None) => [Reject::ConflictingCredentials];
    Reject::UnknownKey => 401, Stops(None) => [Reject::UnknownKey];
    Reject::Denied(_) => 401, Stops(None) => [
        Reject::Denied(Denied::KeyDisabled), Reject::Denied(Denied::KeyExpired),
        Reject::Denied(Denied::UserDisabled), Reject::Denied(Denied::UserExpired)
    ];
    Reject::TooManyFailures => 429, Stops(Some(300)) => [Reject::TooManyFailures];
    Reject::ClientDenied(_) => 403, Stops(None) => [
        Reject::ClientDenied(ClientDenied::Blocked), Reject::ClientDenied(ClientDenied::NotAllowed),
        Reject::ClientDenied(ClientDenied::Unnamed)
    ];
    Reject::ModelDenied(_) => 403, Stops(None) => [
        Reject::ModelDenied(ModelDenied::ByUser), Reject::ModelDenied(ModelDenied::ByKey)
    ];
    Reject::BodyTooLarge => 413, Stops(None) => [Reject::BodyTooLarge];
    Reject::BodyMemory => 503, AsksAgain(Some(1)) => [Reject::BodyMemory];
    Reject::BodyIncomplete => 400, Stops(None) => [Reject::BodyIncomplete];
    Reject::EncodingUnknown => 415, Stops(None) => [Reject::EncodingUnknown];
    Reject::EncodingBroken => 400, Stops(None) => [Reject::EncodingBroken];
    Reject::BadBody(_) => 400, Stops(None) => [
        Reject::BadBody(ScanError::NotUtf8), Reject::BadBody(ScanError::NotJson { offset: 1 }),
        Reject::BadBody(ScanError::NotAnObject), Reject::BadBody(ScanError::TooDeep),
        Reject::BadBody(ScanError::Repeated { field: "model" }),
        Reject::BadBody(ScanError::WrongType { field: "model", expected: "a string" })
    ];
    Reject::NoModel => 400, Stops(None) => [Reject::NoModel];
    Reject::Background => 400, Stops(None) => [Reject::Background];
    Reject::PreviousResponseNotFound => 404, Stops(None) => [Reject::PreviousResponseNotFound];
    Reject::ResponseStoreUnreachable => 503, AsksAgain(Some(5)) => [Reject::ResponseStoreUnreachable];
    Reject::Limit(_) => 429,
        // Money is not waited for, however soon it is there again.
        Stops(Some(3)) => [money(Kind::FiveHours, Some(3)), money(Kind::Daily, Some(3))],
        Stops(Some(7_200)) => [money(Kind::Weekly, Some(7_200)), money(Kind::Monthly, Some(7_200))],
        Stops(None) => [money(Kind::Total, None)],
        AsksAgain(Some(20)) => [
            limit(What::Requests { limit: 60, current: 60 }, Some(20)),
            limit(What::Sessions { limit: 2, current: 2 }, Some(20))
        ],
        AsksAgain(None) => [limit(What::Sessions { limit: 2, current: 2 }, None)];
    Reject::QuotaUnreachable => 429, AsksAgain(Some(5)) => [Reject::QuotaUnreachable];
    Reject::Unbounded(_) => 400, Stops(None) => [
        Reject::Unbounded(Unbounded::Model), Reject::Unbounded(Unbounded::Input),
        Reject::Unbounded(Unbounded::Output), Reject::Unbounded(Unbounded::Searches),
        Reject::Unbounded(Unbounded::ServerUses)
    ];
    Reject::NoProvider { .. } => 503, AsksAgain(Some(5)) => [no_provider(None)], AsksAgain(Some(9)) => [no_provider(Some(9))];
    Reject::UnknownModel => 404, Stops(None) => [Reject::UnknownModel];
    Reject::AllRateLimited(_) => 429, AsksAgain(Some(7)) => [Reject::AllRateLimited(7)];
}

fn limit(what: What, resets_in_secs: Option<i64>) -> Reject {
    let now = UnixMillis(1_790_000_000_000);
    let resets_at = resets_in_secs.map(|secs| UnixMillis(now.0 + secs * 1_000));
    Reject::Limit(Box::new((Refusal { scope: ScopeId::Key(KeyId(1)), what, resets_at }, now)))
}

fn money(kind: Kind, resets_in_secs: Option<i64>) -> Reject {
    let (limit_usd, none) = (NanoUsd(1_000_000_000), NanoUsd(0));
    let what = What::Money {
        kind,
        limit: limit_usd,
        spent: limit_usd,
        held: none,
        escrowed: none,
        need: NanoUsd(1),
    };
    limit(what, resets_in_secs)
}

fn no_provider(retry_after_secs: Option<u64>) -> Reject {
    Reject::NoProvider { reasons: vec!["overload"], retry_after_secs }
}

fn answer(refusal: &Reject, dialect: Dialect) -> (ResponseHeader, Value) {
    let (head, body) = refusal.answer(dialect, RequestId::from_bytes([7; 16])).unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

fn header<'a>(head: &'a ResponseHeader, name: &str) -> Option<&'a str> {
    head.headers.get(name).map(|value| value.to_str().unwrap())
}

// --- the clients, as protocols.md and their sources have them ---

/// The SDKs of Anthropic and OpenAI (§6.1).
fn stainless_asks_again(head: &ResponseHeader) -> bool {
    match header(head, "x-should-retry") {
        Some("true") => true,
        Some("false") => false,
        _ => matches!(head.status.as_u16(), 408 | 409 | 429 | 500..),
    }
}

/// Codex (§6.3), which looks at neither header.
fn codex_asks_again(status: u16) -> bool {
    status >= 500
}

/// google-genai, where it is told to retry at all: by the status alone.
fn google_sdk_asks_again(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

fn detail<'a>(body: &'a Value, of: &str) -> Option<&'a Value> {
    let details = body.pointer("/error/details")?.as_array()?;
    details.iter().find(|detail| detail["@type"] == format!("type.googleapis.com/google.rpc.{of}"))
}

/// Gemini CLI (§6.4, `googleQuotaErrors.ts`, `retry.ts`): by the status, and by the details of its body.
fn gemini_cli_asks_again(status: u16, body: &Value) -> bool {
    let is_used_up = detail(body, "ErrorInfo").is_some_and(|info| {
        info["domain"] == "cloudcode-pa.googleapis.com" && info["reason"] == "QUOTA_EXHAUSTED"
    });
    (status == 429 || status >= 500) && !is_used_up
}

// --- what holds of each row ---

#[test]
fn each_refusal_tells_the_sdks_in_every_dialect_to_stop_or_when_to_ask_again() {
    for Row { refusal, status, client } in table() {
        let (asks_again, wait) = match client {
            Stops(wait) => (false, wait),
            AsksAgain(wait) => (true, wait),
        };
        for dialect in Dialect::ALL {
            let (head, body) = answer(&refusal, dialect);
            let context = format!("{refusal:?} in {dialect:?}: {head:?} {body}");
            assert_eq!(head.status.as_u16(), status, "{context}");
            assert_eq!(
                header(&head, "x-should-retry"),
                Some(if asks_again { "true" } else { "false" }),
                "{context}"
            );
            assert_eq!(
                header(&head, "retry-after"),
                wait.map(|secs| secs.to_string()).as_deref(),
                "{context}"
            );
            assert_eq!(stainless_asks_again(&head), asks_again, "{context}");
        }
    }
}

#[test]
fn gemini_cli_stops_and_asks_again_where_the_sdks_do_and_reads_the_same_wait() {
    for Row { refusal, status, client } in table() {
        let (head, body) = answer(&refusal, Dialect::Gemini);
        assert_eq!(
            gemini_cli_asks_again(status, &body),
            matches!(client, AsksAgain(_)),
            "{refusal:?}: {body}"
        );
        let wait = detail(&body, "RetryInfo").map(|info| info["retryDelay"].as_str().unwrap().to_owned());
        assert_eq!(wait, header(&head, "retry-after").map(|secs| format!("{secs}s")), "{refusal:?}: {body}");
    }
}

#[test]
fn codex_asks_for_nothing_again_that_cannot_be_mended() {
    for Row { refusal, status, client } in table() {
        assert!(!codex_asks_again(status) || matches!(client, AsksAgain(_)), "{refusal:?}");
    }
}

/// What Google's SDK does where its user switched retries on cannot be steered by an answer with the right status.
#[test]
fn google_s_sdk_told_to_retry_asks_in_vain_for_budgets_and_after_wrong_keys_alone() {
    let in_vain: BTreeSet<&str> = table()
        .iter()
        .filter(|row| google_sdk_asks_again(row.status) && matches!(row.client, Stops(_)))
        .map(|row| row.refusal.label())
        .collect();
    let budgets = ["limit_5h", "limit_daily", "limit_weekly", "limit_monthly", "limit_total"];
    assert_eq!(in_vain, BTreeSet::from_iter([&budgets[..], &["too_many_failures"]].concat()));
}

#[test]
fn money_refusals_have_each_vendor_s_own_word_for_a_budget_that_is_used_up() {
    let refusal = money(Kind::Daily, Some(7_200));
    for (dialect, at, word) in [
        (Dialect::Anthropic, "/error/type", "billing_error"),
        (Dialect::OpenaiChat, "/error/code", "insufficient_quota"),
        (Dialect::OpenaiResponses, "/error/code", "insufficient_quota"),
        (Dialect::Gemini, "/error/status", "RESOURCE_EXHAUSTED"),
        (Dialect::Gemini, "/error/details/0/reason", "QUOTA_EXHAUSTED"),
        (Dialect::Gemini, "/error/details/0/metadata/code", "limit_daily"),
    ] {
        let (_, body) = answer(&refusal, dialect);
        assert_eq!(body.pointer(at).and_then(Value::as_str), Some(word), "{dialect:?}: {body}");
    }
}
