//! What the gateway reports: each event is a function that writes its log line. Names and fields live here.
//!
//! Never logged: keys, secrets, prompts, bodies, `User-Agent` in full.

use crate::live::disk::DiskError;
use crate::reject::Reject;
use shared::contract::begin::BeginError;
use shared::contract::breaker::{Cause, Circuit, CircuitDoc, Sample};
use shared::contract::usage::{RequestEntry, UsageRecord};
use shared::ids::{JournalId, ProviderId, RequestId, Revision};
use shared::journal::{Found, Health};
use shared::money::NanoUsd;
use shared::ports::PortError;
use shared::rules::error_rules::Unusable;
use shared::rules::response::Lost;
use shared::time::{UnixMillis, Zone};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use tracing::{debug, error, info, warn};

/// A newer configuration is in force.
pub fn config_applied(revision: Revision) {
    info!(revision = revision.0, "configuration applied");
}

/// The feed of configurations does not answer; the last one stays in force.
pub fn config_feed_failed(error: PortError) {
    warn!(error = error.label(), "configuration feed failed; the last configuration stays in force");
}

/// The feed of configurations answers again.
pub fn config_feed_back() {
    info!("configuration feed answers again");
}

/// Nothing is published, or something older than what is in force.
pub fn config_behind(published: Option<Revision>) {
    let published = published.map(|revision| revision.0);
    warn!(published, "what is published does not confirm the configuration in force");
}

/// A delta does not lead on from the configuration in force.
pub fn config_gap(revision: Revision, from: Revision) {
    info!(revision = revision.0, from = from.0, "gap between configurations; reading the whole");
}

/// A configuration that was kept on disk is in force.
pub fn config_from_disk(revision: Revision, heard_at: UnixMillis) {
    info!(revision = revision.0, confirmed_at = %heard_at, "started from the configuration kept on disk");
}

/// The configuration kept on disk cannot be used.
pub fn config_copy_unreadable(error: &DiskError) {
    warn!(%error, "the configuration kept on disk cannot be used");
}

/// The configuration cannot be kept on disk.
pub fn config_copy_failed(error: &std::io::Error) {
    error!(%error, "the configuration cannot be kept on disk");
}

/// A provider cannot be used as it is configured.
pub fn provider_unusable(provider_id: ProviderId, reason: &'static str) {
    error!(provider_id = provider_id.0, reason, "provider left out");
}

/// A rule on errors cannot be used as it is configured: a later release may have made it.
pub fn error_rule_unusable(rule: Unusable) {
    error!(error_rule_id = rule.id.0, reason = rule.reason, "error rule, or its replacement, left out");
}

/// The settings name a zone that this release does not know.
pub fn zone_unknown(zone: &Zone) {
    error!(%zone, "timezone is not known to this release: schedules go by UTC");
}

/// Neither the disk nor memory took a record.
pub fn usage_lost(request_id: RequestId) {
    error!(%request_id, "usage record lost: JOURNAL_MAX_MB is reached or the disk takes nothing, and memory is full");
}

/// A hold that was given up cannot be remembered until the store of budgets is back: it stays until its deadline, and is
/// charged.
pub fn release_lost(request_id: RequestId) {
    error!(%request_id, "a hold stays until its deadline: too many wait for the store of budgets");
}

/// The store of budgets does not answer: `REDIS_OUTAGE_POLICY` says what goes on.
pub fn budgets_away(error: PortError) {
    error!(%error, "the store of budgets is away: REDIS_OUTAGE_POLICY decides");
}

/// It answers again.
pub fn budgets_back() {
    info!("the store of budgets answers again");
}

/// The journal had no room for records that budgets were still to be told of: their store counts too little until it is
/// opened anew.
pub fn budgets_untold(journal: JournalId, first: u64, last: u64) {
    error!(%journal, first, last, "budgets were not told of records that went for want of room: JOURNAL_MAX_MB");
}

/// What could cost this much at most has cost more: a bug of ours, or a provider that counts what nobody asked it for. It is
/// charged. `attempt` 0 is the whole request, against its user's budget; others are tries, against the budget of their provider.
pub fn cost_above_hold(request: &RequestEntry, attempt: u32, need: NanoUsd, cost: NanoUsd) {
    error!(
        request_id = %request.id,
        model = request.model.as_deref(),
        attempt,
        need_usd = %need,
        cost_usd = %cost,
        "a cost is above the bound that a strict budget put aside for it"
    );
}

