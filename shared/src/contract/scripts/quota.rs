//! The script of budgets: what it is told and, in `reply`, what its replies say.

mod reply;

pub use reply::{admission, life_said, stood};

use super::ScriptCall;
use crate::contract::keys::{quota_epoch, quota_head, quota_recalled, quota_wanted};
use crate::ids::{JournalId, ProviderId, UserId};
use crate::money::NanoUsd;
use crate::rules::quota::{
    AccountId, Ask, Back, Edges, HoldId, Life, MAX_AMOUNT, Opening, ScopeId, Settle, Span, Terms,
};
use crate::time::UnixMillis;
use bytes::Bytes;
use serde::Serialize;

/// Decides over one account: each function here makes the call of one word.
pub const QUOTA: &str = include_str!("../lua/quota_v3.lua");

/// Knows the epoch, the accounts that are to be opened and those that are recalled: [`epoch`], [`begin`], [`want`],
/// [`take_wanted`] and [`recall`].
pub const QUOTA_EPOCH: &str = include_str!("../lua/quota_epoch_v1.lua");

fn epoch_call(word: &'static str, say: String) -> ScriptCall {
    let args = vec![Bytes::from_static(word.as_bytes()), Bytes::from(say)];
    ScriptCall { keys: vec![quota_epoch(), quota_wanted()], args }
}

/// Asks [`QUOTA_EPOCH`] which epoch is in force.
#[must_use]
pub fn epoch() -> ScriptCall {
    epoch_call("epoch", String::new())
}

/// Asks [`QUOTA_EPOCH`] which epoch it has heard of last, in whatever run of Redis.
#[must_use]
pub fn last_epoch() -> ScriptCall {
    epoch_call("last", String::new())
}

/// Begins one.
#[must_use]
pub fn begin(epoch: u64) -> ScriptCall {
    epoch_call("begin", epoch.to_string())
}

/// Asks for an account to be opened.
#[must_use]
pub fn want(account: AccountId) -> ScriptCall {
    epoch_call("want", account_name(account))
}

/// Takes the names of accounts that are to be opened: each for [`named_account`].
#[must_use]
pub fn take_wanted(at_most: usize) -> ScriptCall {
    epoch_call("take", at_most.to_string())
}

/// Tells all who listen to [`quota_recalled`] this account's name.
#[must_use]
pub fn recall(account: AccountId) -> ScriptCall {
    let mut call = epoch_call("recall", account_name(account));
    call.args.push(quota_recalled().into());
    call
}

fn account_name(account: AccountId) -> String {
    match account {
        AccountId::User(id) => format!("u:{id}"),
        AccountId::Provider(id) => format!("p:{id}"),
    }
}

/// The account of a name; `None` for what this release does not know.
#[must_use]
pub fn named_account(name: &str) -> Option<AccountId> {
    let (kind, id) = name.split_once(':')?;
    match kind {
        "u" => id.parse().ok().map(|id| AccountId::User(UserId(id))),
        "p" => id.parse().ok().map(|id| AccountId::Provider(ProviderId(id))),
        _ => None,
    }
}

#[derive(Serialize)]
struct ScopeDoc {
    id: String,
    day: [i64; 4],
    week: [i64; 4],
    month: [i64; 4],
    reset_at: Option<i64>,
    five_hours_reset_at: Option<i64>,
    requests: Option<u32>,
    sessions: Option<u32>,
    windows: Vec<WindowDoc>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    spends: Vec<(i64, i64)>,
}

#[derive(Serialize)]
struct WindowDoc {
    kind: &'static str,
    limit: i64,
    span: &'static str,
    edges: Option<[i64; 4]>,
    width: Option<i64>,
    reset_at: Option<i64>,
}

#[derive(Serialize)]
struct AskDoc {
    hold: String,
    owner: String,
    need: i64,
    lives_ms: u64,
    is_counted: bool,
    session: Option<String>,
    session_ttl_ms: u64,
    ahead: Option<AheadDoc>,
    scopes: Vec<ScopeDoc>,
    at: i64,
    epoch: u64,
}

#[derive(Serialize)]
struct AheadDoc {
    escrow: String,
    worth: i64,
    nodes: u32,
}

#[derive(Serialize)]
struct BackDoc {
    escrow: String,
    /// In all; `None`: whatever is left.
    returned: Option<i64>,
}

