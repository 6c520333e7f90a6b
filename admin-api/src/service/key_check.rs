//! Is this the `HUB_SECRET_KEY` under which the stored secrets were sealed? Asked once, at the start: under another
//! one no stored secret could be used, and new ones would be sealed apart from them.

use super::vault::{Vault, key_place};
use crate::repo::db::Db;
use crate::repo::entity::{keys, providers};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder};
use shared::ids::ProviderId;
use shared::model::Provider;
use shared::secret::Sealed;

/// True unless there are sealed secrets and neither the newest provider's nor the newest client key's opens.
pub async fn is_right_key(db: &Db, vault: &Vault) -> Result<bool, DbErr> {
    let provider = providers::Entity::find()
        .filter(providers::Column::DeletedAtMs.is_null())
        .order_by_desc(providers::Column::Id)
        .one(db.reader())
        .await?
        .map(|row| (Provider::secret_place(ProviderId(row.id)), row.sealed_secret));
    let key = keys::Entity::find()
        .filter(keys::Column::DeletedAtMs.is_null())
        .filter(keys::Column::SealedSecret.is_not_null())
        .order_by_desc(keys::Column::Id)
        .one(db.reader())
        .await?
        .and_then(|row| Some((key_place(row.id), row.sealed_secret?)));
    let known: Vec<(String, String)> = [provider, key].into_iter().flatten().collect();
    let opens = |(place, sealed): &(String, String)| vault.open(&Sealed(sealed.clone()), place).is_ok();
    Ok(known.is_empty() || known.iter().any(opens))
}
