//! Providers: one upstream account each. The account's secret goes in, is sealed, and never comes out here.

mod headers;

pub use headers::CustomHeaders;

use super::change::{Change, Entry};
use super::check::{Star, Violations};
use super::{Actor, Admin, Changed, IfMatch, Stored};
use crate::error::{Error, Resource};
use crate::repo::entity::providers::{ActiveModel, Model};
use crate::repo::{Rows, providers};
use sea_orm::ActiveValue::{Set, Unchanged};
use serde_json::{Value, json};
use shared::ids::{ProviderId, Revision};
use shared::model::{
    ClientAbort, GroupSet, ModelRule, Provider as Published, ProviderType, Redirect, Timers,
};
use shared::money::Multiplier;
use shared::rules::upstream::{BaseUrl, UpstreamHeaders};
use shared::secret::{Sealed, Secret};
use shared::time::UnixMillis;

/// A stored provider, without its secret.
pub type Provider = Stored<ProviderFields>;

/// What an admin can set of a provider, but for its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderFields {
    /// Display name; never shown to a seat.
    pub name: String,
    /// Which API it speaks and how it authenticates.
    pub provider_type: ProviderType,
    /// Base URL.
    pub url: String,
    /// A disabled provider is never used.
    pub is_enabled: bool,
    /// Share of the draw among equals, 0 to 100; 0 = never drawn.
    pub weight: u32,
    /// Tier: the lowest number with a usable provider serves.
    pub priority: u32,
    /// The groups it belongs to.
    pub group_tag: GroupSet,
    /// Factor on the price of what it serves.
    pub cost_multiplier: Multiplier,
    /// Models it serves; empty = all.
    pub allowed_models: Vec<ModelRule>,
    /// Ordered renames of the requested model.
    pub model_redirects: Vec<Redirect>,
    /// Tries at this provider before the next one, 1 to 10.
    pub max_attempts: u32,
    /// Headers added to each request.
    pub custom_headers: CustomHeaders,
    /// What happens to a stream whose client left.
    pub client_abort: ClientAbort,
    /// How long to wait, in milliseconds; 0 = no limit.
    pub timers: Timers,
}

impl ProviderFields {
    /// A provider with everything else as it is when not given.
    #[must_use]
    pub fn new(name: impl Into<String>, provider_type: ProviderType, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            provider_type,
            url: url.into(),
            is_enabled: true,
            weight: 1,
            priority: 0,
            group_tag: GroupSet::default(),
            cost_multiplier: Multiplier::ONE,
            allowed_models: Vec::new(),
            model_redirects: Vec::new(),
            max_attempts: 2,
            custom_headers: CustomHeaders::default(),
            client_abort: ClientAbort::default(),
            timers: Timers::default(),
        }
    }

    fn check(&self, v: &mut Violations) {
        v.name("name", &self.name);
        check_url(v, &self.url);
        v.number("weight", &self.weight, &(0..=100));
        v.number("priority", &self.priority, &(0..=1_000_000));
        v.groups("group_tag", &self.group_tag, Star::Refused);
        v.require(self.allowed_models.len() <= 200, "allowed_models", "must have at most 200 rules");
        v.require(self.model_redirects.len() <= 200, "model_redirects", "must have at most 200 rules");
        v.number("max_attempts", &self.max_attempts, &(1..=10));
        self.custom_headers.check(v);
        for (field, ms) in [
            ("first_byte_timeout_streaming_ms", self.timers.first_byte_timeout_streaming_ms),
            ("streaming_idle_timeout_ms", self.timers.streaming_idle_timeout_ms),
            ("request_timeout_non_streaming_ms", self.timers.request_timeout_non_streaming_ms),
        ] {
            let is_fine = ms == 0 || (100..=3_600_000).contains(&ms);
            v.require(is_fine, field, "must be 0 (no limit) or 100 to 3600000");
        }
    }

    fn audited(&self) -> Value {
        json!({
            "name": self.name,
            "provider_type": self.provider_type,
            "url": self.url,
            "is_enabled": self.is_enabled,
            "weight": self.weight,
            "priority": self.priority,
            "group_tag": self.group_tag,
            "cost_multiplier": self.cost_multiplier.to_decimal(),
            "allowed_models": self.allowed_models,
            "model_redirects": self.model_redirects,
            "max_attempts": self.max_attempts,
            "custom_headers": self.custom_headers.audited(),
            "client_abort": self.client_abort,
            "first_byte_timeout_streaming_ms": self.timers.first_byte_timeout_streaming_ms,
            "streaming_idle_timeout_ms": self.timers.streaming_idle_timeout_ms,
            "request_timeout_non_streaming_ms": self.timers.request_timeout_non_streaming_ms,
        })
    }
}

