//! Reads the whole configuration as it was in one moment.

use super::catalogue;
use super::db::Db;
use super::entity::{error_rules, keys, model_prices, provider_groups, providers, settings, users};
use super::revision;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder};
use shared::ids::Revision;

/// Every live row that is published, and the revision they belong to.
#[derive(Debug)]
pub struct ConfigRows {
    /// The newest revision at that moment.
    pub revision: Revision,
    /// Users.
    pub users: Vec<users::Model>,
    /// Their keys.
    pub keys: Vec<keys::Model>,
    /// Groups.
    pub groups: Vec<provider_groups::Model>,
    /// Providers.
    pub providers: Vec<providers::Model>,
    /// Prices in force.
    pub prices: Vec<model_prices::Model>,
    /// Enabled error rules.
    pub error_rules: Vec<error_rules::Model>,
    /// The settings row.
    pub settings: settings::Model,
}

/// Reads everything in one transaction.
pub async fn read(db: &Db) -> Result<ConfigRows, DbErr> {
    let moment = db.read_moment().await?;
    let rows = ConfigRows {
        revision: revision::newest(&moment).await?,
        users: users::Entity::find()
            .filter(users::Column::DeletedAtMs.is_null())
            .order_by_asc(users::Column::Id)
            .all(&moment)
            .await?,
        keys: keys::Entity::find()
            .filter(keys::Column::DeletedAtMs.is_null())
            .order_by_asc(keys::Column::Id)
            .all(&moment)
            .await?,
        groups: provider_groups::Entity::find()
            .order_by_asc(provider_groups::Column::Id)
            .all(&moment)
            .await?,
        providers: super::providers::all_providers(&moment).await?,
        prices: catalogue::all_prices(&moment).await?,
        error_rules: super::error_rules::enabled(&moment).await?,
        settings: catalogue::settings(&moment).await?,
    };
    moment.rollback().await?;
    Ok(rows)
}