/// Records cannot be handed over; they wait.
pub fn usage_waits(error: PortError, waiting: u64) {
    warn!(error = error.label(), waiting, "usage waits in the journal");
}

/// They can again.
pub fn usage_moves_again() {
    info!("usage is handed over again");
}

/// A provider's breaker changed its state.
pub fn circuit_moved(doc: &CircuitDoc, at: UnixMillis) {
    let (provider_id, state) = (doc.provider_id.0, doc.circuit.state(at).label());
    let cause = doc.cause.map(Cause::label);
    let evidence: Vec<String> = doc.samples.iter().map(evidence).collect();
    let evidence = evidence.join(", ");
    match &doc.circuit {
        Circuit::Open { until } => {
            warn!(provider_id, state, cause, %until, evidence, "[CircuitBreaker] provider is not asked any more");
        }
        Circuit::HalfOpen { .. } => info!(provider_id, state, cause, "[CircuitBreaker] provider is probed"),
        Circuit::Closed { .. } => {
            info!(provider_id, state, cause, "[CircuitBreaker] provider is asked again")
        }
    }
}

fn evidence(sample: &Sample) -> String {
    let status = sample.status.map(|status| format!(" {status}")).unwrap_or_default();
    match sample.request_id {
        Some(id) => format!("{}{status} ({id})", sample.label),
        None => format!("{}{status}", sample.label),
    }
}

/// The provider of an open breaker was asked a question of our own.
pub fn provider_probed(
    provider_id: ProviderId,
    result: &'static str,
    label: &'static str,
    status: Option<u16>,
    took: Duration,
) {
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    debug!(provider_id = provider_id.0, result, label, status, duration_ms, "[CircuitBreaker] smart probe");
}

/// A provider is well, and the store does not hear it.
pub fn probe_not_told(provider_id: ProviderId, error: PortError) {
    let error = error.label();
    debug!(provider_id = provider_id.0, error, "[CircuitBreaker] a smart probe's success could not be told");
}

/// The journal's disk is another way than before.
pub fn journal_health(health: Health) {
    match health {
        Health::Fine => info!("the usage journal is written again"),
        Health::Full => error!("the usage journal has reached JOURNAL_MAX_MB; records wait in memory"),
        Health::Failing => error!("the usage journal cannot be written; records wait in memory"),
        Health::Stalled => error!("the disk of the usage journal does not answer; records wait in memory"),
    }
}

/// What was written to the journal may not be on the disk.
pub fn journal_sync_failed(error: &io::Error) {
    error!(%error, "the usage journal cannot be synced");
}

/// A journal, or a part of one, cannot be read.
pub fn journal_unreadable(path: &Path, error: &io::Error) {
    error!(path = %path.display(), %error, "a usage journal cannot be read");
}

/// What is to be booked of a request that a dead process left cannot be read.
pub fn begin_unreadable(request_id: RequestId, error: &BeginError) {
    error!(%request_id, %error, "an interrupted request cannot be booked");
}

/// The journal of a dead process was taken over.
pub fn journal_adopted(id: JournalId, found: &Found) {
    let (ended, interrupted) = (found.last_seq - found.floor, found.open.len());
    let unread_bytes = found.unread_bytes;
    info!(journal = %id, ended, interrupted, unread_bytes, "the usage journal of an ended process is taken over");
}

/// All of it is in the books.
pub fn journal_done(id: JournalId) {
    info!(journal = %id, "a usage journal is in the books to the last record");
}

/// This process ends before its records are in the books; so many of them are in its memory alone.
pub fn journal_stays(unbooked: u64, in_memory_alone: usize) {
    if in_memory_alone == 0 {
        info!(unbooked, "usage that is not in the books yet stays in the journal for the next process");
    } else {
        error!(
            unbooked,
            lost = in_memory_alone,
            "usage records end with this process: the disk did not take them"
        );
    }
}

/// All is in the books, and the disk does not let the journal go: the next process finds that out.
pub fn journal_left(journal: JournalId) {
    warn!(%journal, "the disk does not answer; the usage journal stays, though all of it is in the books");
}

