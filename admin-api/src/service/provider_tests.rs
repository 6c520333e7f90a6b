//! Tests of providers, stored or not: a short question on the way that requests go. Nothing is changed by one: no
//! breaker, no statistics, no log of requests. Only a stored secret that is sent another way than the stored one is
//! noted in the audit log.

use super::check::Violations;
use super::providers::{self, ProviderFields};
use super::{Actor, Admin, now};
use crate::error::Error;
use crate::outside::{Absence, Exchange, Taken};
use egress::DialError;
use http::Method;
use shared::ids::ProviderId;
use shared::model::Provider;
use shared::rules::classify::{AttemptEnd, ConnectFailure, CutPhase};
use shared::rules::provider_test::{Answered, Judged, Preset, TestRequest, judge, judge_end, list_models};
use shared::rules::upstream::Reach;
use shared::secret::Secret;
use shared::time::UnixMillis;
use std::error::Error as _;
use std::time::Duration;

/// What an admin may choose about a test.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The name of a [`Preset`]; the usual one of the type when not given.
    pub preset: Option<String>,
    /// The model, before redirects; the preset's when not given.
    pub model: Option<String>,
    /// How long the whole test may take, in ms, 1 000 to 60 000.
    pub timeout_ms: Option<u64>,
    /// Above how many ms an answer is slow, 1 to 60 000.
    pub latency_limit_ms: Option<u64>,
}

/// How a test went.
#[derive(Debug)]
pub struct Tested {
    /// What was asked.
    pub preset: &'static Preset,
    /// The model, before redirects.
    pub model: String,
    /// After them.
    pub upstream_model: Option<String>,
    /// Where it went, without credentials.
    pub url: Option<String>,
    /// The way that was taken; `None`: none, because the provider is unusable.
    pub taken: Option<Taken>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// Milliseconds until the head of the answer.
    pub first_byte_ms: Option<u64>,
    /// Milliseconds of all of it.
    pub total_ms: u64,
    /// What it means; its texts are without secrets, and short.
    pub judged: Judged,
    /// What went wrong on the way.
    pub transport: Option<TransportError>,
    /// When it began.
    pub at: UnixMillis,
}

/// What went wrong on the way.
#[derive(Debug)]
pub struct TransportError {
    /// A fixed word: `dns`, `refused`, `unreachable`, `reset`, `tls`, `timeout`, `proxy`, `not_http`.
    pub kind: &'static str,
    /// For people.
    pub text: String,
}

/// A model that a provider says it has.
#[derive(Debug)]
pub struct UpstreamModel {
    /// Its name in requests.
    pub id: String,
    /// Its name for people.
    pub display_name: Option<String>,
}

/// How long a test may take at most, with what belongs to it here.
#[must_use]
pub fn longest(wanted: &Wanted) -> Duration {
    Duration::from_millis(wanted.timeout_ms.unwrap_or(TIMEOUT_MS).min(LONGEST_MS)) + Duration::from_secs(10)
}

/// Tests a provider that is not stored.
pub async fn unsaved(
    admin: Admin,
    fields: ProviderFields,
    key: Secret,
    wanted: Wanted,
) -> Result<Tested, Error> {
    let provider = providers::unsaved(&admin, fields, &key)?;
    test(&admin, &provider, wanted).await
}

/// Tests a stored provider, as it would be after `edit`.
pub async fn saved(
    admin: Admin,
    actor: Actor,
    id: ProviderId,
    key: Option<Secret>,
    edit: impl FnOnce(&mut ProviderFields) + Send,
    wanted: Wanted,
) -> Result<Tested, Error> {
    let provider = providers::edited(&admin, &actor, id, key, edit).await?;
    test(&admin, &provider, wanted).await
}

async fn test(admin: &Admin, provider: &Provider, wanted: Wanted) -> Result<Tested, Error> {
    let preset = check(provider, &wanted)?;
    let _place = admin.outside().place().ok_or(Error::TooManyTests)?;
    let model = wanted.model.unwrap_or_else(|| preset.model.to_owned());
    let mut tested = Tested {
        preset,
        model,
        upstream_model: None,
        url: None,
        taken: None,
        status: None,
        first_byte_ms: None,
        total_ms: 0,
        judged: judge_end(&AttemptEnd::Ours("unusable"), ""),
        transport: None,
        at: now(),
    };
    let reach = match admin.vault().reach(provider) {
        Ok(reach) => reach,
        Err(why) => {
            tested.judged.reason = "unusable";
            tested.judged.error = Some(why.to_owned());
            return Ok(tested);
        }
    };
    let request = preset.request(&reach, &provider.model_redirects, &tested.model);
    let asked = request.upstream_model.clone();
    tested.url = Some(url_of(&request));
    tested.upstream_model = Some(asked.clone());
    let limit = Duration::from_millis(wanted.timeout_ms.unwrap_or(TIMEOUT_MS));
    let exchange = admin.outside().exchange(&reach, Method::POST, request, limit).await;
    let latency_limit_ms = wanted.latency_limit_ms.unwrap_or(LATENCY_LIMIT_MS);
    take(&mut tested, exchange, &asked, latency_limit_ms);
    tested.judged.text = shown(&reach, &tested.judged.text, TEXT_CHARS);
    let error = tested.judged.error.take();
    tested.judged.error = error.map(|text| shown(&reach, &text, ERROR_CHARS));
    tested.judged.model = tested.judged.model.take().map(|text| shown(&reach, &text, 200));
    Ok(tested)
}

