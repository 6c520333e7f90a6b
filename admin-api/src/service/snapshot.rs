//! Builds the published configuration from the database.
//!
//! A row that cannot be read is left out and named in the log: a broken user, key or provider must not keep the
//! changes to all others from being published, and what is left out is refused, never let through.

use super::{error_rules, generations, groups, keys, prices, providers, settings, users};
use crate::error::Error;
use crate::repo::db::Db;
use crate::repo::entity;
use crate::repo::limits::Limited;
use crate::repo::snapshot::read;
use shared::contract::snapshot::{Core, GroupDoc, KeyDoc, Principals, SNAPSHOT_SCHEMA, Snapshot, UserDoc};
use shared::ids::{GroupId, KeyId, UserId};
use shared::model::Provider;
use shared::secret::KeyDigest;
use std::collections::BTreeSet;

/// The configuration as it is now, in one moment.
pub async fn build(db: &Db) -> Result<Snapshot, Error> {
    let rows = read(db).await?;
    let core = Core {
        providers: published_providers(&rows.providers),
        groups: rows.groups.iter().map(|row| group_doc(groups::stored(row))).collect(),
        prices: readable(
            rows.prices.iter().map(|row| prices::published(row).map(|price| (row.model.clone(), price))),
        )
        .into_iter()
        .collect(),
        settings: readable([settings::stored(&rows.settings)].into_iter())
            .pop()
            .map(|stored| stored.settings.published)
            .unwrap_or_default(),
        error_rules: readable(rows.error_rules.iter().map(error_rules::as_published)),
    };
    // Of keys that are left out, too: whether they are limited decides when the account's generation grows.
    let limited: BTreeSet<i64> =
        rows.keys.iter().filter(|key| key.is_limited()).map(|key| key.user_id).collect();
    let principals = Principals {
        users: readable(rows.users.iter().map(|row| user_doc(row, limited.contains(&row.id)))),
        keys: readable(rows.keys.iter().map(key_doc)),
    };
    Ok(Snapshot { schema: SNAPSHOT_SCHEMA, revision: rows.revision, core, principals })
}

/// Providers as they are published.
pub(super) fn published_providers(rows: &[entity::providers::Model]) -> Vec<Provider> {
    readable(rows.iter().map(providers::as_published))
}

fn readable<T>(rows: impl Iterator<Item = Result<T, Error>>) -> Vec<T> {
    rows.filter_map(|row| {
        row.inspect_err(|error| tracing::error!(%error, "row left out of the snapshot")).ok()
    })
    .collect()
}

fn group_doc(group: groups::Group) -> GroupDoc {
    GroupDoc { id: GroupId(group.id), name: group.fields.name, cost_multiplier: group.fields.cost_multiplier }
}

/// A user as it is published.
pub(super) fn user_doc(row: &entity::users::Model, has_limited_key: bool) -> Result<UserDoc, Error> {
    let user = users::stored(row)?;
    let is_governed = has_limited_key || row.is_limited();
    Ok(UserDoc {
        id: UserId(user.id),
        name: user.fields.name,
        is_enabled: user.fields.is_enabled,
        expires_at_ms: user.fields.expires_at,
        provider_group: user.fields.provider_group,
        allowed_models: user.fields.allowed_models,
        allowed_clients: user.fields.allowed_clients,
        blocked_clients: user.fields.blocked_clients,
        limits: user.fields.limits,
        quota_reservation: user.fields.quota_reservation,
        budget_generation: generations::published(is_governed, row.budget_generations),
    })
}

/// A key as it is published.
pub(super) fn key_doc(row: &entity::keys::Model) -> Result<KeyDoc, Error> {
    let key = keys::stored(row)?;
    let id = key.stored.id;
    let digest = KeyDigest::parse_hex(&row.digest).ok_or_else(|| Error::Corrupt {
        resource: crate::error::Resource::Key,
        id: id.to_string(),
        column: "digest",
    })?;
    Ok(KeyDoc {
        id: KeyId(id),
        user_id: key.user_id,
        name: key.stored.fields.name,
        digest,
        is_enabled: key.stored.fields.is_enabled,
        expires_at_ms: key.stored.fields.expires_at,
        provider_group: key.stored.fields.provider_group,
        allowed_models: key.stored.fields.allowed_models,
        limits: key.stored.fields.limits,
    })
}