/// Makes a provider.
pub async fn create(
    admin: Admin,
    actor: Actor,
    fields: ProviderFields,
    key: Secret,
) -> Result<Changed<Provider>, Error> {
    let mut v = Violations::default();
    fields.check(&mut v);
    check_key(&mut v, &fields, &key);
    v.finish()?;
    let change = Change::begin(&admin, &actor).await?;
    providers::ensure_groups(&change.tx, &fields.group_tag, change.revision_column(), change.now.0).await?;
    let mut row = columns(&fields);
    row.sealed_secret = Set(String::new());
    row.custom_headers = Set(CustomHeaders::NONE.to_owned());
    row.revision = Set(change.revision_column());
    row.created_at_ms = Set(change.now.0);
    row.updated_at_ms = Set(change.now.0);
    let made = providers::insert_provider(&change.tx, row).await?;
    // The envelopes are bound to the row's id, which the database has just handed out.
    let id = ProviderId(made.id);
    let row = ActiveModel {
        id: Unchanged(made.id),
        sealed_secret: Set(admin.vault().seal(&key, &Published::secret_place(id))?.0),
        custom_headers: Set(fields.custom_headers.sealed(admin.vault(), id)?),
        ..Default::default()
    };
    let provider = stored(&providers::update_provider(&change.tx, row).await?)?;
    let mut after = fields.audited();
    after["key"] = json!("***");
    let entry = entry("create", provider.id, None, Some(after));
    change.commit(provider, entry).await
}

/// One provider.
pub async fn read(admin: Admin, id: ProviderId) -> Result<Provider, Error> {
    stored(&live(admin.db().reader(), id).await?)
}

/// Providers by id, after `after`.
pub async fn list(
    admin: Admin,
    name_has: Option<String>,
    after: ProviderId,
    limit: u64,
) -> Result<Rows<Provider>, Error> {
    let rows = providers::providers(admin.db().reader(), name_has.as_deref(), after, limit).await?;
    rows.try_map(stored)
}

/// Changes a provider as `edit` says, and its secret when one is given.
pub async fn update(
    admin: Admin,
    actor: Actor,
    id: ProviderId,
    if_match: IfMatch,
    key: Option<Secret>,
    edit: impl FnOnce(&mut ProviderFields) + Send,
) -> Result<Changed<Provider>, Error> {
    let change = Change::begin(&admin, &actor).await?;
    let row = live(&change.tx, id).await?;
    let before = stored(&row)?;
    if_match.check(before.revision)?;
    let mut fields = before.fields.clone();
    edit(&mut fields);
    if fields == before.fields && key.is_none() {
        return change.nothing(before).await;
    }
    let mut v = Violations::default();
    fields.check(&mut v);
    match &key {
        Some(key) => check_key(&mut v, &fields, key),
        None if (fields.provider_type, &fields.url) == (before.fields.provider_type, &before.fields.url) => {}
        // The kept key must do for the new place. One that does not open is told by the gateway as it is.
        None => {
            if let Ok(kept) = admin.vault().open(&Sealed(row.sealed_secret), &Published::secret_place(id)) {
                check_key(&mut v, &fields, &kept);
            }
        }
    }
    v.finish()?;
    providers::ensure_groups(&change.tx, &fields.group_tag, change.revision_column(), change.now.0).await?;
    let mut row = columns(&fields);
    row.id = Unchanged(id.0);
    row.custom_headers = Set(fields.custom_headers.sealed(admin.vault(), id)?);
    row.revision = Set(change.revision_column());
    row.updated_at_ms = Set(change.now.0);
    let mut noted = fields.audited();
    if let Some(key) = &key {
        row.sealed_secret = Set(admin.vault().seal(key, &Published::secret_place(id))?.0);
        noted["key"] = json!("*** (changed)");
    }
    let after = stored(&providers::update_provider(&change.tx, row).await?)?;
    change.commit(after, entry("update", id.0, Some(before.fields.audited()), Some(noted))).await
}

/// Deletes a provider; its secret and its headers are wiped.
pub async fn delete(
    admin: Admin,
    actor: Actor,
    id: ProviderId,
    if_match: IfMatch,
) -> Result<Changed<()>, Error> {
    let change = Change::begin(&admin, &actor).await?;
    let before = stored(&live(&change.tx, id).await?)?;
    if_match.check(before.revision)?;
    let row = ActiveModel {
        id: Unchanged(id.0),
        sealed_secret: Set(String::new()),
        custom_headers: Set(CustomHeaders::NONE.to_owned()),
        deleted_at_ms: Set(Some(change.now.0)),
        updated_at_ms: Set(change.now.0),
        revision: Set(change.revision_column()),
        ..Default::default()
    };
    providers::update_provider(&change.tx, row).await?;
    change.commit((), entry("delete", id.0, Some(before.fields.audited()), None)).await
}

/// A row as it is published, secret and headers still sealed.
pub(super) fn published(row: &Model) -> Result<Published, Error> {
    let fields = stored(row)?.fields;
    Ok(Published {
        id: ProviderId(row.id),
        name: fields.name,
        provider_type: fields.provider_type,
        url: fields.url,
        secret: Sealed(row.sealed_secret.clone()),
        is_enabled: fields.is_enabled,
        weight: fields.weight,
        priority: fields.priority,
        group_tag: fields.group_tag,
        cost_multiplier: fields.cost_multiplier,
        allowed_models: fields.allowed_models,
        model_redirects: fields.model_redirects,
        max_attempts: fields.max_attempts,
        custom_headers: fields.custom_headers.published(),
        client_abort: fields.client_abort,
        timers: fields.timers,
    })
}