#[derive(Serialize)]
struct ChargeDoc {
    seq: u64,
    hold: String,
    cost: i64,
    at: i64,
    is_interrupted: bool,
    from: Option<String>,
    scopes: Vec<ScopeDoc>,
}

fn edges(edges: &Edges) -> [i64; 4] {
    edges.0.map(|edge| edge.0)
}

fn amount(amount: NanoUsd) -> i64 {
    amount.0.clamp(0, MAX_AMOUNT)
}

fn hold_name(HoldId(request, attempt): HoldId) -> String {
    format!("{request}#{attempt}")
}

fn scope_name(scope: ScopeId) -> String {
    match scope {
        ScopeId::Owner => "o".to_owned(),
        ScopeId::Key(key) => format!("k{key}"),
    }
}

fn scope_doc((id, terms): &(ScopeId, Terms)) -> ScopeDoc {
    let windows = terms.windows().map(|window| {
        let (span, edges, width) = match &window.span {
            Span::Calendar(of) => ("calendar", Some(edges(of)), None),
            Span::Rolling(width) => ("rolling", None, Some(*width)),
            Span::FirstSpend => ("first", None, None),
            Span::Ever => ("ever", None, None),
        };
        let reset_at = window.reset_at.map(|reset_at| reset_at.0);
        WindowDoc { kind: window.kind.as_str(), limit: window.limit.0, span, edges, width, reset_at }
    });
    let limits = &terms.limits;
    ScopeDoc {
        id: scope_name(*id),
        day: edges(&terms.day),
        week: edges(&terms.week),
        month: edges(&terms.month),
        reset_at: limits.reset_at.map(|moment| moment.0),
        five_hours_reset_at: limits.five_hours_reset_at.map(|moment| moment.0),
        requests: limits.requests_per_minute,
        sessions: limits.concurrent_sessions,
        windows: windows.collect(),
        spends: Vec::new(),
    }
}

fn back_docs(backs: &[Back]) -> Vec<BackDoc> {
    let doc = |back: &Back| match back {
        Back::Part(escrow, returned) => {
            BackDoc { escrow: hold_name(*escrow), returned: Some(amount(*returned)) }
        }
        Back::Whole(escrow) => BackDoc { escrow: hold_name(*escrow), returned: None },
    };
    backs.iter().map(doc).collect()
}

fn scope_docs(scopes: &[(ScopeId, Terms)]) -> Vec<ScopeDoc> {
    scopes.iter().map(scope_doc).collect()
}

fn ask_doc(ask: &Ask, at: UnixMillis, epoch: u64) -> AskDoc {
    AskDoc {
        hold: hold_name(ask.hold),
        owner: ask.owner.to_string(),
        need: amount(ask.need),
        lives_ms: ask.lives_ms,
        is_counted: ask.is_counted,
        session: ask.session.map(|(session, _)| session.to_string()),
        session_ttl_ms: ask.session.map_or(0, |(_, ttl_ms)| ttl_ms),
        ahead: ask.escrow.map(|ahead| AheadDoc {
            escrow: hold_name(ask.hold.escrow()),
            worth: amount(ahead.worth),
            nodes: ahead.nodes,
        }),
        scopes: scope_docs(&ask.scopes),
        at: at.0,
        epoch,
    }
}

fn call(
    account: AccountId,
    word: &'static str,
    say: &impl Serialize,
) -> Result<ScriptCall, serde_json::Error> {
    let args = vec![Bytes::from_static(word.as_bytes()), serde_json::to_vec(say)?.into()];
    Ok(ScriptCall { keys: vec![quota_head(account)], args })
}

/// A request asks to be let in.
pub fn admit(account: AccountId, ask: &Ask, epoch: u64) -> Result<ScriptCall, serde_json::Error> {
    call(account, "admit", &ask_doc(ask, UnixMillis(0), epoch))
}