fn check(provider: &Provider, wanted: &Wanted) -> Result<&'static Preset, Error> {
    let mut v = Violations::default();
    let fits = |preset: &&'static Preset| preset.types.contains(&provider.provider_type);
    let preset = match &wanted.preset {
        Some(name) => Preset::named(name).filter(fits),
        None => Preset::usual(provider.provider_type),
    };
    let ids: Vec<_> = Preset::ALL.iter().filter(fits).map(|preset| preset.id).collect();
    v.require(preset.is_some(), "preset", &format!("must be one of this type's: {}", ids.join(", ")));
    if let Some(model) = &wanted.model {
        v.text("model", model, 1..=256);
    }
    v.number("timeout_ms", &wanted.timeout_ms.unwrap_or(TIMEOUT_MS), &(1_000..=LONGEST_MS));
    v.number("latency_limit_ms", &wanted.latency_limit_ms.unwrap_or(1), &(1..=LONGEST_MS));
    v.finish()?;
    preset.ok_or(Error::Broken)
}

fn take(tested: &mut Tested, exchange: Exchange, model: &str, latency_limit_ms: u64) {
    tested.taken = Some(exchange.taken);
    tested.total_ms = exchange.total_ms;
    match exchange.outcome {
        Ok(answer) => {
            tested.status = Some(answer.status);
            tested.first_byte_ms = Some(answer.first_byte_ms);
            let answered = Answered {
                status: answer.status,
                content_type: answer.content_type,
                body: answer.body,
                end: answer.end,
                total_ms: exchange.total_ms,
            };
            tested.judged = judge(&answered, tested.preset.family, model, latency_limit_ms);
        }
        Err(absence) => {
            let end = match &absence {
                Absence::Connect(error) => AttemptEnd::ConnectFailed(error.failure()),
                Absence::Reset | Absence::NotHttp => AttemptEnd::Cut(CutPhase::BeforeHead),
                Absence::TimedOut(phase) => AttemptEnd::TimedOut(*phase),
            };
            tested.judged = judge_end(&end, model);
            tested.transport = Some(TransportError::of(&absence));
        }
    }
}

/// The models that a stored provider says it has.
pub async fn models(admin: Admin, id: ProviderId) -> Result<Vec<UpstreamModel>, Error> {
    let provider = providers::published(admin.clone(), id).await?;
    let _place = admin.outside().place().ok_or(Error::TooManyTests)?;
    let reach = admin.vault().reach(&provider).map_err(|why| Error::ProviderFailed(why.to_owned()))?;
    let request = list_models(&reach, provider.provider_type);
    let exchange = admin.outside().exchange(&reach, Method::GET, request, MODELS_LIMIT).await;
    let failed = |text: &str| Error::ProviderFailed(shown(&reach, text, ERROR_CHARS));
    let answer = exchange.outcome.map_err(|absence| failed(&TransportError::of(&absence).text))?;
    let body = String::from_utf8_lossy(&answer.body);
    if !(200..300).contains(&answer.status) {
        return Err(failed(&format!("status {}: {}", answer.status, body.trim())));
    }
    let listed = serde_json::from_slice(&answer.body).ok().and_then(|list| models_in(&list));
    listed.ok_or_else(|| failed(&format!("the answer is no list of models: {}", body.trim())))
}

/// `{"data": [{"id"}]}` of Anthropic and OpenAI, `{"models": [{"name": "models/…"}]}` of Gemini.
fn models_in(list: &serde_json::Value) -> Option<Vec<UpstreamModel>> {
    let items = list.get("data").or_else(|| list.get("models"))?.as_array()?;
    let text = |item: &serde_json::Value, field: &str| item.get(field)?.as_str().map(str::to_owned);
    let model = |item: &serde_json::Value| {
        let name = text(item, "id").or_else(|| text(item, "name"))?;
        let id = name.strip_prefix("models/").unwrap_or(&name).to_owned();
        let display_name = text(item, "display_name").or_else(|| text(item, "displayName"));
        Some(UpstreamModel { id, display_name })
    };
    Some(items.iter().filter_map(model).take(MODELS_AT_MOST).collect())
}

impl TransportError {
    fn of(absence: &Absence) -> Self {
        let (kind, text) = match absence {
            Absence::Connect(error) => (kind(error), told(error)),
            Absence::Reset => ("reset", "the connection was closed before an answer".to_owned()),
            Absence::NotHttp => ("not_http", "what came is not HTTP".to_owned()),
            Absence::TimedOut(_) => ("timeout", "no whole answer in time".to_owned()),
        };
        Self { kind, text }
    }
}

fn kind(error: &DialError) -> &'static str {
    match (error, error.failure()) {
        (DialError::Reset, _) => "reset",
        (DialError::Unreachable(_), _) => "unreachable",
        (_, ConnectFailure::Dns) => "dns",
        (_, ConnectFailure::Refused) => "refused",
        (_, ConnectFailure::TimedOut) => "timeout",
        (_, ConnectFailure::Tls) => "tls",
        (_, ConnectFailure::Proxy(_)) => "proxy",
    }
}

/// An error with its causes: `TLS could not be agreed on: invalid peer certificate: UnknownIssuer`.
fn told(error: &DialError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn url_of(request: &TestRequest) -> String {
    let origin = &request.target.origin;
    let scheme = if origin.is_https { "https" } else { "http" };
    format!("{scheme}://{}{}", origin.authority, request.target.path_and_query)
}

/// A foreign text as it may be shown.
fn shown(reach: &Reach, text: &str, chars: usize) -> String {
    let text = reach.scrubbed(text);
    match text.char_indices().nth(chars) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

const TIMEOUT_MS: u64 = 30_000;
const LONGEST_MS: u64 = 60_000;
const LATENCY_LIMIT_MS: u64 = 5_000;
const MODELS_LIMIT: Duration = Duration::from_secs(20);
const MODELS_AT_MOST: usize = 5_000;
const TEXT_CHARS: usize = 500;
const ERROR_CHARS: usize = 2_000;