async fn live(db: &impl sea_orm::ConnectionTrait, id: ProviderId) -> Result<Model, Error> {
    providers::provider(db, id).await?.ok_or(Error::NotFound(Resource::Provider))
}

/// As the gateway reads it: it leaves a provider out whose URL it cannot use.
fn check_url(v: &mut Violations, text: &str) {
    v.text("url", text, 1..=255);
    if let Err(error) = BaseUrl::parse(text) {
        let text = error.to_string();
        v.require(false, "url", text.strip_prefix("base URL ").unwrap_or(&text));
    }
}

/// The same for the secret, which some types and hosts want in another form.
fn check_key(v: &mut Violations, fields: &ProviderFields, key: &Secret) {
    let text = key.expose();
    v.require((1..=MAX_KEY_BYTES).contains(&text.len()), "key", "must have 1 to 8192 characters");
    let is_visible = text.bytes().all(|b| b.is_ascii_graphic());
    v.require(is_visible, "key", "must be visible ASCII characters without blanks");
    let Ok(base) = BaseUrl::parse(&fields.url) else { return };
    if is_visible && let Err(error) = UpstreamHeaders::new(fields.provider_type, &base, key, &[]) {
        let text = error.to_string();
        v.require(false, "key", text.strip_prefix("the provider's key ").unwrap_or(&text));
    }
}

fn stored(row: &Model) -> Result<Provider, Error> {
    let corrupt = |column| Error::Corrupt { resource: Resource::Provider, id: row.id.to_string(), column };
    let fields = ProviderFields {
        name: row.name.clone(),
        provider_type: ProviderType::parse(&row.provider_type).ok_or_else(|| corrupt("provider_type"))?,
        url: row.url.clone(),
        is_enabled: row.is_enabled,
        weight: row.weight.cast_unsigned(),
        priority: row.priority.cast_unsigned(),
        group_tag: GroupSet::parse(&row.group_tag),
        cost_multiplier: Multiplier(row.cost_multiplier.cast_unsigned()),
        allowed_models: serde_json::from_str(&row.allowed_models).map_err(|_| corrupt("allowed_models"))?,
        model_redirects: serde_json::from_str(&row.model_redirects)
            .map_err(|_| corrupt("model_redirects"))?,
        max_attempts: row.max_attempts.cast_unsigned(),
        custom_headers: CustomHeaders::stored(&row.custom_headers)
            .ok_or_else(|| corrupt("custom_headers"))?,
        client_abort: client_abort(&row.client_abort).ok_or_else(|| corrupt("client_abort"))?,
        timers: Timers {
            first_byte_timeout_streaming_ms: row.first_byte_timeout_streaming_ms.cast_unsigned(),
            streaming_idle_timeout_ms: row.streaming_idle_timeout_ms.cast_unsigned(),
            request_timeout_non_streaming_ms: row.request_timeout_non_streaming_ms.cast_unsigned(),
        },
    };
    Ok(Stored {
        id: row.id,
        fields,
        revision: Revision(row.revision.cast_unsigned()),
        created_at: UnixMillis(row.created_at_ms),
        updated_at: UnixMillis(row.updated_at_ms),
    })
}

fn client_abort(name: &str) -> Option<ClientAbort> {
    [ClientAbort::Drain, ClientAbort::Cancel].into_iter().find(|c| c.as_str() == name)
}

/// All but what is sealed.
fn columns(fields: &ProviderFields) -> ActiveModel {
    ActiveModel {
        name: Set(fields.name.clone()),
        provider_type: Set(fields.provider_type.as_str().to_owned()),
        url: Set(fields.url.clone()),
        is_enabled: Set(fields.is_enabled),
        weight: Set(fields.weight.cast_signed()),
        priority: Set(fields.priority.cast_signed()),
        group_tag: Set(fields.group_tag.to_string()),
        cost_multiplier: Set(fields.cost_multiplier.0.cast_signed()),
        allowed_models: Set(json!(fields.allowed_models).to_string()),
        model_redirects: Set(json!(fields.model_redirects).to_string()),
        max_attempts: Set(fields.max_attempts.cast_signed()),
        client_abort: Set(fields.client_abort.as_str().to_owned()),
        first_byte_timeout_streaming_ms: Set(fields.timers.first_byte_timeout_streaming_ms.cast_signed()),
        streaming_idle_timeout_ms: Set(fields.timers.streaming_idle_timeout_ms.cast_signed()),
        request_timeout_non_streaming_ms: Set(fields.timers.request_timeout_non_streaming_ms.cast_signed()),
        ..Default::default()
    }
}

fn entry(verb: &'static str, id: i64, before: Option<Value>, after: Option<Value>) -> Entry {
    Entry { verb, resource: Resource::Provider, id: id.to_string(), before, after }
}

const MAX_KEY_BYTES: usize = 8_192;