/// All is in the books, and the store of budgets did not hear what is to be given back: the next process tells it.
pub fn journal_still_holds(journal: JournalId) {
    warn!(%journal, "budgets did not hear what this process gives back; its usage journal stays for the next process to tell them");
}

/// This process ends while its disk has the journal: nobody can look at what is in it.
pub fn journal_held(unbooked_at_most: u64) {
    error!(
        unbooked_at_most,
        "the disk does not answer; what it did not take of the usage journal ends with this process"
    );
}

/// The process ends, and some of its tasks do not.
pub fn tasks_stay(tasks: usize, unbooked_at_most: u64) {
    error!(
        tasks,
        unbooked_at_most, "not all that runs beside the requests has ended in time; it is left behind"
    );
}

/// The grace of a stop is over with connections still open, requests running on some of them.
pub fn grace_over(connections: usize, running: usize) {
    warn!(connections, running, "SHUTDOWN_GRACE_SECS are over; cutting what still runs");
}

/// A request was refused whose caller is not known, so that nothing else tells of it.
pub fn stranger_refused(request_id: RequestId, client_ip: IpAddr, endpoint: &'static str, reject: &Reject) {
    let (status, blocked_by) = (reject.status(), reject.label());
    match reject {
        // Whoever knocks this often is told of by the metric; the log is not for him to fill.
        Reject::TooManyFailures => {
            debug!(%request_id, %client_ip, endpoint, status, blocked_by, "request of a stranger refused");
        }
        _ => info!(%request_id, %client_ip, endpoint, status, blocked_by, "request of a stranger refused"),
    }
}

/// A request goes on from a response, and there is nobody to send it to.
pub fn follow_up_lost(request_id: RequestId, lost: Lost) {
    info!(%request_id, reason = lost.label(), "previous response not found");
}

/// The process ends, and the store was not told which providers made these responses: another node answers 404 when a
/// request goes on from one of them.
pub fn responses_untold(count: usize) {
    warn!(count, "the store was not told who made some responses");
}

/// One line per request, at its end.
pub fn request_finished(record: &UsageRecord) {
    let request = &record.request;
    let tokens = |f: fn(&shared::contract::usage::TokenUsage) -> u64| {
        record.attempts.iter().map(|a| f(&a.usage)).sum::<u64>()
    };
    let cost: shared::money::NanoUsd = record.attempts.iter().map(|a| a.cost.total).sum();
    info!(
        request_id = %request.id,
        user_id = request.caller.user_id.0,
        key_id = request.caller.key_id.0,
        provider_id = request.provider_id.map(|p| p.0),
        endpoint = %request.endpoint,
        model = request.model.as_deref(),
        status = request.status,
        blocked_by = request.blocked_by.as_deref(),
        error = request.error.as_deref(),
        input_tokens = tokens(|u| u.input_tokens),
        cache_write_tokens = tokens(|u| u.cache_write_5m_tokens + u.cache_write_1h_tokens),
        cache_read_tokens = tokens(|u| u.cache_read_tokens),
        output_tokens = tokens(|u| u.output_tokens),
        cost_usd = %cost,
        first_byte_ms = request.timing.first_byte_ms,
        first_content_ms = request.timing.first_content_ms,
        duration_ms = request.timing.duration_ms,
        attempts = record.attempts.len(),
        chain = %chain(record),
        "request"
    );
}

/// `7:overloaded(529) 9:served(200)[direct:proxy_auth][resent]`: the attempts in order.
fn chain(record: &UsageRecord) -> String {
    use shared::contract::usage::ChainStep;
    let mut text = String::new();
    for step in &record.request.decision_chain.steps {
        let part = match step {
            ChainStep::Attempted { provider_id, result, status, direct_after, resends, .. } => {
                let status = status.map(|status| format!("({status})")).unwrap_or_default();
                let direct = direct_after.as_ref().map(|why| format!("[direct:{why}]")).unwrap_or_default();
                let resent = if *resends > 0 { "[resent]" } else { "" };
                format!("{provider_id}:{result}{status}{direct}{resent}")
            }
            ChainStep::Exhausted { .. } => "exhausted".to_owned(),
            ChainStep::Stopped { reason } => format!("stopped:{reason}"),
            ChainStep::LeftOut { .. } => "…".to_owned(),
            ChainStep::Selected { .. } | ChainStep::Reused { .. } => continue,
        };
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&part);
    }
    text
}