/// Records of a journal.
pub fn settle(account: AccountId, settle: &Settle, epoch: u64) -> Result<ScriptCall, serde_json::Error> {
    #[derive(Serialize)]
    struct Doc {
        journal: String,
        epoch: u64,
        charges: Vec<ChargeDoc>,
        backs: Vec<BackDoc>,
    }
    let charges = settle.charges.iter().map(|charge| ChargeDoc {
        seq: charge.seq,
        hold: hold_name(charge.hold),
        cost: amount(charge.cost),
        at: charge.at.0,
        is_interrupted: charge.is_interrupted,
        from: charge.from.map(hold_name),
        scopes: scope_docs(&charge.scopes),
    });
    let (charges, backs) = (charges.collect(), back_docs(&settle.backs));
    call(account, "settle", &Doc { journal: settle.journal.to_string(), epoch, charges, backs })
}

/// What was put aside ahead goes back.
pub fn give_back(account: AccountId, backs: &[Back]) -> Result<ScriptCall, serde_json::Error> {
    #[derive(Serialize)]
    struct Doc {
        backs: Vec<BackDoc>,
    }
    call(account, "give_back", &Doc { backs: back_docs(backs) })
}

/// A hold is given up.
pub fn release(account: AccountId, hold: HoldId) -> Result<ScriptCall, serde_json::Error> {
    #[derive(Serialize)]
    struct Doc {
        hold: String,
    }
    call(account, "release", &Doc { hold: hold_name(hold) })
}

/// A journal was told to its end under this epoch.
pub fn release_holds(
    account: AccountId,
    owner: JournalId,
    epoch: u64,
) -> Result<ScriptCall, serde_json::Error> {
    #[derive(Serialize)]
    struct Doc {
        owner: String,
        epoch: u64,
    }
    call(account, "release_holds", &Doc { owner: owner.to_string(), epoch })
}

/// A journal has nothing more to say.
pub fn release_owner(account: AccountId, owner: JournalId) -> Result<ScriptCall, serde_json::Error> {
    #[derive(Serialize)]
    struct Doc {
        owner: String,
    }
    call(account, "release_owner", &Doc { owner: owner.to_string() })
}

/// What was let in before the store lost it.
pub fn declare(
    account: AccountId,
    ask: &Ask,
    at: UnixMillis,
    epoch: u64,
) -> Result<ScriptCall, serde_json::Error> {
    call(account, "declare", &ask_doc(ask, at, epoch))
}

/// In which life an account is to be opened: see [`life_said`].
pub fn life(account: AccountId, epoch: u64) -> Result<ScriptCall, serde_json::Error> {
    #[derive(Serialize)]
    struct Doc {
        epoch: u64,
    }
    call(account, "life", &Doc { epoch })
}

/// What the ledger says.
pub fn open(
    account: AccountId,
    epoch: u64,
    life: &Life,
    opening: &Opening,
) -> Result<ScriptCall, serde_json::Error> {
    #[derive(Serialize)]
    struct JournalDoc {
        journal: String,
        seq: u64,
    }
    #[derive(Serialize)]
    struct Doc<'a> {
        epoch: u64,
        life: &'a str,
        scopes: Vec<ScopeDoc>,
        journals: Vec<JournalDoc>,
        interrupted: Vec<String>,
    }
    let scopes = opening.spends.iter().map(|spends| ScopeDoc {
        spends: spends.at.iter().map(|(at, nano)| (at.0, amount(NanoUsd(*nano)))).collect(),
        ..scope_doc(&(spends.scope, spends.terms.clone()))
    });
    let journals = opening.journals.iter();
    let doc = Doc {
        epoch,
        life: &life.0,
        scopes: scopes.collect(),
        journals: journals
            .map(|(journal, seq)| JournalDoc { journal: journal.to_string(), seq: *seq })
            .collect(),
        interrupted: opening.interrupted.iter().map(|hold| hold_name(*hold)).collect(),
    };
    call(account, "open", &doc)
}

#[derive(Serialize)]
struct ScopesDoc {
    scopes: Vec<ScopeDoc>,
    epoch: u64,
}

/// What is counted apart from now on.
pub fn keep(account: AccountId, scopes: &[(ScopeId, Terms)]) -> Result<ScriptCall, serde_json::Error> {
    call(account, "keep", &ScopesDoc { scopes: scope_docs(scopes), epoch: 0 })
}

/// How limits stand.
pub fn standing(
    account: AccountId,
    scopes: &[(ScopeId, Terms)],
    epoch: u64,
) -> Result<ScriptCall, serde_json::Error> {
    call(account, "standing", &ScopesDoc { scopes: scope_docs(scopes), epoch })
}
