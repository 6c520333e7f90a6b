//! Providers: one upstream account each. The account's secret goes in, is sealed, and never comes out here.

mod egress;
mod fields;
mod headers;

pub use egress::EgressFields;
pub use fields::ProviderFields;
pub use headers::CustomHeaders;

use super::change::{Change, Entry, record};
use super::check::Violations;
use super::{Actor, Admin, Changed, IfMatch, Stored, circuits, generations};
use crate::error::{Error, Resource};
use crate::repo::entity::providers::{ActiveModel, Model};
use crate::repo::limits::Limited;
use crate::repo::{Rows, providers};
use fields::{columns, egress_settings, seal_into, stored};
use sea_orm::ActiveValue::{Set, Unchanged};
use serde_json::{Value, json};
use shared::ids::ProviderId;
use shared::model::{EgressSettings, Provider as Published};
use shared::rules::upstream::{BaseUrl, UpstreamHeaders};
use shared::secret::{Sealed, Secret};

/// A stored provider, without its secret.
pub type Provider = Stored<ProviderFields>;

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
    row.proxy_fallback_to_direct = Set(false);
    // Whoever comes under limits for the first time.
    row.budget_generations = Set(i32::from(!fields.limits.is_unlimited()));
    row.revision = Set(change.revision_column());
    row.created_at_ms = Set(change.now.0);
    row.updated_at_ms = Set(change.now.0);
    let made = providers::insert_provider(&change.tx, row).await?;
    // The envelopes are bound to the row's id, which the database has just handed out.
    let id = ProviderId(made.id);
    let mut row = ActiveModel {
        id: Unchanged(made.id),
        sealed_secret: Set(admin.vault().seal(&key, &Published::secret_place(id))?.0),
        ..Default::default()
    };
    seal_into(&mut row, &fields, admin.vault(), id)?;
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
    let generations = row.budget_generations;
    let mut row = columns(&fields);
    if before.fields.limits.is_unlimited() && !fields.limits.is_unlimited() {
        row.budget_generations = Set(generations.saturating_add(1));
    }
    row.id = Unchanged(id.0);
    seal_into(&mut row, &fields, admin.vault(), id)?;
    row.revision = Set(change.revision_column());
    row.updated_at_ms = Set(change.now.0);
    let mut noted = fields.audited();
    if let Some(key) = &key {
        row.sealed_secret = Set(admin.vault().seal(key, &Published::secret_place(id))?.0);
        noted["key"] = json!("*** (changed)");
    }
    let after = stored(&providers::update_provider(&change.tx, row).await?)?;
    let is_switched = before.fields.is_enabled != fields.is_enabled;
    let changed =
        change.commit(after, entry("update", id.0, Some(before.fields.audited()), Some(noted))).await?;
    if is_switched {
        circuits::switched(&admin, id).await;
    }
    Ok(changed)
}

/// Deletes a provider; its secrets are wiped: key, headers, the password of its proxy.
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
        sealed_proxy_password: Set(None),
        deleted_at_ms: Set(Some(change.now.0)),
        updated_at_ms: Set(change.now.0),
        revision: Set(change.revision_column()),
        ..Default::default()
    };
    providers::update_provider(&change.tx, row).await?;
    change.commit((), entry("delete", id.0, Some(before.fields.audited()), None)).await
}

/// One provider as it is published, secret and headers still sealed.
pub async fn published(admin: Admin, id: ProviderId) -> Result<Published, Error> {
    as_published(&live(admin.db().reader(), id).await?)
}

/// A provider as it would be published, without being stored.
pub fn unsaved(admin: &Admin, fields: ProviderFields, key: &Secret) -> Result<Published, Error> {
    let mut v = Violations::default();
    fields.check(&mut v);
    check_key(&mut v, &fields, key);
    v.finish()?;
    let id = ProviderId(0);
    let secret = admin.vault().seal(key, &Published::secret_place(id))?;
    sealed(admin, id, fields, secret)
}

/// A stored provider as it would be published after `edit`, which is not kept; with its own key unless another is given.
/// Its secrets are about to be used: when that is another way than the stored one, the audit log says so.
pub async fn edited(
    admin: &Admin,
    actor: &Actor,
    id: ProviderId,
    key: Option<Secret>,
    edit: impl FnOnce(&mut ProviderFields) + Send,
) -> Result<Published, Error> {
    let row = live(admin.db().reader(), id).await?;
    let before = stored(&row)?.fields;
    let mut fields = before.clone();
    edit(&mut fields);
    let mut v = Violations::default();
    fields.check(&mut v);
    if let Some(key) = &key {
        check_key(&mut v, &fields, key);
    }
    v.finish()?;
    if (&fields.url, &fields.egress) != (&before.url, &before.egress) {
        let entry = entry("test", id.0, Some(before.audited_way()), Some(fields.audited_way()));
        record(admin, actor, entry).await?;
    }
    let secret = match &key {
        Some(key) => admin.vault().seal(key, &Published::secret_place(id))?,
        None => Sealed(row.sealed_secret),
    };
    sealed(admin, id, fields, secret)
}

fn sealed(admin: &Admin, id: ProviderId, fields: ProviderFields, secret: Sealed) -> Result<Published, Error> {
    let egress = fields.egress.sealed(admin.vault(), id)?;
    let headers = CustomHeaders::stored(&fields.custom_headers.sealed(admin.vault(), id)?);
    let headers = headers.ok_or(Error::Broken)?.published();
    assembled(id, fields, secret, headers, egress)
}

/// A row as it is published.
pub(super) fn as_published(row: &Model) -> Result<Published, Error> {
    let mut fields = stored(row)?.fields;
    let headers = std::mem::take(&mut fields.custom_headers).published();
    let secret = Sealed(row.sealed_secret.clone());
    let published = assembled(ProviderId(row.id), fields, secret, headers, egress_settings(row))?;
    let budget_generation = generations::published(row.is_limited(), row.budget_generations);
    Ok(Published { budget_generation, ..published })
}

fn assembled(
    id: ProviderId,
    fields: ProviderFields,
    secret: Sealed,
    custom_headers: Vec<(String, Sealed)>,
    egress: EgressSettings,
) -> Result<Published, Error> {
    let active_time = fields.active_time().map_err(|(column, _)| Error::Corrupt {
        resource: Resource::Provider,
        id: id.to_string(),
        column,
    })?;
    Ok(Published {
        id,
        name: fields.name,
        provider_type: fields.provider_type,
        url: fields.url,
        secret,
        is_enabled: fields.is_enabled,
        weight: fields.weight,
        priority: fields.priority,
        group_priorities: fields.group_priorities,
        active_time,
        group_tag: fields.group_tag,
        cost_multiplier: fields.cost_multiplier,
        allowed_models: fields.allowed_models,
        allowed_clients: fields.allowed_clients,
        blocked_clients: fields.blocked_clients,
        model_redirects: fields.model_redirects,
        max_attempts: fields.max_attempts,
        custom_headers,
        client_abort: fields.client_abort,
        timers: fields.timers,
        circuit_breaker: fields.circuit_breaker,
        egress,
        limits: fields.limits,
        budget_generation: 0,
    })
}

pub(super) async fn live(db: &impl sea_orm::ConnectionTrait, id: ProviderId) -> Result<Model, Error> {
    providers::provider(db, id).await?.ok_or(Error::NotFound(Resource::Provider))
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

fn entry(verb: &'static str, id: i64, before: Option<Value>, after: Option<Value>) -> Entry {
    Entry { verb, resource: Resource::Provider, id: id.to_string(), before, after }
}

const MAX_KEY_BYTES: usize = 8_192;
