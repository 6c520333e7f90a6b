//! Resets of limits: what was spent before a moment counts no more, in no window or in that of five hours. Nothing of the
//! books changes.
//!
//! The moment is the store's: what it lets in it dates by its own clock. It is told first, and counts apart from then on what
//! gateways tell of that do not know of the reset yet; then the marker is written and published with the row. While the store
//! is away nothing changes.

use super::change::{Change, Entry};
use super::providers::{as_published, live as live_provider};
use super::quotas::SCOPES_A_CALL;
use super::snapshot::{key_doc, user_doc};
use super::{Actor, Admin, Changed, keys, limits, settings, users};
use crate::error::{Error, Resource};
use crate::repo::limits::SetLimits;
use crate::repo::{entity, principals, providers};
use sea_orm::ActiveValue::{Set, Unchanged};
use serde_json::{Value, json};
use shared::ids::{KeyId, ProviderId, UserId};
use shared::model::{Key, Limits, User};
use shared::rules::quota::{AccountId, ScopeId, Terms, scope_of_key, scopes_of_provider};
use shared::time::UnixMillis;

/// Which windows begin anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetWindow {
    /// All of them.
    #[default]
    All,
    /// That of five hours.
    FiveHours,
}

/// Resets a user's limits, and in the same moment those of its keys.
pub async fn reset_user(
    admin: Admin,
    actor: Actor,
    id: UserId,
    window: ResetWindow,
) -> Result<Changed<()>, Error> {
    let change = Change::begin(&admin, &actor).await?;
    let mut user = User::from(user_doc(&users::live(&change.tx, id).await?, false)?);
    let before = user.limits.clone();
    let account = AccountId::User(id);
    let (zone, at) = (settings::timezone(&change.tx).await?, moment(&admin, account).await?);
    mark(&mut user.limits, window, at);
    let mut scopes = vec![(ScopeId::Owner, Terms::of(&user.limits, &zone, at))];
    for row in principals::all_keys(&change.tx, id).await? {
        // One that cannot be read is published to nobody.
        if let Ok(doc) = key_doc(&row) {
            scopes.push(scope_of_key(&user, &doc.into(), &zone, at));
        }
    }
    keep(&admin, account, &scopes).await?;
    let mut row = entity::users::ActiveModel {
        id: Unchanged(id.0),
        revision: Set(change.revision_column()),
        updated_at_ms: Set(change.now.0),
        ..Default::default()
    };
    row.set_limit_columns(limits::columns(&user.limits));
    principals::update_user(&change.tx, row).await?;
    change.commit((), entry(Resource::User, id.0, &before, &user.limits)).await
}

/// Resets a key's limits.
pub async fn reset_key(
    admin: Admin,
    actor: Actor,
    id: KeyId,
    window: ResetWindow,
) -> Result<Changed<()>, Error> {
    let change = Change::begin(&admin, &actor).await?;
    let mut key = Key::from(key_doc(&keys::live(&change.tx, id).await?)?);
    let user = User::from(user_doc(&users::live(&change.tx, key.user_id).await?, false)?);
    let before = key.limits.clone();
    let account = AccountId::User(key.user_id);
    let (zone, at) = (settings::timezone(&change.tx).await?, moment(&admin, account).await?);
    mark(&mut key.limits, window, at);
    keep(&admin, account, &[scope_of_key(&user, &key, &zone, at)]).await?;
    let mut row = entity::keys::ActiveModel {
        id: Unchanged(id.0),
        revision: Set(change.revision_column()),
        updated_at_ms: Set(change.now.0),
        ..Default::default()
    };
    row.set_limit_columns(limits::columns(&key.limits));
    principals::update_key(&change.tx, row).await?;
    change.commit((), entry(Resource::Key, id.0, &before, &key.limits)).await
}

/// Resets a provider's limits.
pub async fn reset_provider(
    admin: Admin,
    actor: Actor,
    id: ProviderId,
    window: ResetWindow,
) -> Result<Changed<()>, Error> {
    let change = Change::begin(&admin, &actor).await?;
    let mut provider = as_published(&live_provider(&change.tx, id).await?)?;
    let before = provider.limits.clone();
    let account = AccountId::Provider(id);
    let (zone, at) = (settings::timezone(&change.tx).await?, moment(&admin, account).await?);
    mark(&mut provider.limits, window, at);
    keep(&admin, account, &scopes_of_provider(&provider, &zone, at)).await?;
    let mut row = entity::providers::ActiveModel {
        id: Unchanged(id.0),
        revision: Set(change.revision_column()),
        updated_at_ms: Set(change.now.0),
        ..Default::default()
    };
    row.set_limit_columns(limits::columns(&provider.limits));
    providers::update_provider(&change.tx, row).await?;
    change.commit((), entry(Resource::Provider, id.0, &before, &provider.limits)).await
}

/// What the store's clock shows.
async fn moment(admin: &Admin, account: AccountId) -> Result<UnixMillis, Error> {
    Ok(admin.quotas().standing(account, &[], 0).await.map_err(Error::Quotas)?.at)
}

/// Sets the marker. It never goes back, whatever the clock does.
fn mark(limits: &mut Limits, window: ResetWindow, at: UnixMillis) {
    let marker = match window {
        ResetWindow::All => &mut limits.reset_at,
        ResetWindow::FiveHours => &mut limits.five_hours_reset_at,
    };
    *marker = (*marker).max(Some(at));
}

async fn keep(admin: &Admin, account: AccountId, scopes: &[(ScopeId, Terms)]) -> Result<(), Error> {
    for some in scopes.chunks(SCOPES_A_CALL) {
        admin.quotas().keep(account, some).await.map_err(Error::Quotas)?;
    }
    Ok(())
}

fn entry(resource: Resource, id: i64, before: &Limits, after: &Limits) -> Entry {
    let markers = |limits: &Limits| -> Value {
        json!({
            "cost_reset_at": limits.reset_at.map(|at| at.to_string()),
            "limit_5h_cost_reset_at": limits.five_hours_reset_at.map(|at| at.to_string()),
        })
    };
    let (before, after) = (Some(markers(before)), Some(markers(after)));
    Entry { verb: "limits_reset", resource, id: id.to_string(), before, after }
}
